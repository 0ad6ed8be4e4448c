//! HTTP/2 frame by frame, for what no library would send: a GOAWAY that leaves a stream out, a reset at an odd moment.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::mesh::Endpoint;
use crate::wire::Wire;

/// Frame types (RFC 9113 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
}

/// A frame as bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GOAWAY without an error: streams above `last` were not processed.
#[must_use]
pub fn goaway(last: u32) -> Vec<u8> {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend(0u32.to_be_bytes());
    frame(kind::GOAWAY, 0, 0, &payload)
}

/// `:status: 200` and the end of the stream.
#[must_use]
pub fn ok(stream: u32) -> Vec<u8> {
    // 0x88 is entry 8 of HPACK's static table; flags: END_STREAM and END_HEADERS.
    frame(kind::HEADERS, 0x5, stream, &[0x88])
}

/// RST_STREAM.
#[must_use]
pub fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A backend that answers each HEADERS frame with bytes of the test's choice; no bytes: it closes the connection.
pub struct FrameBackend {
    addr: SocketAddr,
    headers: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl FrameBackend {
    /// Starts one; `reply` is given the stream's number and how many streams came before it.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start(reply: impl Fn(u32, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let headers = Arc::new(AtomicUsize::new(0));
        let (count, reply) = (headers.clone(), Arc::new(reply));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let (count, reply) = (count.clone(), reply.clone());
                connections.spawn(async move {
                    let _ = serve(Wire::new(tcp), &count, &*reply).await;
                });
            }
        });
        FrameBackend { addr, headers, task }
    }

    /// Requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.headers.load(SeqCst)
    }
}

async fn serve(mut wire: Wire, count: &AtomicUsize, reply: &(dyn Fn(u32, usize) -> Vec<u8> + Send + Sync)) -> io::Result<()> {
    // The client's preface.
    wire.exactly(24).await?;
    wire.send(frame(kind::SETTINGS, 0, 0, &[])).await?;
    loop {
        let head = wire.exactly(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = wire.exactly(length).await?;
        match (head[3], head[4]) {
            (kind::SETTINGS, 0) => wire.send(frame(kind::SETTINGS, 1, 0, &[])).await?,
            (kind::PING, 0) => wire.send(frame(kind::PING, 1, 0, &payload)).await?,
            (kind::HEADERS, _) => {
                let bytes = reply(stream, count.fetch_add(1, SeqCst));
                if bytes.is_empty() {
                    return Ok(());
                }
                wire.send(bytes).await?;
            }
            _ => {}
        }
    }
}

impl Endpoint for FrameBackend {
    fn address(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for FrameBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
