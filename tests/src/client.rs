//! A client that sends the bytes it is told to.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::sockets::reset_on_close;
use crate::wait::within;
use crate::wire::{Answer, Wire};

/// A connection over which a test speaks HTTP/1.1 itself.
#[derive(Debug)]
pub struct Raw {
    /// The socket and what was read of it.
    pub wire: Wire,
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).await.unwrap_or_else(|error| panic!("{addr}: {error}"))
    }

    /// Connects, perhaps.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        Ok(Raw { wire: Wire::new(within("connecting", TcpStream::connect(addr)).await?) })
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// The connection is broken.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("sending", self.wire.send(bytes)).await.expect("the connection is open");
    }

    /// Reads a response to a request with this method.
    ///
    /// # Errors
    /// None came whole.
    pub async fn try_response(&mut self, method: &str) -> io::Result<Answer> {
        within("a response", self.wire.response(method)).await
    }

    /// Reads a response to a GET or POST.
    ///
    /// # Panics
    /// None came whole.
    pub async fn response(&mut self) -> Answer {
        self.try_response("GET").await.expect("a response")
    }

    /// Sends and reads the response.
    pub async fn call(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        let method = String::from_utf8_lossy(bytes.as_ref()).split(' ').next().unwrap_or_default().to_owned();
        self.send(bytes).await;
        self.try_response(&method).await.expect("a response")
    }

    /// Reads to the end; an error counts as one.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end of the connection", self.wire.rest()).await.unwrap_or_default()
    }

    /// Waits for the other side to close.
    pub async fn closed(&mut self) {
        within("the connection is closed", self.wire.peer_gone()).await;
    }

    /// Closes with a reset.
    pub fn reset(self) {
        reset_on_close(&self.wire.tcp);
    }
}
