//! The sockets of the data path.

use std::fs;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A message up to this size goes out in one piece: for the kernel, one buffer costs less than a list of them, by more
/// than the copying does.
const SMALL: usize = 1024;

/// When it is closed, the peer sees a reset, and not an orderly end.
pub fn reset_on_close(tcp: &TcpStream) {
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

/// Whether anybody in this network listens on this TCP port, by the kernel's own list. Nothing is dialled: an app that is
/// about to end should not find a caller.
///
/// # Errors
/// The list can't be read.
pub fn is_listening(port: u16) -> io::Result<bool> {
    let v4 = fs::read_to_string("/proc/net/tcp")?;
    // Missing where there is no IPv6.
    let v6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Ok(has_listener(&v4, port) || has_listener(&v6, port))
}

/// The kernel's list has a line for each socket: its number, its address as `hex ip:hex port`, its peer, its state.
fn has_listener(list: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    list.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(LISTEN)
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_seen_while_it_listens() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(addr) else {
                assert!(addr.contains("::"), "there is no IPv4 on this host");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(is_listening(port).unwrap(), "{addr}");
            // Not only closed: a program that another test is starting may have a copy until it runs.
            socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both).unwrap();
            drop(listener);
            assert!(!is_listening(port).unwrap(), "{addr}: only a connection is left");
            drop(client);
        }
    }
}
