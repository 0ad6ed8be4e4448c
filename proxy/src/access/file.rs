//! A key set in a file beside the proxy.

use std::fs::File;
use std::io::Read as _;

/// More is none of ours.
pub(super) const MOST: usize = 1 << 20;

/// Reads it.
///
/// # Errors
/// Why it can't be, in words.
pub(super) fn read(path: &str) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| error.to_string();
    // Whoever opens a pipe may wait for ever.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut text = Vec::new();
    File::open(path).map_err(wrong)?.take(MOST as u64 + 1).read_to_end(&mut text).map_err(wrong)?;
    match text.len() > MOST {
        true => Err(format!("it is larger than {MOST} bytes")),
        false => Ok(text),
    }
}
