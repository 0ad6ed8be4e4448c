//! What a client speaks: HTTP/2 with prior knowledge begins with a preface that no HTTP/1.1 request can begin with.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// How HTTP/2 with prior knowledge begins (RFC 9113 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How soon a preface that came in pieces is looked at again.
const AGAIN: Duration = Duration::from_millis(2);
/// How long its pieces may take.
const AT_MOST: Duration = Duration::from_secs(10);

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or 1.1, or something that hyper's parser will refuse.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS: the app has been told `https://`. hyper's parser refuses it as well.
    Tls,
}

/// What the bytes seen so far mean; `None`: too few to tell.
fn judge(seen: &[u8]) -> Option<Spoken> {
    // A handshake record of any TLS version (RFC 8446 5.1).
    if let [0x16, 3, ..] = seen {
        return Some(Spoken::Tls);
    }
    let n = seen.len().min(PREFACE.len());
    match seen[..n] == PREFACE[..n] {
        false => Some(Spoken::Http1),
        true if n == PREFACE.len() => Some(Spoken::Http2),
        true => None,
    }
}

/// Looks at the connection's first bytes and leaves them where they are. Waits as long as nothing comes: an idle
/// connection costs nothing.
///
/// # Errors
/// The client closed or reset the connection before it said anything, or stopped in the middle of a preface.
pub async fn detect(stream: &TcpStream) -> io::Result<Spoken> {
    let mut seen = [0; PREFACE.len()];
    let mut waited = Duration::ZERO;
    loop {
        let n = stream.peek(&mut seen).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(spoken) = judge(&seen[..n]) {
            return Ok(spoken);
        }
        if waited >= AT_MOST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // The rest is on its way; the socket stays readable all the while, so only time can be waited for.
        tokio::time::sleep(AGAIN).await;
        waited += AGAIN;
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, Spoken, judge};

    #[test]
    fn every_prefix_of_the_preface_waits_and_nothing_else_does() {
        for n in 0..PREFACE.len() {
            assert_eq!(judge(&PREFACE[..n]), None, "{n} bytes");
        }
        assert_eq!(judge(PREFACE), Some(Spoken::Http2));
        assert_eq!(judge(b"P"), None);
        assert_eq!(judge(b"PO"), Some(Spoken::Http1));
        assert_eq!(judge(b"GET / HTTP/1.1\r\n"), Some(Spoken::Http1));
        assert_eq!(judge(b"PRI * HTTP/1.1\r\n"), Some(Spoken::Http1));
        assert_eq!(judge(b"\x16\x03\x01"), Some(Spoken::Tls));
        assert_eq!(judge(b"\x16\x04"), Some(Spoken::Http1));
    }
}
