//! HTTP/1.1 connections to an endpoint.
//!
//! hyper's client is two halves joined by a channel: a sender, and a connection that somebody must poll. It is usually
//! spawned as a task of its own, which costs two wake-ups a request and one per body chunk. Here both halves stay
//! together and are polled by whoever uses the connection: the request while it waits for the response head, then the
//! response body; in the pool nobody polls them. So a request and its upstream connection are one task.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Upstream;
use super::socket::{Metered, Stalled};
use super::waker::Relay;
use crate::error::{Fault, Reason};
use crate::http::app_body::AppError;
use crate::http::attempt::{Deadline, Head};
use crate::http::replay::RequestBody;
use crate::interim;
use crate::limiter::Place;
use crate::telemetry::metrics::EndpointCounters;

/// Most header fields a response may have; the same as for requests.
const MAX_HEADERS: usize = 100;
/// Largest response head, and largest piece of a body read at once. hyper's own 400 KiB would let each of a thousand
/// busy connections hold that much.
const MAX_BUFFER: usize = 64 * 1024;
/// After how many requests a connection gets new halves on the same socket. The channel between them takes its memory in
/// blocks of 32 requests, 8 KB each, and from the 33rd on keeps two of them.
const RENEWED_AFTER: u32 = 32;

/// A connection and the handle that sends on it.
pub struct Connection {
    sender: http1::SendRequest<RequestBody>,
    io: http1::Connection<TokioIo<Metered>, RequestBody>,
    /// Requests that these two halves have carried.
    carried: u32,
    /// Sweeps since it was last used.
    pub(super) idle_for: u32,
    /// It has carried a response before: a close without an answer may be a keep-alive race.
    reused: bool,
    stalled: Stalled,
    relay: Arc<Relay>,
    waker: Waker,
    _open: Open,
    place: Place,
}

/// Counts a connection while the pool or a lease has it.
struct Open(Arc<EndpointCounters>);

/// Opens a connection to the endpoint.
pub(super) async fn connect(
    upstream: &Upstream,
    timeout: Duration,
    mut place: Place,
) -> Result<Box<Connection>, Fault> {
    let stream = super::connect::tcp(upstream, timeout, &mut place).await?;
    let stalled = stream.stalled();
    let (sender, io) = halves(stream).map_err(|error| Fault::unsent(Reason::ConnectFailure, error))?;
    let open = Open::new(&upstream.counters);
    let relay = Arc::new(Relay::default());
    let waker = Waker::from(relay.clone());
    Ok(Box::new(Connection {
        sender,
        io,
        carried: 0,
        idle_for: 0,
        reused: false,
        stalled,
        relay,
        waker,
        _open: open,
        place,
    }))
}

type Halves = (http1::SendRequest<RequestBody>, http1::Connection<TokioIo<Metered>, RequestBody>);

fn halves(stream: Metered) -> hyper::Result<Halves> {
    let handshake = http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .handshake(TokioIo::new(stream));
    match pin!(handshake).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(halves) => halves,
        Poll::Pending => unreachable!("HTTP/1.1 begins without a word from either side"),
    }
}

impl Open {
    fn new(counters: &Arc<EndpointCounters>) -> Self {
        counters.connections.add(1);
        Open(counters.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.add(-1);
    }
}

impl Connection {
    /// False when the endpoint is known to have closed it.
    pub(super) fn is_usable(&self) -> bool {
        self.sender.is_ready()
    }

    /// Looks for a close by the endpoint.
    pub(super) fn still_open(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        Pin::new(&mut self.io).poll(&mut cx).is_pending() && self.sender.is_ready()
    }

    /// The same socket with new halves. `None`: it is of no use any more.
    fn renew(self) -> Option<Self> {
        let http1::Parts { io, read_buf, .. } = self.io.into_parts();
        if !read_buf.is_empty() {
            // What nobody has asked for.
            return None;
        }
        let (sender, io) = halves(io.into_inner()).ok()?;
        let mut renewed = Connection { sender, io, carried: 0, ..self };
        // The sender is not ready before its other half has been polled.
        renewed.still_open().then_some(renewed)
    }

    /// Closes it, and leaves its place to another.
    pub(super) fn into_place(self) -> Place {
        self.place
    }

    /// Nobody uses it from now on.
    pub(super) fn rest(&mut self) {
        self.idle_for = 0;
        self.relay.clear();
    }
}

/// A connection in use. Dropped before the exchange is complete, it closes the connection: HTTP/1.1 has no other way
/// to call a request off.
pub struct Lease {
    upstream: Rc<Upstream>,
    connection: Option<Box<Connection>>,
}

/// The request as hyper takes it.
fn request(head: Head<'_>, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::from_parts(head.take(), body);
    if interim::is_wanted() {
        hyper::ext::on_informational(&mut request, |hint| {
            let mut response = Response::new(());
            *response.status_mut() = hint.status();
            *response.headers_mut() = hint.headers().clone();
            interim::note(response);
        });
    }
    request
}

impl Lease {
    pub(super) fn new(upstream: &Rc<Upstream>, connection: Box<Connection>) -> Self {
        Lease { upstream: upstream.clone(), connection: Some(connection) }
    }

    /// Sends the request and waits for the response head, until `deadline`.
    ///
    /// # Errors
    /// The fault says whether the endpoint can have seen anything of the request.
    pub async fn exchange(
        &mut self,
        head: Head<'_>,
        body: RequestBody,
        deadline: &mut Deadline<'_>,
    ) -> Result<Response<Incoming>, Fault> {
        let connection = &mut **self.connection.as_mut().expect("a lease is used once");
        let Connection { sender, io, reused, stalled, relay, waker, .. } = connection;
        let reused = *reused;
        let mut response = pin!(relay.muted(|| sender.try_send_request(request(head, body))));
        let outcome = std::future::poll_fn(|cx| {
            relay.set(cx.waker());
            // Only this connection can complete the response, and it is polled right here: the response's own waker
            // has nothing to tell, and leaving it out saves a wake-up of this task by itself.
            let io = Pin::new(&mut *io).poll(&mut Context::from_waker(waker));
            if let Poll::Ready(result) = response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(Ok(result));
            }
            if io.is_ready() {
                return Poll::Ready(Err(Fault::new(Reason::ClosedWithoutResponse, "connection closed")));
            }
            if let Poll::Ready(reason) = deadline.poll_expired(cx) {
                return Poll::Ready(Err(Fault::new(reason, "no response head in time")));
            }
            deadline.poll_untaken(stalled.since(), cx).map(Err)
        })
        .await;
        match outcome? {
            Ok(response) => Ok(response),
            Err(mut refused) => {
                let unsent = refused.take_message().is_some();
                let error = refused.into_error();
                let mut fault = classify(&error, reused);
                fault.unsent = unsent;
                Err(fault)
            }
        }
    }

    /// The body of the response that came in last; the connection goes back to the pool at its end.
    pub fn into_body(self, incoming: Incoming) -> ResponseBody {
        let mut body = ResponseBody { incoming, lease: self };
        if body.incoming.is_end_stream() {
            body.release();
        }
        body
    }

    /// The socket of a connection that has switched protocols, what came on it after the head that said so, and its
    /// place among the connections of the service.
    pub fn into_socket(mut self) -> Option<(TcpStream, Bytes, Place)> {
        let Connection { io, place, .. } = *self.connection.take()?;
        let http1::Parts { io, read_buf, .. } = io.into_parts();
        Some((io.into_inner().into_inner(), read_buf, place))
    }

    /// Gives the connection back if the exchange is over, else closes it.
    fn release(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if connection.sender.is_ready() {
            connection.reused = true;
            connection.carried += 1;
            if connection.carried == RENEWED_AFTER {
                let Some(renewed) = connection.renew() else { return };
                connection = Box::new(renewed);
            }
            self.upstream.put_back_h1(connection);
        }
    }
}

fn classify(error: &hyper::Error, reused: bool) -> Fault {
    if error.is_parse() || error.is_parse_too_large() {
        return Fault::new(Reason::InvalidResponse, error);
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        let when = if reused { "on a reused connection" } else { "on a new connection" };
        let fault = Fault::new(Reason::ClosedWithoutResponse, format_args!("{error} {when}"));
        return Fault { stale: reused, ..fault };
    }
    if error.is_body_write_aborted() || error.is_user() {
        return match std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<AppError>()) {
            Some(cause) => cause.fault(),
            None => Fault::new(Reason::RequestBodyBroken, error),
        };
    }
    match std::error::Error::source(error) {
        Some(cause) => Fault::new(Reason::Reset, format_args!("{error}: {cause}")),
        None => Fault::new(Reason::Reset, error),
    }
}

/// A response body together with the connection it comes from.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Lease,
}

impl ResponseBody {
    fn release(&mut self) {
        self.lease.release();
    }

    /// Reads what is there already and throws it away, so that the connection can be used again if the body was
    /// short. Never waits.
    pub fn discard(mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        // As many frames as a short error page can have.
        for _ in 0..4 {
            match Pin::new(&mut self).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(connection) = this.lease.connection.as_mut() else {
            return Pin::new(&mut this.incoming).poll_frame(cx);
        };
        // As in `exchange`: frames come from the connection alone, so its wakers are the ones that count.
        let incoming = &mut this.incoming;
        let mut next_frame = |relay: &Relay| {
            relay.muted(|| Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop())))
        };
        let mut frame = next_frame(&connection.relay);
        if frame.is_pending() {
            connection.relay.set(cx.waker());
            let closed =
                Pin::new(&mut connection.io).poll(&mut Context::from_waker(&connection.waker)).is_ready();
            frame = next_frame(&connection.relay);
            if frame.is_pending() && closed {
                // The connection has said all it had to say; what it left in the channel was read just now.
                this.release();
                return Poll::Ready(None);
            }
        }
        match &frame {
            Poll::Ready(None | Some(Err(_))) => this.release(),
            Poll::Ready(Some(Ok(_))) if this.incoming.is_end_stream() => this.release(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper keeps room for 32 of, and some words beside them, has to fit into 8 KiB: the next size that jemalloc
    /// has is 10.
    #[test]
    fn a_block_of_requests_stays_small() {
        let request = size_of::<Request<RequestBody>>();
        assert!(request <= 232, "a request has grown to {request} bytes");
    }
}
