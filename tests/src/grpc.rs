//! gRPC as it is on the wire: messages with their five bytes in front, and statuses in trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};

use crate::h2_backend::Stream;

/// One message with its prefix: not compressed, and its length.
#[must_use]
pub fn message(body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(body.len() + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(body.len()).expect("a small message"));
    bytes.put_slice(body);
    bytes.freeze()
}

/// The messages of a stream.
#[must_use]
pub fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((prefix, rest)) = bytes.split_at_checked(5) {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let (body, rest) = rest.split_at(length.min(rest.len()));
        all.push(body.to_vec());
        bytes = rest;
    }
    all
}

/// `grpc-status` in trailers.
#[must_use]
pub fn status(code: u32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers
}

/// The head of a response that has messages.
///
/// # Panics
/// Never.
#[must_use]
pub fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).expect("a valid response")
}

/// Answers with these messages and then OK.
pub fn answer(stream: &mut Stream, messages: &[&[u8]]) {
    let mut body = stream.head(head());
    for one in messages {
        let _ = body.send_data(message(one), false);
    }
    let _ = body.send_trailers(status(0));
}

/// Answers with a status and nothing else: "Trailers-Only".
pub fn fail(stream: &mut Stream, code: u32) {
    stream.answer(200, &[("content-type", "application/grpc"), ("grpc-status", &code.to_string())], b"");
}

/// Headers of a call.
pub const CALL: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];
