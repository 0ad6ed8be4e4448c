//! Ctrl-C, for commands that go on until somebody has seen enough.

use std::io;
use std::process;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a shell says of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Calls `stop` at the first Ctrl-C or SIGTERM. A second one ends the process at once: what it writes to may be stuck.
///
/// # Errors
/// Signals can't be handled, or there is no thread for it.
pub(crate) fn on_first(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        let mut stop = Some(stop);
        for _ in signals.forever() {
            match stop.take() {
                Some(stop) => stop(),
                None => process::exit(INTERRUPTED),
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}
