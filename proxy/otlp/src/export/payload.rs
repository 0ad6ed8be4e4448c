//! The body of a request: once made, it can be sent any number of times.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame, SizeHint};

use crate::env::{Protocol, Target};

/// The five bytes of gRPC before each message: compressed or not, and its length.
const GRPC_PREFIX: usize = 5;

/// A body in two parts, so that a batch need not be copied for what stands before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Payload {
    head: Bytes,
    rest: Bytes,
}

impl Payload {
    /// A message that begins with `head`, which is short, and goes on with `rest`.
    pub(super) fn new(target: &Target, head: &[u8], rest: Vec<u8>) -> Self {
        let grpc = target.protocol == Protocol::Grpc;
        let room = if grpc { GRPC_PREFIX } else { 0 };
        if target.gzip {
            let mut packed = vec![0; room];
            packed.reserve(rest.len() / 4);
            // Telemetry repeats itself: the fastest level gets nearly all there is to get. Writing into a vector
            // can't fail.
            let mut encoder = GzEncoder::new(packed, Compression::fast());
            let written = encoder.write_all(head).and_then(|()| encoder.write_all(&rest));
            if let Ok(mut packed) = written.and_then(|()| encoder.finish()) {
                if grpc {
                    let len = packed.len() - room;
                    packed[..room].copy_from_slice(&prefix(true, len));
                }
                return Payload { head: packed.into(), rest: Bytes::new() };
            }
        }
        let mut first = BytesMut::with_capacity(room + head.len());
        if grpc {
            first.extend_from_slice(&prefix(false, head.len() + rest.len()));
        }
        first.extend_from_slice(head);
        Payload { head: first.freeze(), rest: rest.into() }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

fn prefix(compressed: bool, len: usize) -> [u8; GRPC_PREFIX] {
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [u8::from(compressed), a, b, c, d]
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match self.head.is_empty() {
            false => std::mem::take(&mut self.head),
            true => std::mem::take(&mut self.rest),
        };
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}
