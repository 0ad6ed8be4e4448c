//! HTTP/2 frame by frame, for what no library would send: a GOAWAY that leaves a stream out, a reset at an odd moment.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::mesh::Endpoint;
use crate::wait::within;
use crate::wire::Wire;

/// Frame types (RFC 9113 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
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

/// WINDOW_UPDATE.
#[must_use]
pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// A field of a header block: a literal that is not indexed, with a name and a value of less than 127 bytes.
#[must_use]
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).expect("a short text"));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The header block of a request.
#[must_use]
pub fn head(method: &str, authority: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)];
    fields.into_iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A request's HEADERS; `end`: nothing follows.
#[must_use]
pub fn request(stream: u32, block: &[u8], end: bool) -> Vec<u8> {
    frame(kind::HEADERS, 0x4 | u8::from(end), stream, block)
}

/// A frame that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type, of [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn code(&self) -> u32 {
        assert_eq!(self.kind, kind::RST_STREAM);
        u32::from_be_bytes(self.payload[..].try_into().expect("four bytes"))
    }
}

/// A client that sends what frames a test likes.
pub struct FrameClient {
    wire: Wire,
}

impl FrameClient {
    /// Connects and sends the preface, with these settings.
    ///
    /// # Panics
    /// Nobody listens.
    pub async fn connect(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let tcp = within("connecting", TcpStream::connect(addr)).await.expect("somebody listens");
        let mut client = FrameClient { wire: Wire::new(tcp) };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(kind::SETTINGS, 0, 0, &payload));
        client.send(bytes).await.expect("the connection is open");
        client
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The proxy has closed the connection.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("sending", self.wire.send(bytes)).await
    }

    /// The next frame.
    ///
    /// # Errors
    /// The proxy has closed the connection.
    pub async fn next(&mut self) -> io::Result<Frame> {
        within("a frame", next(&mut self.wire)).await
    }

    /// Reads until a frame of this type comes.
    ///
    /// # Panics
    /// The connection ends before.
    pub async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("a frame");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Sends these bytes again and again, reading what comes, until the proxy closes the connection.
    pub async fn until_closed(self, bytes: &[u8]) {
        let (mut read, mut write) = self.wire.tcp.into_split();
        let mut buffer = vec![0; 4096];
        let reading = async { while matches!(read.read(&mut buffer).await, Ok(1..)) {} };
        let writing = async {
            while write.write_all(bytes).await.is_ok() {}
            // What was written last may still be on its way, with the end of the connection to come.
            std::future::pending::<()>().await;
        };
        within("the connection is closed", async {
            tokio::select! {
                () = reading => {}
                () = writing => {}
            }
        })
        .await;
    }

    /// Sends these bytes again and again, reading nothing, until the proxy closes the connection.
    pub async fn until_closed_unread(mut self, bytes: &[u8]) {
        within("the connection is closed", async { while self.wire.send(bytes).await.is_ok() {} }).await;
    }

    /// Waits until the proxy has closed the connection.
    pub async fn closed(mut self) {
        within("the connection is closed", self.wire.peer_gone()).await;
    }
}

async fn next(wire: &mut Wire) -> io::Result<Frame> {
    let head = wire.exactly(9).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(Frame { kind: head[3], flags: head[4], stream, payload: wire.exactly(length).await? })
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

async fn serve(
    mut wire: Wire,
    count: &AtomicUsize,
    reply: &(dyn Fn(u32, usize) -> Vec<u8> + Send + Sync),
) -> io::Result<()> {
    // The client's preface.
    wire.exactly(24).await?;
    wire.send(frame(kind::SETTINGS, 0, 0, &[])).await?;
    loop {
        let Frame { kind, flags, stream, payload } = next(&mut wire).await?;
        match (kind, flags) {
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
