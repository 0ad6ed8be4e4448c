//! Bytes passed through both ways: a connection of a TCP service, one that was upgraded, one that CONNECT asked for.
//!
//! All tunnels of a worker read into one buffer of its thread, and what was read is written at once. Only what the
//! other side doesn't take is kept, and until it has been taken nothing more is read: so an idle tunnel holds no
//! memory, and a stalled one at most one buffer each way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::cluster::Flight;
use crate::drain::{Phase, Signal};
use crate::error::Reason;
use crate::limiter::Place;
use crate::listen::watch::{Activity, until_asked};
use crate::record::Recording;
use crate::telemetry::metrics::{EndpointCounters, TunnelCounters, TunnelEnd};

/// Most bytes read at once.
const BUFFER: usize = 64 * 1024;
/// How soon a silent peer is asked whether it is still there, and how soon again when it doesn't answer.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));

thread_local! {
    /// Nothing is kept in it from one poll to the next.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The upstream half of a tunnel that is about to begin.
pub struct Tunnel {
    upstream: TcpStream,
    /// What the other side has said already.
    early: Bytes,
    /// The attempt that opened it; none where it leads out of the mesh.
    flight: Option<Flight>,
    idle: Option<Duration>,
    open: Open,
    /// Of the request that it began as.
    recording: Option<Recording>,
    /// Among the connections of the service.
    _place: Place,
}

/// Counts a tunnel while it lives, and how it ended.
struct Open {
    counters: Arc<TunnelCounters>,
    endpoint: Option<Arc<EndpointCounters>>,
    end: TunnelEnd,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.add(-1);
        if let Some(endpoint) = &self.endpoint {
            endpoint.connections.add(-1);
        }
        self.counters.ended[self.end as usize].inc();
    }
}

impl Tunnel {
    /// To this connection. `idle`: it ends when nothing has been sent either way for so long.
    pub fn new(
        upstream: TcpStream,
        early: Bytes,
        place: Place,
        flight: Option<Flight>,
        idle: Option<Duration>,
        counters: Arc<TunnelCounters>,
    ) -> Self {
        counters.open.add(1);
        let endpoint = flight.as_ref().map(|flight| flight.upstream().counters.clone());
        if let Some(endpoint) = &endpoint {
            endpoint.connections.add(1);
        }
        let open = Open { counters, endpoint, end: TunnelEnd::Closed };
        Tunnel { upstream, early, flight, idle, open, recording: None, _place: place }
    }

    /// The record of the request that it began as ends with it.
    pub fn recorded(mut self, recording: Option<Recording>) -> Self {
        self.recording = recording;
        self
    }

    /// Waits until the other side has said something, or has gone: `run` finds that out.
    pub async fn spoken_to(&self) {
        if self.early.is_empty() {
            let _ = self.upstream.peek(&mut [0]).await;
        }
    }

    /// Passes bytes through until both sides have said all they had to say, one of them breaks, nothing is said for too
    /// long, or the proxy ends. `early` is what the app has said already.
    pub async fn run(mut self, app: TcpStream, early: Bytes, activity: &Activity, mut drain: Signal) {
        for side in [&app, &self.upstream] {
            // Only a dead peer must be found out; a live one may take its time to read, which the user timeout of pooled
            // connections would not let it.
            let socket = SockRef::from(side);
            let _ = socket.set_tcp_user_timeout(None);
            let _ = socket.set_tcp_keepalive(&KEEPALIVE);
        }
        activity.tunnel_began(self.idle);
        let counters = self.open.counters.clone();
        let endpoint = self.open.endpoint.clone();
        let (passed_out, passed_back) = (Cell::new(0), Cell::new(0));
        let (mut app, mut upstream) = (app, self.upstream);
        let (mut out, mut back) = (Half::new(early), Half::new(std::mem::take(&mut self.early)));
        let both = poll_fn(|cx| {
            let sent = out.poll(cx, &mut app, &mut upstream, |n| {
                activity.bytes_passed();
                counters.sent.add(n as u64);
                passed_out.set(passed_out.get() + n as u64);
                if let Some(endpoint) = &endpoint {
                    endpoint.bytes_sent.add(n as u64);
                }
            })?;
            let received = back.poll(cx, &mut upstream, &mut app, |n| {
                activity.bytes_passed();
                counters.received.add(n as u64);
                passed_back.set(passed_back.get() + n);
                if let Some(endpoint) = &endpoint {
                    endpoint.bytes_received.add(n as u64);
                }
            })?;
            if sent.is_ready() && received.is_ready() {
                Poll::Ready(io::Result::Ok(()))
            } else {
                Poll::Pending
            }
        });
        let outcome = until_asked(pin!(both), activity, &mut drain, Phase::Ended).await;
        let service = self.flight.as_ref().map(|flight| flight.service().name.clone());
        let peer = self.flight.as_ref().map(|flight| flight.upstream().addr);
        let peer = peer.map(tracing::field::display);
        self.open.end = match outcome {
            Some(Ok(())) => TunnelEnd::Closed,
            Some(Err(error)) => {
                tracing::debug!(endpoint = peer, %error, "a tunnel broke");
                // Neither side may take the other's breaking off for an orderly end.
                for side in [&app, &upstream] {
                    let _ = SockRef::from(side).set_linger(Some(Duration::ZERO));
                }
                TunnelEnd::Broken
            }
            None if activity.is_close_wanted() => {
                let seconds = self.idle.map(|idle| idle.as_secs_f64());
                // Both its ends lose a connection that they may have counted on: they should find out why.
                tracing::info!(
                    service,
                    endpoint = peer,
                    seconds,
                    "a tunnel (TCP, WebSocket, CONNECT) was closed: nothing passed for idleTimeoutSeconds"
                );
                TunnelEnd::Idle
            }
            None => TunnelEnd::Drained,
        };
        if let Some(flight) = self.flight.take() {
            flight.closed();
        }
        if let Some(mut recording) = self.recording.take() {
            recording.took(passed_out.get());
            recording.passed(passed_back.get());
            match self.open.end {
                TunnelEnd::Broken | TunnelEnd::Failed => recording.broken(Reason::Reset, false),
                TunnelEnd::Closed | TunnelEnd::Idle | TunnelEnd::Drained => recording.complete(),
            }
        }
    }
}

/// One direction.
struct Half {
    /// Read, and not taken yet.
    pending: Bytes,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The reading side has ended; the writing side must still be told.
    Ended,
    Shut,
}

impl Half {
    fn new(pending: Bytes) -> Self {
        Half { pending, stage: Stage::Open }
    }

    /// Ready when this direction is over; the other one may go on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        passed: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(BUFFER, 0);
            loop {
                while !self.pending.is_empty() {
                    let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                    if n == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    passed(n);
                    self.pending.advance(n);
                }
                self.pending = Bytes::new();
                match self.stage {
                    Stage::Open => {}
                    Stage::Ended => {
                        ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                        self.stage = Stage::Shut;
                        return Poll::Ready(Ok(()));
                    }
                    Stage::Shut => return Poll::Ready(Ok(())),
                }
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
                let read = buffer.filled();
                if read.is_empty() {
                    self.stage = Stage::Ended;
                    continue;
                }
                let written = match Pin::new(&mut *to).poll_write(cx, read)? {
                    Poll::Ready(n) => n,
                    Poll::Pending => 0,
                };
                passed(written);
                if written < read.len() {
                    self.pending = Bytes::copy_from_slice(&read[written..]);
                }
            }
        })
    }
}
