//! Responses that the proxy makes itself: which service, what was tried and why it failed, in the form the caller
//! understands.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::body::Body;
use crate::error::Reason;

/// The header that marks a response as the proxy's own and carries the [`Reason`].
pub const ERROR_HEADER: &str = "x-bowline-error";

/// The response for a request that no endpoint has answered. `text` is one line for a person.
pub fn failure(reason: Reason, text: &str, grpc: bool) -> Response<Body> {
    if grpc {
        return grpc_failure(reason, text);
    }
    let mut line = String::with_capacity(text.len() + 10);
    let _ = writeln!(line, "bowline: {text}");
    let mut response = Response::new(Body::full(Bytes::from(line)));
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(ERROR_HEADER, HeaderValue::from_static(reason.as_str()));
    if reason == Reason::Overloaded {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if reason == Reason::BadRequest {
        // What follows a request that was not understood is no request either: after a refused CONNECT, say, it is what
        // was meant for the tunnel.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// gRPC's own way to say it: HTTP 200 and the status in the head, as a response without a message.
fn grpc_failure(reason: Reason, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = grpc_status(reason, text);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The gRPC status that says it, for a head or for trailers.
pub fn grpc_status(reason: Reason, text: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert("grpc-status", HeaderValue::from(u16::from(reason.grpc_status())));
    let message = percent_encode(&format!("bowline: {text}"));
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    headers.insert(ERROR_HEADER, HeaderValue::from_static(reason.as_str()));
    headers
}

/// As the gRPC protocol wants `grpc-message`: bytes outside of printable ASCII, and `%`, as %XX.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn grpc_messages_are_percent_encoded() {
        assert_eq!(percent_encode("50% ü\n"), "50%25 %C3%BC%0A");
    }
}
