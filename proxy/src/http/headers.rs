//! What is changed in a head on its way through: what belongs to one connection only is taken out, what an endpoint
//! needs is put in, all else stays as it came.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version, request, response};

use crate::record::{FORWARDED_FOR, REQUEST_ID};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Why a head can't be forwarded.
#[derive(Debug, PartialEq, Eq)]
pub struct BadHead(pub &'static str);

/// What one look over all header fields of a request tells. Each question asked of the map by itself would cost a hash
/// and a probe; most requests have few fields, and none that matters here but `Host`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// How many `Host` fields.
    hosts: u8,
    /// Some fields concern the app's connection only.
    pub one_hop: bool,
    /// There is an `x-request-id`.
    request_id: bool,
    /// The content type is gRPC's.
    pub grpc: bool,
}

/// Looks over the header fields.
pub fn scan(headers: &HeaderMap) -> Scan {
    let mut scan = Scan::default();
    for (name, value) in headers {
        if *name == header::HOST {
            scan.hosts = scan.hosts.saturating_add(1);
        } else if *name == header::CONTENT_TYPE {
            scan.grpc = value.as_bytes().starts_with(b"application/grpc");
        } else if *name == REQUEST_ID {
            scan.request_id = true;
        } else {
            scan.one_hop |= is_one_hop(name);
        }
    }
    scan
}

/// In `Connection` of a response, where this proxy stands in front of the app: the app can't have seen the request, so
/// whoever sent it here may send it elsewhere, whatever it is. `Connection` makes sure that it is said to nobody behind
/// the other end of this connection, for whom it could be wrong. HTTP/2 has REFUSED_STREAM for it.
const UNPROCESSED: &str = "x-bowline-unprocessed";

/// Says so.
pub fn mark_unprocessed(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static(UNPROCESSED));
}

/// Whether that is said.
pub fn is_unprocessed(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(says_unprocessed)
}

/// Whether this value of `Connection` says so.
pub fn says_unprocessed(value: &HeaderValue) -> bool {
    let mut tokens = value.as_bytes().split(|byte| *byte == b',');
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(UNPROCESSED.as_bytes()))
}

/// Adds a caller's address behind those that the request has come by already.
pub fn add_forwarded_for(headers: &mut HeaderMap, client: IpAddr) {
    let fields: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let client = client.to_string();
    let list = fields.into_iter().chain([client.as_bytes()]).collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Fields that concern one connection only (RFC 9110 7.6.1), and `TE`, which is looked at more closely.
fn is_one_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// Which host and port a request is for, as the app wrote it: the target's authority where there is one, else `Host`.
/// `None` is for HTTP/1.0 alone, which may do without.
///
/// # Errors
/// There is none, there are several, they contradict each other, or it carries a user name.
pub fn authority<'a>(head: &'a request::Parts, scan: &Scan) -> Result<Option<&'a str>, BadHead> {
    if scan.hosts > 1 {
        return Err(BadHead("more than one Host header"));
    }
    let authority = match head.uri.authority() {
        // RFC 9112 3.2.2: an absolute target wins over Host. HTTP/2 (RFC 9113 8.3.1) has them agree.
        Some(target) => {
            let differs = || match head.headers.get(header::HOST) {
                Some(host) => !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()),
                None => false,
            };
            if head.version == Version::HTTP_2 && scan.hosts > 0 && differs() {
                return Err(BadHead(":authority and host differ"));
            }
            target.as_str()
        }
        None => {
            let host = match head.headers.get(header::HOST) {
                Some(host) => host,
                None if head.version == Version::HTTP_10 => return Ok(None),
                None => return Err(BadHead("no Host header")),
            };
            host.to_str().map_err(|_| BadHead("the Host header is not text"))?
        }
    };
    if authority.is_empty() {
        return Err(BadHead("an empty Host header"));
    }
    for byte in authority.bytes() {
        match byte {
            b'@' => return Err(BadHead("user information in the host")),
            0..=b' ' | b'/' | b'\\' | 0x7f.. => return Err(BadHead("the Host header is not a host")),
            _ => {}
        }
    }
    Ok(Some(authority))
}

/// Refuses targets that can't be forwarded to an HTTP service.
///
/// # Errors
/// CONNECT, a bare name as target, `*` with anything but OPTIONS.
pub fn check_target(head: &request::Parts) -> Result<(), BadHead> {
    if head.method == Method::CONNECT {
        return Err(BadHead("CONNECT is not forwarded"));
    }
    match head.uri.path() {
        "*" if head.method == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        "" if head.uri.authority().is_some() && head.uri.scheme().is_some() => Ok(()),
        _ => Err(BadHead("the request target is no path")),
    }
}

/// Gives an HTTP/1.0 request that names no host the one it was sent to.
pub fn ensure_host(head: &mut request::Parts, scan: &Scan, alias: &str) {
    if scan.hosts == 0
        && head.uri.authority().is_none()
        && let Ok(host) = HeaderValue::from_str(alias)
    {
        head.headers.insert(header::HOST, host);
    }
}

/// Makes the app's head one for HTTP/1.1 upstream, in place.
///
/// # Errors
/// The host cannot be written as a header.
pub fn to_http1(head: &mut request::Parts) -> Result<(), BadHead> {
    if let Some(target) = head.uri.authority() {
        let host = HeaderValue::from_str(target.as_str()).map_err(|_| BadHead("the host is not text"))?;
        head.headers.insert(header::HOST, host);
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
        head.headers.remove(header::TE);
    }
    head.version = Version::HTTP_11;
    Ok(())
}

/// Makes the app's head one for HTTP/2 upstream, in place.
///
/// # Errors
/// The host is not a valid authority.
pub fn to_http2(head: &mut request::Parts) -> Result<(), BadHead> {
    let authority = match head.uri.authority() {
        Some(authority) => authority.clone(),
        None => {
            let host = head.headers.get(header::HOST).ok_or(BadHead("no Host header"))?;
            Authority::try_from(host.as_bytes()).map_err(|_| BadHead("the Host header is not a host"))?
        }
    };
    head.headers.remove(header::HOST);
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    head.uri = Uri::from_parts(uri).map_err(|_| BadHead("the request target is not valid"))?;
    head.version = Version::HTTP_2;
    Ok(())
}

/// Takes out of a request what concerns the app's connection only. `TE: trailers` stays: gRPC servers ask for it.
pub fn strip_request(head: &mut request::Parts, scan: &Scan) {
    if !scan.one_hop {
        return;
    }
    strip_connection(&mut head.headers);
    let headers = &mut head.headers;
    if let Some(te) = headers.get(header::TE)
        && te.as_bytes() != b"trailers"
    {
        headers.remove(header::TE);
    }
}

/// Takes out of a response what concerns the endpoint's connection only.
pub fn strip_response(head: &mut response::Parts) {
    strip_response_fields(&mut head.headers);
}

/// The same for an interim response.
pub fn strip_response_fields(headers: &mut HeaderMap) {
    if headers.keys().any(is_one_hop) {
        // Where both frame the body, chunks do (RFC 9112 6.3), and a length beside them is an attack on whoever believes
        // it instead.
        if headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        strip_connection(headers);
    }
}

fn strip_connection(headers: &mut HeaderMap) {
    // Headers named by Connection are for one hop as well (RFC 9110 7.6.1); but not those that frame the message or say
    // who it is for, whatever a client claims. There may be several lines of it.
    let mut named = Vec::new();
    for token in
        headers.get_all(header::CONNECTION).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','))
    {
        let token = token.trim_ascii();
        if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(token) else { continue };
        if name != header::CONTENT_LENGTH && name != header::HOST && name != header::TE {
            named.push(name);
        }
    }
    headers.remove(header::CONNECTION);
    for name in named {
        headers.remove(&name);
    }
    // Most messages have no other field of this kind, and a look is cheaper than four searches.
    if headers.keys().any(is_one_hop) {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::UPGRADE);
    }
}

/// HTTP/2 may carry one cookie a header; HTTP/1.1 wants them on one line (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let mut line = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        line.extend_from_slice(b"; ");
        line.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(line) = HeaderValue::from_bytes(&line) {
        headers.insert(header::COOKIE, line);
    }
}

/// The caller's deadline: `grpc-timeout`, up to eight digits and a unit (gRPC over HTTP/2, "Timeout").
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Sets `x-request-id` where the app has not: a random UUID (version 4, RFC 9562).
pub fn ensure_request_id(headers: &mut HeaderMap, scan: &Scan, rng: &mut fastrand::Rng) {
    if !scan.request_id {
        headers.insert(REQUEST_ID, request_id(rng));
    }
}

fn request_id(rng: &mut fastrand::Rng) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut random = [0; 16];
    random[..8].copy_from_slice(&rng.u64(..).to_be_bytes());
    random[8..].copy_from_slice(&rng.u64(..).to_be_bytes());
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in random.into_iter().enumerate() {
        // The dashes stand where they are in the template.
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 0xf)];
        at += 2;
    }
    let mut id = HeaderValue::from_bytes(&text).expect("hex digits and dashes");
    // It never comes again: HPACK need not remember it, nor push out for it what does.
    id.set_sensitive(true);
    id
}

#[cfg(test)]
mod tests;
