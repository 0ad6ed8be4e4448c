//! Counts the frames that carry no request: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, and those of kinds that
//! nobody knows. h2 has no bound for them (it only stops to read while its answers to them can't be written), and each of
//! them costs work. Well-behaved clients send a few of them per request and per piece of a response that they read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listen::watch::Stream;

/// Length of the head of a frame (RFC 9113 4.1).
const HEAD: usize = 9;
/// How HTTP/2 begins, which is no frame.
const PREFACE: usize = 24;
/// Frames without a request that any client may send.
const FREE: u64 = 10_000;
/// For each frame that carries something so many more: Envoy allows 100 PRIORITY frames a stream, and 10 WINDOW_UPDATEs
/// for a DATA frame.
const PER_USEFUL_FRAME: u64 = 10;
/// One more for so many bytes that were written to the client: a WINDOW_UPDATE for each of the smallest DATA frames.
const PER_BYTES_WRITTEN: u64 = 8;

/// The kind of error that reading ends with when there were too many.
pub(super) const TOO_MANY: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// What has come and gone on a connection.
#[derive(Debug)]
struct Count {
    /// Bytes up to the next frame's head.
    skip: usize,
    /// The beginning of a head whose rest has not come.
    head: [u8; HEAD],
    have: usize,
    useful: u64,
    other: u64,
    written: u64,
}

impl Count {
    fn new() -> Self {
        Count { skip: PREFACE, head: [0; HEAD], have: 0, useful: 0, other: 0, written: 0 }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let part = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have < HEAD {
                return;
            }
            self.have = 0;
            let [a, b, c, kind, ..] = self.head;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            // DATA, HEADERS, CONTINUATION: h2 bounds those by itself.
            match kind {
                0 | 1 | 9 => self.useful += 1,
                _ => self.other += 1,
            }
        }
    }

    fn is_too_much(&self) -> bool {
        self.other > FREE + self.useful * PER_USEFUL_FRAME + self.written / PER_BYTES_WRITTEN
    }
}

/// The app's socket, with a count of its frames.
#[derive(Debug)]
pub(super) struct Metered {
    io: Stream,
    count: Count,
}

impl Metered {
    pub(super) fn new(io: Stream) -> Self {
        Metered { io, count: Count::new() }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        this.count.read(&buf.filled()[before..]);
        if this.count.is_too_much() {
            return Poll::Ready(Err(io::Error::new(TOO_MANY, "too many frames that carry no request")));
        }
        read
    }
}

impl Metered {
    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = result {
            self.count.written += n as u64;
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, FREE, PREFACE};

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut bytes = vec![b'p'; PREFACE];
        let (mut useful, mut other) = (0, 0);
        for _ in 0..1000 {
            let (kind, length) = (rng.u8(..12), rng.usize(..300));
            bytes.extend_from_slice(&[0, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1]);
            bytes.extend(std::iter::repeat_n(9, length));
            *(if matches!(kind, 0 | 1 | 9) { &mut useful } else { &mut other }) += 1;
        }
        let mut count = Count::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rng.usize(..40).min(rest.len()));
            count.read(piece);
            rest = after;
        }
        assert_eq!((count.useful, count.other), (useful, other));
        assert!(!count.is_too_much());
        count.other += FREE + 10 * useful;
        assert!(count.is_too_much());
        count.written = 8 * (FREE + 10 * useful);
        assert!(!count.is_too_much());
    }
}
