//! `bowline-control health`: for a container health check in an image without a shell.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// More of an answer than this is of no interest.
const MOST: u64 = 4096;

/// Asks the control plane whose admin pages are at `admin` whether it serves its clients. `within` bounds each step.
///
/// # Errors
/// It does not, in words.
pub fn ask(admin: SocketAddr, within: Duration) -> Result<(), String> {
    match answer(admin, within) {
        Ok(text) if text.starts_with("HTTP/1.1 200 ") || text.starts_with("HTTP/1.0 200 ") => Ok(()),
        Ok(text) => {
            let status = text.lines().next().unwrap_or_default();
            Err(format!("{admin}/health/ready answers {status:?}"))
        }
        Err(error) => Err(format!("no control plane answers at {admin}: {error}")),
    }
}

fn answer(admin: SocketAddr, within: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    stream.take(MOST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
