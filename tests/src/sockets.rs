//! Sockets in states that no library makes for you.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// From now on closing this socket resets the connection.
pub fn reset_on_close(socket: &tokio::net::TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Whether the peer has closed or reset this connection, as far as the kernel knows; what it has sent stays unread.
#[must_use]
pub fn is_closed(socket: &tokio::net::TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match SockRef::from(socket).peek(&mut byte) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// An address that refuses connections: it was free a moment ago.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

/// A listener whose queue is full: the kernel drops further SYNs, so connecting to it takes for ever.
#[derive(Debug)]
pub struct BlackHole {
    addr: SocketAddr,
    _listener: Socket,
    _fill: Vec<TcpStream>,
}

impl BlackHole {
    /// Opens one and fills its queue.
    ///
    /// # Panics
    /// The queue doesn't get full.
    #[must_use]
    pub fn open() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("a listener");
        let addr = listener.local_addr().expect("its address").as_socket().expect("IPv4");
        let mut fill = Vec::new();
        while fill.len() < 16 {
            match TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
                Ok(stream) => fill.push(stream),
                Err(_) => return BlackHole { addr, _listener: listener, _fill: fill },
            }
        }
        panic!("a queue of length 0 took 16 connections");
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}
