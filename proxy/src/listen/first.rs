//! The first bytes of a redirected connection that may be meant for the mesh: do they speak HTTP, and to whom? They are
//! looked at where they are, so whoever gets the connection next finds it untouched.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::detect::PREFACE;

/// How much of a request head is looked at. Clients send `Host` first, or soon.
const MOST: usize = 8 * 1024;
/// How long the head may take from its first byte to its `Host`. Clients write a head in one piece; what comes in
/// several is a person at a keyboard, or no HTTP.
const WITHIN: Duration = Duration::from_secs(1);
/// How soon a head that is incomplete is looked at again.
const AGAIN: Duration = Duration::from_millis(2);
/// Longest method: registered ones have up to 17 letters.
const METHOD: usize = 24;

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// A request over HTTP/1.0 or 1.1, and the authority that it names, as it was written.
    Http1(Option<String>),
    /// HTTP/2 with prior knowledge. Whom its requests are for can't be seen yet: many clients wait for our settings.
    Http2,
    /// Something else, or nothing: the app has ended its side without a word.
    Other,
}

/// Waits for the first bytes, as long as it takes, and then for as much of a head as says whom it is for.
///
/// # Errors
/// The connection has broken.
pub async fn look(app: &TcpStream) -> io::Result<First> {
    // Most heads fit into the first piece.
    let mut seen = vec![0; 1024];
    let mut waited = Duration::ZERO;
    loop {
        let n = app.peek(&mut seen).await?;
        if let Some(first) = judge(&seen[..n], n == MOST) {
            return Ok(first);
        }
        if n == seen.len() {
            seen.resize(MOST, 0);
            continue;
        }
        if n == 0 || waited >= WITHIN {
            return Ok(First::Other);
        }
        // The socket stays readable all the while, so only time can be waited for.
        tokio::time::sleep(AGAIN).await;
        waited += AGAIN;
    }
}

/// What the bytes mean; `None`: more of them could tell, and `full` says that there will be no more.
fn judge(seen: &[u8], full: bool) -> Option<First> {
    if seen.starts_with(PREFACE) {
        return Some(First::Http2);
    }
    if !may_be_method(seen) {
        return Some(First::Other);
    }
    let mut rest = seen;
    let mut target = None;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if target.is_none() {
            if line == b"PRI * HTTP/2.0" {
                // A preface in pieces.
                break;
            }
            match target_of(line) {
                Some(found) => target = Some(found),
                None => return Some(First::Other),
            }
            if let Some(authority) = target.and_then(authority_of) {
                return Some(First::Http1(text(authority)));
            }
        } else if line.is_empty() {
            return Some(First::Http1(None));
        } else if let Some((name, value)) = split(line, b':')
            && name.eq_ignore_ascii_case(b"host")
        {
            return Some(First::Http1(text(value.trim_ascii())));
        }
    }
    full.then_some(First::Other)
}

/// Whether a request line can begin so: capital letters and a space. Without this a server that expects few bytes
/// without a line's end would wait for them.
fn may_be_method(seen: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    match seen.iter().position(|byte| !is_letter(byte)) {
        Some(at) => seen[at] == b' ' && (1..=METHOD).contains(&at),
        None => seen.len() <= METHOD,
    }
}

/// The target of a request line.
fn target_of(line: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split(line, b' ')?;
    rest.strip_suffix(b" HTTP/1.1").or_else(|| rest.strip_suffix(b" HTTP/1.0"))
}

/// The authority of an absolute target.
fn authority_of(target: &[u8]) -> Option<&[u8]> {
    let rest = target.strip_prefix(b"http://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Some(&rest[..end])
}

fn split(line: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == at)?;
    Some((&line[..at], &line[at + 1..]))
}

fn text(authority: &[u8]) -> Option<String> {
    std::str::from_utf8(authority).ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http1(authority: &str) -> Option<First> {
        Some(First::Http1(Some(authority.to_owned())))
    }

    #[test]
    fn a_head_says_whom_it_is_for_as_soon_as_it_can() {
        let head = b"GET /a HTTP/1.1\r\nAccept: */*\r\nhOsT:  web.mesh.test:80 \r\nX: y\r\n\r\n";
        let told = head.windows(2).position(|w| w == b" \r").unwrap() + 3;
        for n in 0..told {
            assert_eq!(judge(&head[..n], false), None, "{n} bytes");
            assert_eq!(judge(&head[..n], true), Some(First::Other), "{n} bytes and no more");
        }
        for n in told..=head.len() {
            assert_eq!(judge(&head[..n], false), http1("web.mesh.test:80"), "{n} bytes");
        }
        assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n", false), Some(First::Http1(None)));
        assert_eq!(judge(b"GET / HTTP/1.1\nHost: a\n", false), http1("a"), "bare line feeds are taken");
    }

    #[test]
    fn an_absolute_target_wins() {
        assert_eq!(judge(b"GET http://a:1/b HTTP/1.1\r\nHost: c\r\n", false), http1("a:1"));
        assert_eq!(judge(b"GET http://a?b HTTP/1.1\r\n", false), http1("a"));
        assert_eq!(judge(b"CONNECT a:443 HTTP/1.1\r\nHost: b\r\n", false), http1("b"));
    }

    #[test]
    fn what_is_not_http_is_known_at_once() {
        for other in [
            &b"\x16\x03\x01\x02\x00"[..],
            b"\0",
            b" ",
            b"get / HTTP/1.1\r\n",
            b"QUIT\r\n",
            b"EHLO me\r\n",
            b"GET key\r\n",
            b"GET / HTTP/3\r\n",
            b"SSH-2.0-x\r\n",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            b"PRI * HTTP/1.9\r\n",
        ] {
            assert_eq!(judge(other, false), Some(First::Other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_preface_is_waited_for() {
        for n in 0..PREFACE.len() {
            assert_eq!(judge(&PREFACE[..n], false), None, "{n} bytes");
        }
        assert_eq!(judge(PREFACE, false), Some(First::Http2));
    }
}
