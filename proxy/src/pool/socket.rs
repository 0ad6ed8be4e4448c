//! The socket of a connection to an endpoint, which counts the bytes that pass.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::Socket;
use crate::telemetry::metrics::EndpointCounters;

/// A connected socket and the counters of its endpoint.
#[derive(Debug)]
pub(super) struct Metered {
    socket: Socket,
    counters: Arc<EndpointCounters>,
    stalled: Stalled,
}

/// Since when the socket has taken nothing of what is to be written; `None`: it does. The socket itself is hyper's.
#[derive(Clone, Debug, Default)]
pub(super) struct Stalled(Rc<Cell<Option<Instant>>>);

impl Stalled {
    pub(super) fn since(&self) -> Option<Instant> {
        self.0.get()
    }
}

impl Metered {
    pub(super) fn new(tcp: TcpStream, counters: Arc<EndpointCounters>) -> Self {
        Metered { socket: Socket::new(tcp), counters, stalled: Stalled::default() }
    }

    /// Tells about it when it is out of reach.
    pub(super) fn stalled(&self) -> Stalled {
        self.stalled.clone()
    }

    /// The socket itself.
    pub(super) fn into_inner(self) -> TcpStream {
        self.socket.into_inner()
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(n)) => {
                self.counters.bytes_sent.add(*n as u64);
                self.stalled.0.set(None);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.stalled.0.get().is_none() => self.stalled.0.set(Some(Instant::now())),
            Poll::Pending => {}
        }
        written
    }
}

impl AsyncRead for Metered {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        this.counters.bytes_received.add((buf.filled().len() - before) as u64);
        read
    }
}

impl AsyncWrite for Metered {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.sent(written)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.sent(written)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
