//! A backend that speaks no HTTP: it does with each connection what a test tells it to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::task::{JoinHandle, JoinSet};

use crate::mesh::Endpoint;
use crate::sockets::listen;
use crate::wire::Wire;

/// A running one.
#[derive(Debug)]
pub struct TcpBackend {
    addr: SocketAddr,
    accepts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl TcpBackend {
    /// `converse` is told how manieth connection it gets.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start<F: Future<Output = io::Result<()>> + Send + 'static>(
        converse: impl Fn(usize, Wire) -> F + Send + 'static,
    ) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), converse).await
    }

    /// The same at this address; port 0: any.
    ///
    /// # Panics
    /// It is taken.
    pub async fn start_at<F: Future<Output = io::Result<()>> + Send + 'static>(
        addr: SocketAddr,
        converse: impl Fn(usize, Wire) -> F + Send + 'static,
    ) -> Self {
        let listener = listen(addr).await;
        let addr = listener.local_addr().expect("its address");
        let accepts = Arc::new(AtomicUsize::new(0));
        let count = accepts.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                connections.spawn(converse(count.fetch_add(1, SeqCst), Wire::new(tcp)));
                while connections.try_join_next().is_some() {}
            }
        });
        TcpBackend { addr, accepts, task }
    }

    /// One that sends back what it gets.
    pub async fn echo() -> Self {
        Self::start(|_, wire| async move {
            let (mut read, mut write) = wire.tcp.into_split();
            tokio::io::copy(&mut read, &mut write).await.map(drop)
        })
        .await
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections so far.
    #[must_use]
    pub fn accepts(&self) -> usize {
        self.accepts.load(SeqCst)
    }
}

impl Endpoint for TcpBackend {
    fn address(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for TcpBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
