//! Responses that the proxy makes itself: which service, what was tried and why it failed, in the form the caller
//! understands.

use std::fmt::Write as _;

use bowline_api::model::Respond;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

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

/// The response for a request from outside of the mesh that is for nobody in it: nothing of the mesh is named in it.
pub fn not_here(reason: Reason, text: &str, grpc: bool) -> Response<Body> {
    if reason != Reason::UnknownService {
        let words = if reason == Reason::BadRequest { text } else { reason.to_outsiders() };
        return failure(reason, words, grpc);
    }
    let mut response = failure(reason, "there is nothing here by this name and path", grpc);
    match grpc {
        true => {
            let status = HeaderValue::from(grpc_for(StatusCode::NOT_FOUND));
            response.headers_mut().insert("grpc-status", status);
        }
        false => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}

/// The gRPC status in a head.
pub fn grpc_status_of(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// What the mesh file says in place of an answer. A gRPC caller gets the gRPC status that stands for it.
pub fn fix(response: &mut Response<Body>, fixed: &Respond, grpc: bool) {
    let status = StatusCode::from_u16(fixed.status).unwrap_or(StatusCode::OK);
    if grpc {
        response.headers_mut().insert("grpc-status", HeaderValue::from(grpc_for(status)));
    } else {
        *response.status_mut() = status;
        response.headers_mut().remove(header::CONTENT_TYPE);
        *response.body_mut() = Body::full(Bytes::from(fixed.body.clone()));
    }
    for (name, value) in &fixed.headers {
        // Checked with the mesh file.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// An error made on purpose.
pub fn aborted(status: StatusCode, text: &str, grpc: bool) -> Response<Body> {
    let mut response = failure(Reason::FaultInjected, text, grpc);
    match grpc {
        true => drop(response.headers_mut().insert("grpc-status", HeaderValue::from(grpc_for(status)))),
        false => *response.status_mut() = status,
    }
    response
}

/// A response of the mesh file's to a gRPC caller: the gRPC status that stands for its own, with its body as the message.
pub fn grpc_response(status: StatusCode, message: &str, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(grpc_for(status)));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(message)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// The gRPC status that stands for one of HTTP, by gRPC's own table (`http-grpc-status-mapping`).
pub fn grpc_for(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
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
