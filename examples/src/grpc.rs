//! The little of gRPC that the demo needs, by hand: messages with a five-byte prefix, each a protobuf message whose
//! field 1 is a text. A real app uses tonic or grpc-go; the proxy sees no difference.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The content type of gRPC.
pub(crate) const CONTENT_TYPE: &str = "application/grpc";
/// The unary method: a text in, a text out.
pub(crate) const SAY: &str = "/demo.Stream/Say";
/// The streaming method: an [`order`] in, texts out.
pub(crate) const WATCH: &str = "/demo.Stream/Watch";

/// Flag and length.
const PREFIX: usize = 5;
/// Field 1, length-delimited.
const TEXT_FIELD: u8 = 0x0a;
/// Ours are a few dozen bytes: more is no message of this service.
const MAX: usize = 4096;

/// A text as one gRPC message.
pub(crate) fn frame(text: &str) -> Bytes {
    let mut message = BytesMut::with_capacity(text.len() + 4);
    if !text.is_empty() {
        message.put_u8(TEXT_FIELD);
        put_varint(&mut message, text.len());
        message.put_slice(text.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0); // not compressed
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..28).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Bytes that are no message of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Cuts a stream of bytes into messages, however the bytes come in.
#[derive(Debug, Default)]
pub(crate) struct Decoder(BytesMut);

impl Decoder {
    /// Takes in more bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message; `None` when there is none yet.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Malformed> {
        let Some((prefix, rest)) = self.0.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if flag != 0 || length > MAX {
            return Err(Malformed);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let text = text_of(&rest[..length]).ok_or(Malformed)?;
        self.0.advance(PREFIX + length);
        Ok(Some(text))
    }

    /// Whether all bytes have been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn text_of(mut message: &[u8]) -> Option<String> {
    let Some((tag, rest)) = message.split_first() else { return Some(String::new()) };
    message = rest;
    let length = take_varint(&mut message)?;
    (*tag == TEXT_FIELD && message.len() == length).then(|| String::from_utf8(message.to_vec()).ok())?
}

/// What [`WATCH`] is asked for.
pub(crate) fn order(messages: u32, pause: Duration) -> String {
    format!("{messages} {}", pause.as_millis())
}

/// Reads an [`order`].
pub(crate) fn parse_order(text: &str) -> Option<(u32, Duration)> {
    let (messages, millis) = text.split_once(' ')?;
    Some((messages.parse().ok()?, Duration::from_millis(millis.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Decoder, Malformed, frame, order, parse_order};

    #[test]
    fn the_bytes_are_those_of_grpc_and_protobuf() {
        assert_eq!(&frame("hi")[..], b"\x00\x00\x00\x00\x04\x0a\x02hi");
        assert_eq!(&frame("")[..], b"\x00\x00\x00\x00\x00");
        let long = "x".repeat(300);
        assert_eq!(&frame(&long)[..8], b"\x00\x00\x00\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let texts = ["one", "", "three, a bit longer", &"x".repeat(200)];
        let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(text)).collect();
        for size in 1..=bytes.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for chunk in bytes.chunks(size) {
                decoder.push(chunk);
                while let Some(text) = decoder.next().expect("well formed") {
                    got.push(text);
                }
            }
            assert_eq!(got, texts, "in pieces of {size}");
            assert!(decoder.is_empty());
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            &b"\x01\x00\x00\x00\x00"[..],                    // compressed
            b"\x00\xff\xff\xff\xff",                         // endless
            b"\x00\x00\x00\x00\x02\x12\x00",                 // another field
            b"\x00\x00\x00\x00\x03\x0a\x05a",                // shorter than it says
            b"\x00\x00\x00\x00\x06\x0a\xff\xff\xff\xff\xff", // a length without end
            b"\x00\x00\x00\x00\x03\x0a\x01\xff",             // not UTF-8
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.next(), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn orders() {
        let pause = Duration::from_millis(70);
        assert_eq!(parse_order(&order(8, pause)), Some((8, pause)));
        assert_eq!(parse_order("8"), None);
    }
}
