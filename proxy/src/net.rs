//! The sockets of the data path.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A message up to this size goes out in one piece: for the kernel, one buffer costs less than a list of them, by more
/// than the copying does.
const SMALL: usize = 1024;

/// A TCP socket that writes small messages with `send` instead of `writev`.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Wraps a connected socket.
    pub fn new(tcp: TcpStream) -> Self {
        Socket(tcp)
    }

    /// The socket itself.
    pub fn into_inner(self) -> TcpStream {
        self.0
    }

    /// Looks whether anything has come, and leaves it there. 0: the peer has closed its side.
    pub fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.0.poll_peek(cx, &mut ReadBuf::new(&mut [0]))
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tcp = Pin::new(&mut self.get_mut().0);
        if let [only] = bufs {
            return tcp.poll_write(cx, only);
        }
        let mut whole = [0; SMALL];
        let mut filled = 0;
        for buf in bufs {
            let Some(room) = whole.get_mut(filled..filled + buf.len()) else {
                return tcp.poll_write_vectored(cx, bufs);
            };
            room.copy_from_slice(buf);
            filled += buf.len();
        }
        tcp.poll_write(cx, &whole[..filled])
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
