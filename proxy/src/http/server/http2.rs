//! One HTTP/2 connection of the app, on the h2 crate itself: its settings, the requests that come on it, its end. What
//! goes on in one of its streams is in [`super::stream`].

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode, header};

use super::meter::{Metered, TOO_MANY};
use super::{Ended, MAX_HEAD, MAX_HEADERS, stream};
use crate::drain::{Phase, Signal};
use crate::h2_body::FRAME_BUDGET;
use crate::listen::Downstream;
use crate::listen::watch::{Stream, until_asked};

/// Streams of one client connection at a time: nginx's number; RFC 9113 asks for 100 at least. Clients that want more
/// open another connection. With the stream window it bounds what one connection can make the proxy hold: 8 MiB.
const MAX_STREAMS: u32 = 128;
/// How much of one request body may wait for a slow endpoint.
const STREAM_WINDOW: u32 = 64 * 1024;
/// All request bodies of a connection: streams × stream window, so that none can stall the others.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// How much of one response may wait in h2 for the client's socket.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client has reset before they were so much as looked at, at a time (rapid reset, CVE-2023-44487).
const MAX_RESET_UNSEEN: usize = 20;
/// Streams that h2 has reset because of what the client sent on them, in the life of a connection (MadeYouReset,
/// CVE-2025-8671). Well-behaved clients cause none.
const MAX_RESET_FOR_ERRORS: usize = 1024;
/// Streams that have been reset from our side and are remembered for a second, so that what the client had already sent
/// on them is no error.
const MAX_RESET_REMEMBERED: usize = 50;
/// From so many requests on, a client that has called off most of them at once is sent away (Envoy: 500, half): each of
/// them has cost an attempt at an endpoint. A client that gives up late, or now and then, is no attacker.
const MANY: u32 = 500;
/// How long a client has to answer the GOAWAY that tells it that it has been idle for too long.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the streams of a connection share.
pub(super) struct Shared {
    /// The connection.
    pub(super) downstream: Rc<Downstream>,
    requests: Cell<u32>,
    called_off: Cell<u32>,
}

impl Shared {
    /// The client has reset a stream right after it had opened it.
    pub(super) fn was_called_off(&self) {
        self.called_off.set(self.called_off.get().saturating_add(1));
    }

    fn is_flooded(&self) -> bool {
        self.requests.get() >= MANY && self.called_off.get() > self.requests.get() / 2
    }
}

/// Serves the connection until it ends.
pub(super) async fn serve(downstream: Rc<Downstream>, io: Stream, mut drain: Signal) -> Ended {
    let activity = downstream.activity.clone();
    let handshake = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESET_UNSEEN)
        .max_local_error_reset_streams(Some(MAX_RESET_FOR_ERRORS))
        .max_concurrent_reset_streams(MAX_RESET_REMEMBERED)
        .data_frame_budget(FRAME_BUDGET)
        .handshake(Metered::new(io))
        .await;
    let connection = match handshake {
        Ok(connection) => connection,
        Err(error) => return ended(&error),
    };
    let shared = Rc::new(Shared { downstream, requests: Cell::default(), called_off: Cell::default() });
    let mut serving = Serving { connection, shared };
    if let Some(ended) = until_asked(Pin::new(&mut serving), &activity, &mut drain, Phase::Leaving).await {
        return ended;
    }
    if activity.is_blocked() {
        // Nothing more can be said to a client that reads nothing.
        return Ended::Well;
    }
    serving.connection.graceful_shutdown();
    tokio::select! {
        ended = &mut serving => ended,
        () = drain.reached(Phase::Ended) => Ended::Well,
        // A client need not answer.
        () = async {
            if !activity.is_close_wanted() {
                std::future::pending::<()>().await;
            }
            loop {
                tokio::time::sleep(GOODBYE).await;
                if !activity.is_busy() || activity.is_blocked() {
                    return;
                }
            }
        } => Ended::Well,
    }
}

/// A connection at work: takes requests up, reads and writes for all streams.
struct Serving {
    connection: Connection<Metered, Bytes>,
    shared: Rc<Shared>,
}

impl Future for Serving {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        loop {
            match ready!(this.connection.poll_accept(cx)) {
                Some(Ok((request, respond))) => this.take_up(request, respond),
                Some(Err(error)) => return Poll::Ready(ended(&error)),
                None if this.shared.is_flooded() => {
                    return Poll::Ready(Ended::Flood("most requests were called off at once".to_owned()));
                }
                None => return Poll::Ready(Ended::Well),
            }
        }
    }
}

impl Serving {
    fn take_up(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let shared = &self.shared;
        shared.requests.set(shared.requests.get().saturating_add(1));
        if shared.is_flooded() {
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            return;
        }
        if has_too_many(request.headers()) {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            // An error means that the client has gone.
            let _ = respond.send_response(response, true);
            return;
        }
        // Boxed: tokio moves a stream's future several times before it runs, and it is large.
        tokio::task::spawn_local(Box::pin(stream::carry(shared.clone(), request, respond)));
    }
}

/// A client may write each cookie as a field of its own (RFC 9113 8.2.3): together they count as the one they are.
fn has_too_many(headers: &HeaderMap) -> bool {
    headers.len() > MAX_HEADERS
        && headers.len() - headers.get_all(header::COOKIE).iter().count().saturating_sub(1) > MAX_HEADERS
}

/// What the end of a connection was.
fn ended(error: &h2::Error) -> Ended {
    match error.reason() {
        Some(Reason::NO_ERROR) => Ended::Well,
        Some(Reason::ENHANCE_YOUR_CALM) if error.is_library() => Ended::Flood(error.to_string()),
        Some(_) if error.is_library() => Ended::Protocol(error.to_string()),
        None if error.get_io().is_some_and(|error| error.kind() == TOO_MANY) => {
            Ended::Flood(error.to_string())
        }
        _ => Ended::Broken(error.to_string()),
    }
}
