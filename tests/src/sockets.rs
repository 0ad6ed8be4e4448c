//! Sockets in states that no library makes for you.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::wait::eventually;

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

/// A port that nobody is given who asks for any, while this lives. Whoever is told of it can listen there, more than
/// once; until then it refuses connections.
///
/// It is a socket that doesn't listen, and so in nobody's way whose own may share an address (`SO_REUSEADDR`).
#[derive(Debug)]
pub struct Reserved {
    addr: SocketAddr,
    socket: Socket,
}

impl Reserved {
    /// One at this address.
    ///
    /// # Errors
    /// The address is none of this host, or no port is free.
    pub fn at(ip: IpAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address((ip, 0).into()), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((ip, 0)).into())?;
        let addr = socket.local_addr()?.as_socket().ok_or(ErrorKind::Unsupported)?;
        Ok(Reserved { addr, socket })
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Keeps it for as long as this process lives.
    pub fn keep(self) {
        static KEPT: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(self.socket);
    }
}

/// An address of 127.0.0.1 that is reserved for as long as this process lives.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn reserved() -> SocketAddr {
    let reserved = Reserved::at(Ipv4Addr::LOCALHOST.into()).expect("a free port");
    let addr = reserved.addr();
    reserved.keep();
    addr
}

/// An address that refuses connections.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn refusing() -> SocketAddr {
    reserved()
}

/// Listens there. An address where somebody has been until now may seem taken for a moment: a program that is being
/// started beside us has a copy of the socket until it runs.
///
/// # Panics
/// It stays taken.
pub async fn listen(addr: SocketAddr) -> tokio::net::TcpListener {
    eventually(&format!("{addr} is free"), async || match tokio::net::TcpListener::bind(addr).await {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        Err(error) => panic!("{addr}: {error}"),
    })
    .await
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
