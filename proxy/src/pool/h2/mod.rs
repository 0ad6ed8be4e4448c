//! HTTP/2 connections to an endpoint, on the h2 crate itself: each stream's flow control, resets and trailers are ours
//! to handle, and no task stands between a response and its connection but the one that reads the socket.
//!
//! This file has the connections; [`stream`] what goes on in one of their streams.

mod stream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::sync::Notify;

pub use stream::{Lease, ResponseBody, Upload};

use super::{Patience, Upstream};
use crate::error::{Fault, Reason};
use crate::h2_body::FRAME_BUDGET;
use crate::limiter::{Grant, Kind, Limiter, Place};
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
    changed: Rc<Notify>,
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
    /// Told when a stream has ended: somebody may wait for its room.
    changed: Rc<Notify>,
    limiter: Arc<Limiter>,
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
    /// The connection with the fewest streams that has room, or a new one. Where the service has as many as it may,
    /// whatever comes first: room on one of these, or the right to open another.
    pub(super) async fn checkout(&self, upstream: &Rc<Upstream>, patience: Patience) -> Result<Lease, Fault> {
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
            let place = match upstream.limiter.try_connect() {
                Some(place) => place,
                None => match Box::pin(self.wait(upstream, patience)).await? {
                    Some(place) => place,
                    None => continue,
                },
            };
            return Box::pin(self.connect(upstream, patience.connect, place)).await;
        }
    }

    /// Waits for the right to open a connection; `None`: there may be room on another one now.
    async fn wait(&self, upstream: &Upstream, patience: Patience) -> Result<Option<Place>, Fault> {
        let mut waiting = upstream.limiter.queue(Kind::Connection, 0)?;
        let granted = tokio::select! {
            biased;
            granted = waiting.until(patience.wait) => granted?,
            () = self.changed.notified() => {
                waiting.call_off();
                return Ok(None);
            }
        };
        match granted {
            Grant::Place(place) if !self.connecting.get() && !self.has_room() => Ok(Some(place)),
            _ => Ok(None),
        }
    }

    fn has_room(&self) -> bool {
        self.connections.borrow().iter().any(|connection| connection.has_room())
    }

    async fn connect(
        &self,
        upstream: &Rc<Upstream>,
        timeout: Duration,
        place: Place,
    ) -> Result<Lease, Fault> {
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
        let opened = open(upstream, timeout, self.changed.clone(), place).await;
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

    /// Closes a connection without streams.
    pub(super) fn close_idle(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        let idle = connections.iter().position(|connection| connection.streams.get() == 0);
        idle.map(|at| connections.remove(at)).is_some()
    }

    pub(super) fn retire(&self) {
        self.connections.borrow_mut().clear();
    }
}

async fn open(
    upstream: &Upstream,
    timeout: Duration,
    changed: Rc<Notify>,
    mut place: Place,
) -> Result<Rc<Connection>, Fault> {
    let stream = super::connect::tcp(upstream, timeout, &mut place).await?;
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
        changed,
        limiter: upstream.limiter.clone(),
    });
    let pings = io.ping_pong().expect("taken once");
    // The driver holds a weak hand on the connection: when the pool and all streams have let go of it, the senders are
    // gone and h2 closes the socket with a GOAWAY.
    let weak = Rc::downgrade(&connection);
    let counters = upstream.counters.clone();
    counters.connections.add(1);
    tokio::task::spawn_local(async move {
        let _open = (Open(counters), place);
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
