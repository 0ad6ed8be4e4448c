//! HTTP/2 connections to an endpoint, on the h2 crate itself: each stream's flow control, resets and trailers are ours
//! to handle, and no task stands between a response and its connection but the one that reads the socket.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason as H2Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::sync::Notify;

use super::Upstream;
use crate::error::{Fault, Reason};
use crate::http::attempt::Deadline;
use crate::http::replay::RequestBody;
use crate::telemetry::metrics::EndpointCounters;

/// Streams that we open on one connection at most, whatever the endpoint allows.
const MAX_STREAMS: usize = 100;
/// How much of one response may wait for a slow reader.
const STREAM_WINDOW: u32 = 64 * 1024;
/// How much of all responses of a connection may: at least streams × stream window, so that readers who stop can't
/// stall the others (DESIGN, measured).
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Largest response head, decoded.
const MAX_HEADER_LIST: u32 = 60 * 1024;
/// What the frames of responses that nobody reads may cost in memory beside their bytes. h2 counts 256 bytes a frame and
/// gives the connection up, with all its streams, when this is used up; its default, half the connection window, is
/// reached by four readers that stop in a stream of nine-byte messages.
const FRAME_BUDGET: usize = 32 * 1024 * 1024;
/// A connection with streams on it is asked for a sign of life this often, and given up when it has not answered by
/// the next time: a dead peer is found within 3 s.
const PING_EVERY: Duration = Duration::from_millis(1500);

const _: () = assert!(MAX_STREAMS as u32 * STREAM_WINDOW <= CONNECTION_WINDOW);

/// The connections of one worker to one endpoint.
#[derive(Default)]
pub(super) struct Pool {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Someone is opening a connection; others wait for it instead of opening one each.
    connecting: Cell<bool>,
    /// Failed attempts to connect so far: those who wait share the failure.
    failures: Cell<u64>,
    changed: Notify,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("h2::Pool")
            .field("connections", &self.connections.borrow().len())
            .finish_non_exhaustive()
    }
}

struct Connection {
    /// One for all streams: cloning it would take h2's lock twice more a request.
    sender: RefCell<SendRequest<Bytes>>,
    /// Streams in use.
    streams: Cell<usize>,
    /// How many there may be. The endpoint can change its mind; h2 then keeps a stream waiting until there is room, so
    /// this need not be asked for each time.
    room: Cell<usize>,
    /// It has ended, or the endpoint has said that it will.
    closed: Cell<bool>,
    idle_for: Cell<u32>,
}

impl Connection {
    fn has_room(&self) -> bool {
        !self.closed.get() && self.streams.get() < self.room.get()
    }

    fn ask_room(&self) {
        self.room.set(MAX_STREAMS.min(self.sender.borrow().current_max_send_streams()));
    }
}

impl Pool {
    /// The connection with the fewest streams that has room, or a new one.
    pub(super) async fn checkout(&self, upstream: &Rc<Upstream>, timeout: Duration) -> Result<Lease, Fault> {
        loop {
            let roomiest = {
                let connections = self.connections.borrow();
                connections.iter().filter(|c| c.has_room()).min_by_key(|c| c.streams.get()).cloned()
            };
            if let Some(connection) = roomiest {
                match Lease::new(connection) {
                    Some(lease) => return Ok(lease),
                    None => continue,
                }
            }
            if self.connecting.get() {
                let failures = self.failures.get();
                self.changed.notified().await;
                if self.failures.get() != failures {
                    return Err(Fault::unsent(
                        Reason::ConnectFailure,
                        format_args!("{}: the connection waited for could not be opened", upstream.addr),
                    ));
                }
                continue;
            }
            return Box::pin(self.connect(upstream, timeout)).await;
        }
    }

    async fn connect(&self, upstream: &Rc<Upstream>, timeout: Duration) -> Result<Lease, Fault> {
        /// Lets those who wait go on, however the attempt ends: also when its request is called off.
        struct Connecting<'a>(&'a Pool);
        impl Drop for Connecting<'_> {
            fn drop(&mut self) {
                self.0.connecting.set(false);
                self.0.changed.notify_waiters();
            }
        }
        self.connecting.set(true);
        let _connecting = Connecting(self);
        let opened = open(upstream, timeout).await;
        match opened {
            Ok(connection) => {
                if upstream.slot.get().is_some() {
                    self.connections.borrow_mut().push(connection.clone());
                }
                Lease::new(connection)
                    .ok_or_else(|| Fault::unsent(Reason::ConnectFailure, "the connection was closed at once"))
            }
            Err(fault) => {
                self.failures.set(self.failures.get() + 1);
                Err(fault)
            }
        }
    }

    pub(super) fn sweep(&self, max_idle_sweeps: u32) {
        self.connections.borrow_mut().retain(|connection| {
            if connection.closed.get() {
                return false;
            }
            connection.ask_room();
            if connection.streams.get() > 0 {
                connection.idle_for.set(0);
                return true;
            }
            connection.idle_for.set(connection.idle_for.get() + 1);
            connection.idle_for.get() <= max_idle_sweeps
        });
    }

    pub(super) fn retire(&self) {
        self.connections.borrow_mut().clear();
    }
}

async fn open(upstream: &Upstream, timeout: Duration) -> Result<Rc<Connection>, Fault> {
    let stream = super::connect::tcp(upstream, timeout).await?;
    let (sender, mut io) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .data_frame_budget(FRAME_BUDGET)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| Fault::unsent(Reason::ConnectFailure, error))?;
    let connection = Rc::new(Connection {
        sender: RefCell::new(sender),
        streams: Cell::new(0),
        room: Cell::new(MAX_STREAMS),
        closed: Cell::new(false),
        idle_for: Cell::new(0),
    });
    let pings = io.ping_pong().expect("taken once");
    // The driver holds a weak hand on the connection: when the pool and all streams have let go of it, the senders are
    // gone and h2 closes the socket with a GOAWAY.
    let weak = Rc::downgrade(&connection);
    let counters = upstream.counters.clone();
    counters.connections.add(1);
    tokio::task::spawn_local(async move {
        let _open = Open(counters);
        tokio::select! {
            result = &mut io => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
                }
            }
            () = unanswered(pings, weak.clone()) => tracing::debug!("an HTTP/2 connection to an endpoint is dead"),
        }
        if let Some(connection) = weak.upgrade() {
            connection.closed.set(true);
        }
    });
    Ok(connection)
}

/// Counts the connection as open while its driver lives.
struct Open(Arc<EndpointCounters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.add(-1);
    }
}

/// Ends when a ping was not answered by the time the next one was due. Sleeps while no stream is open.
async fn unanswered(mut pings: PingPong, connection: std::rc::Weak<Connection>) {
    loop {
        // Waits without holding the connection alive.
        let busy = match connection.upgrade() {
            Some(connection) if connection.streams.get() > 0 => true,
            Some(_) => false,
            None => return std::future::pending().await,
        };
        tokio::time::sleep(PING_EVERY).await;
        if !busy {
            continue;
        }
        if pings.send_ping(Ping::opaque()).is_err() {
            return std::future::pending().await;
        }
        let pong = std::future::poll_fn(|cx| pings.poll_pong(cx));
        match tokio::time::timeout(PING_EVERY, pong).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return std::future::pending().await,
            Err(_elapsed) => return,
        }
    }
}

/// The right to one stream on a connection, and the stream while it lives.
pub struct Lease {
    connection: Rc<Connection>,
    /// The sender's last stream still waits to be opened.
    sender_is_busy: bool,
}

impl Lease {
    /// `None` when the connection takes no more streams: the endpoint has sent a GOAWAY, or it is gone. That is no
    /// failure of a request, as long as it is found out here.
    fn new(connection: Rc<Connection>) -> Option<Self> {
        let ready = connection.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(_)) = ready {
            connection.closed.set(true);
            return None;
        }
        let streams = connection.streams.get() + 1;
        connection.streams.set(streams);
        if streams % 16 == 0 {
            connection.ask_room();
        }
        Some(Lease { connection, sender_is_busy: ready.is_pending() })
    }

    /// Sends the request and waits for the response head, until `deadline`. The rest of the request
    /// body goes on being sent while the response is read.
    ///
    /// # Errors
    /// The fault says whether the endpoint can have seen anything of the request.
    pub async fn exchange(
        &mut self,
        head: Request<()>,
        body: RequestBody,
        mut deadline: Deadline<'_>,
    ) -> Result<(Response<RecvStream>, Option<Upload>), Fault> {
        let end = body.is_end_stream();
        let sent = {
            let mut sender = self.connection.sender.borrow_mut();
            // A sender waits with its own last stream; a new one brings its own place in the queue.
            if self.sender_is_busy {
                sender.clone().send_request(head, end)
            } else {
                sender.send_request(head, end)
            }
        };
        let (mut response, stream) = sent.map_err(|error| {
            if !error.is_reset() {
                self.connection.closed.set(true);
            }
            Fault::unsent(Reason::Reset, error)
        })?;
        let mut upload = (!end).then(|| Upload::new(body, stream));
        let response = std::future::poll_fn(|cx| poll_head(&mut response, &mut upload, &mut deadline, cx))
            .await
            .inspect_err(|fault| {
                if fault.reason != Reason::AttemptTimeout && fault.reason != Reason::ResponseTimeout {
                    self.note(fault);
                }
            })?;
        Ok((response, upload))
    }

    fn note(&self, fault: &Fault) {
        // After a GOAWAY or an I/O error the connection takes no more streams.
        if fault.detail.contains("GOAWAY") || fault.reason == Reason::ClosedWithoutResponse {
            self.connection.closed.set(true);
        }
    }

    /// The body of the response; the stream's place is free again at its end.
    pub fn into_body(self, stream: RecvStream, upload: Option<Upload>) -> ResponseBody {
        // A request that is still being sent must go on even when nobody reads the response at the moment: a peer may
        // wait for the end of one before it goes on with the other.
        let upload = upload.map(|upload| {
            let task = tokio::task::spawn_local(async move {
                if let Err(fault) = upload.await {
                    tracing::debug!(%fault, "the rest of a request was not sent");
                }
            });
            AbortOnDrop(task.abort_handle())
        });
        ResponseBody { stream, unreleased: 0, data_done: false, _upload: upload, _lease: self }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
        self.connection.idle_for.set(0);
    }
}

fn poll_head(
    response: &mut ResponseFuture,
    upload: &mut Option<Upload>,
    deadline: &mut Deadline<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<RecvStream>, Fault>> {
    if let Some(sending) = upload
        && let Poll::Ready(result) = Pin::new(sending).poll(cx)
    {
        *upload = None;
        // The stream's own error says more than the body's when there is one: it is what the response future sees.
        if let Err(fault) = result
            && fault.reason == Reason::RequestBodyBroken
        {
            return Poll::Ready(Err(fault));
        }
    }
    if let Poll::Ready(result) = Pin::new(response).poll(cx) {
        return Poll::Ready(result.map_err(|error| classify(&error)));
    }
    deadline.poll_expired(cx).map(|reason| Err(Fault::new(reason, "no response head in time")))
}

/// What an error of a stream means for its request.
fn classify(error: &h2::Error) -> Fault {
    if error.is_go_away() && error.is_remote() {
        // h2 fails only those streams this way that the GOAWAY names as not processed.
        return Fault::unsent(Reason::RefusedStream, format_args!("GOAWAY: {error}"));
    }
    if error.is_reset() && error.reason() == Some(H2Reason::REFUSED_STREAM) {
        return Fault::unsent(Reason::RefusedStream, error);
    }
    if error.is_io() {
        return Fault::new(Reason::ClosedWithoutResponse, error);
    }
    if error.is_reset() && error.is_library() {
        return Fault::new(Reason::InvalidResponse, error);
    }
    Fault::new(Reason::Reset, error)
}

/// The sending of a request body.
pub struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
}

impl Upload {
    fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Upload { body, stream }
    }
}

impl Future for Upload {
    type Output = Result<(), Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Upload { body, stream } = self.get_mut();
        loop {
            // Ask for a chunk only when the endpoint can take some of it: so a slow endpoint slows the app down
            // instead of filling our memory.
            stream.reserve_capacity(1);
            if stream.capacity() == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(0)) => {}
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(classify(&error))),
                    None => return Poll::Ready(Ok(())),
                }
            } else if let Poll::Ready(reset) = stream.poll_reset(cx) {
                // The endpoint wants no more: NO_ERROR after a full response is not a failure.
                return Poll::Ready(match reset {
                    Ok(H2Reason::NO_ERROR) => Ok(()),
                    Ok(reason) => Err(Fault::new(Reason::Reset, format_args!("stream reset: {reason}"))),
                    Err(error) => Err(classify(&error)),
                });
            }
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let end = body.is_end_stream();
                        if data.is_empty() && !end {
                            continue;
                        }
                        stream.send_data(data, end).map_err(|error| classify(&error))?;
                        if end {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            stream.reserve_capacity(0);
                            stream.send_trailers(trailers).map_err(|error| classify(&error))?;
                        }
                        return Poll::Ready(Ok(()));
                    }
                },
                None => {
                    stream.reserve_capacity(0);
                    stream.send_data(Bytes::new(), true).map_err(|error| classify(&error))?;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => {
                    // The app's side broke: say so to the endpoint rather than pass off half a body as a whole one.
                    stream.send_reset(H2Reason::CANCEL);
                    return Poll::Ready(Err(Fault::new(Reason::RequestBodyBroken, error)));
                }
            }
        }
    }
}

/// A response body and its stream. Dropped early it resets the stream with CANCEL, so the endpoint stops working.
pub struct ResponseBody {
    stream: RecvStream,
    /// Bytes handed on whose window has not been given back: that happens when the reader comes for more.
    unreleased: usize,
    data_done: bool,
    /// The rest of the request: nobody wants it once the response is over or called off. h2 resets the stream only when
    /// both of its halves are gone.
    _upload: Option<AbortOnDrop>,
    _lease: Lease,
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if this.unreleased > 0 {
            let _ = this.stream.flow_control().release_capacity(this.unreleased);
            this.unreleased = 0;
        }
        if !this.data_done {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    this.unreleased = data.len();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) if error.is_reset() && error.reason() == Some(H2Reason::NO_ERROR) => {
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_done = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
