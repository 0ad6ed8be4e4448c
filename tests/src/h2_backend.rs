//! A backend that speaks HTTP/2 with prior knowledge, on the h2 crate: streams answered, refused, reset, kept open.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, request};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::mesh::Endpoint;
use crate::sockets::{Reserved, listen};
use crate::wait::eventually;

/// One stream that a client has opened.
pub struct Stream {
    /// The how-manieth connection it came on.
    pub connection: usize,
    /// The how-manieth stream of the backend it is.
    pub index: usize,
    /// The request's head.
    pub head: request::Parts,
    /// The request's body.
    pub body: RecvStream,
    respond: SendResponse<Bytes>,
    state: Arc<State>,
}

struct State {
    accepts: AtomicUsize,
    closed: AtomicUsize,
    resets: Mutex<Vec<Reason>>,
    heads: Mutex<Vec<request::Parts>>,
    goaway: watch::Sender<bool>,
}

/// A running backend.
pub struct H2Backend {
    addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
    _reserved: Option<Reserved>,
}

type Handler = Arc<dyn Fn(Stream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl H2Backend {
    /// Starts one; each stream is handed to `handler`.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start<F>(handler: impl Fn(Stream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let reserved = Reserved::at(Ipv4Addr::LOCALHOST.into()).expect("a free port");
        let mut backend = Self::start_at(reserved.addr(), handler).await;
        backend._reserved = Some(reserved);
        backend
    }

    /// The same at this address; port 0: any.
    ///
    /// # Panics
    /// It is taken.
    pub async fn start_at<F>(addr: SocketAddr, handler: impl Fn(Stream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = listen(addr).await;
        let addr = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            accepts: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            resets: Mutex::default(),
            heads: Mutex::default(),
            goaway: watch::Sender::new(false),
        });
        let handler: Handler = Arc::new(move |stream| Box::pin(handler(stream)));
        let task = tokio::spawn(accept(listener, state.clone(), handler));
        H2Backend { addr, state, task, _reserved: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Heads of all requests so far.
    #[must_use]
    pub fn heads(&self) -> Vec<request::Parts> {
        self.state.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many of them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.heads().len()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepts(&self) -> usize {
        self.state.accepts.load(SeqCst)
    }

    /// Says GOAWAY on every connection, and ends each when its streams have ended.
    pub fn go_away(&self) {
        self.state.goaway.send_replace(true);
    }

    /// From now on new connections are not told to go away any more.
    pub fn stay(&self) {
        self.state.goaway.send_replace(false);
    }

    /// Waits until so many requests have come.
    pub async fn has_received(&self, n: usize) {
        eventually("the backend receives streams", async || (self.count() >= n).then_some(())).await;
    }

    /// Waits until a client has reset a stream, and says why it did.
    pub async fn was_reset(&self) -> Reason {
        let resets = &self.state.resets;
        eventually("a stream is reset", async || {
            resets.lock().unwrap_or_else(PoisonError::into_inner).first().copied()
        })
        .await
    }

    /// Waits until so many connections have ended.
    pub async fn has_closed(&self, n: usize) {
        eventually("connections end", async || (self.state.closed.load(SeqCst) >= n).then_some(())).await;
    }

    /// Closes the listener and all connections. Its address refuses connections from then on, while this lives.
    pub async fn stop(&self) {
        self.task.abort();
        eventually("the backend ends", async || self.task.is_finished().then_some(())).await;
    }
}

impl Drop for H2Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint for H2Backend {
    fn address(&self) -> SocketAddr {
        self.addr
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, handler: Handler) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let _ = tcp.set_nodelay(true);
        let number = state.accepts.fetch_add(1, SeqCst);
        let (state, handler) = (state.clone(), handler.clone());
        connections.spawn(async move {
            let _ = serve(tcp, number, &state, &handler).await;
            state.closed.fetch_add(1, SeqCst);
        });
    }
}

async fn serve(
    tcp: tokio::net::TcpStream,
    connection: usize,
    state: &Arc<State>,
    handler: &Handler,
) -> Result<(), h2::Error> {
    // The budget: as in the client, a backend that reads late is no reason for h2 to end the connection.
    let mut builder = h2::server::Builder::new();
    let mut io =
        builder.initial_connection_window_size(8 << 20).data_frame_budget(1 << 40).handshake(tcp).await?;
    let mut goaway = state.goaway.subscribe();
    let mut streams = JoinSet::new();
    let mut leaving = false;
    loop {
        let accepted = tokio::select! {
            accepted = io.accept() => accepted,
            _ = goaway.wait_for(|go| *go), if !leaving => {
                leaving = true;
                io.graceful_shutdown();
                continue;
            }
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, respond) = accepted?;
        let (head, body) = request.into_parts();
        let index = {
            let mut heads = state.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.push(head.clone());
            heads.len() - 1
        };
        streams.spawn(handler(Stream { connection, index, head, body, respond, state: state.clone() }));
    }
}

impl Stream {
    /// Reads the whole request.
    pub async fn read(&mut self) -> (Bytes, Option<HeaderMap>) {
        read(&mut self.body).await.unwrap_or_default()
    }

    /// The next piece of the request.
    pub async fn next(&mut self) -> Option<Bytes> {
        next(&mut self.body).await
    }

    /// Sends a response head; more follows on what is returned.
    ///
    /// # Panics
    /// The stream is gone already.
    pub fn head(&mut self, response: Response<()>) -> SendStream<Bytes> {
        self.respond.send_response(response, false).expect("the stream is open")
    }

    /// Sends an interim response, such as 103.
    ///
    /// # Panics
    /// The stream is gone already.
    pub fn interim(&mut self, status: u16, headers: &[(&'static str, &str)]) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(()).expect("a valid response");
        self.respond.send_informational(response).expect("the stream is open");
    }

    /// Sends a whole response.
    pub fn answer(&mut self, status: u16, headers: &[(&'static str, &str)], body: &[u8]) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(()).expect("a valid response");
        // The client may have gone.
        if let Ok(mut stream) = self.respond.send_response(response, body.is_empty())
            && !body.is_empty()
        {
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        }
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Waits until the client resets the stream, or its connection goes. Before the response head only.
    pub async fn until_reset(&mut self) {
        let reason = std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await;
        self.note(reason);
    }

    /// The same when a response is under way.
    pub async fn until_body_reset(&self, body: &mut SendStream<Bytes>) {
        let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
        self.note(reason);
    }

    fn note(&self, reason: Result<Reason, h2::Error>) {
        self.state
            .resets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(reason.unwrap_or(Reason::INTERNAL_ERROR));
    }
}

/// Reads a stream to its end, trailers included.
///
/// # Errors
/// It was reset, or its connection broke.
pub async fn read(body: &mut RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    Ok((all.freeze(), body.trailers().await?))
}

/// The next piece of a stream; `None` at its end and when it breaks.
pub async fn next(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.ok()?;
    let _ = body.flow_control().release_capacity(data.len());
    Some(data)
}
