//! Serving one connection of the app.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::body::{Body, BodyError};
use super::forward::forward;
use crate::drain::{Phase, Signal};
use crate::listen::Downstream;
use crate::listen::detect::{Spoken, detect};
use crate::listen::watch::{Activity, Stream, until_asked};

/// Most header fields of a request (Envoy, hyper).
const MAX_HEADERS: usize = 100;
/// Most bytes of a request head (Envoy).
const MAX_HEAD: usize = 60 * 1024;
/// Most bytes read or written at once.
const MAX_BUFFER: usize = 64 * 1024;
/// HTTP/2 streams of one client connection at a time (Envoy's advice for edges: 100; hyper: 200).
const MAX_STREAMS: u32 = 200;
/// How much of one request body may wait for a slow endpoint.
const STREAM_WINDOW: u32 = 64 * 1024;
/// All request bodies of a connection: streams × stream window, so that none can stall the others.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// How much of one response may wait for a slow client.
const SEND_BUFFER: usize = 64 * 1024;

/// Why a connection ended other than by the client's wish.
#[derive(Debug)]
pub enum Ended {
    /// In good order.
    Well,
    /// What the client sent is not HTTP.
    Protocol(hyper::Error),
    /// The socket broke, or the client went away in the middle of a message.
    Broken(String),
}

/// Serves the connection until it ends.
pub async fn serve(downstream: Rc<Downstream>, tcp: TcpStream, mut drain: Signal) -> Ended {
    let activity = downstream.activity.clone();
    let spoken = tokio::select! {
        spoken = detect(&tcp) => match spoken {
            Ok(spoken) => spoken,
            // A connection on which nothing was ever said: a health check, a pool that changed its mind.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ended::Well,
            Err(error) => return Ended::Broken(error.to_string()),
        },
        () = activity.close_wanted() => return Ended::Well,
        () = drain.reached(Phase::Closing) => return Ended::Well,
    };
    let io = TokioIo::new(Stream::new(tcp, activity.clone(), spoken == Spoken::Http1));
    let result = match spoken {
        Spoken::Http1 => serve_http1(downstream, io, &activity, drain).await,
        Spoken::Http2 => serve_http2(downstream, io, &activity, drain).await,
    };
    match result {
        Ok(()) => Ended::Well,
        Err(error) if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() => {
            Ended::Protocol(error)
        }
        Err(error) => Ended::Broken(match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }),
    }
}

async fn serve_http1(
    downstream: Rc<Downstream>,
    io: TokioIo<Stream>,
    activity: &Activity,
    mut drain: Signal,
) -> hyper::Result<()> {
    let signal = drain.clone();
    let serving = downstream.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let downstream = serving.clone();
        let leaving = signal.has_reached(Phase::Leaving);
        async move {
            let guard = InFlight::new(&downstream);
            let mut response = forward(&downstream, request).await;
            if leaving && !downstream.has_tunnel() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Tracked { body, _guard: guard }))
        }
    });
    let mut connection = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .preserve_header_case(true)
        .header_read_timeout(None)
        .serve_connection(io, service);
    match until_asked(Pin::new(&mut connection), activity, &mut drain, Phase::Closing).await {
        Some(result) => result?,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                result = Pin::new(&mut connection) => result?,
                // A head that only trickles in would hold a graceful end up for ever.
                () = activity.close_wanted() => return Ok(()),
                () = drain.reached(Phase::Ended) => return Ok(()),
            }
        }
    }
    if let Some(tunnel) = downstream.take_tunnel() {
        // hyper has sent the response that begins the tunnel, and keeps what it has read beyond the request.
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        Box::pin(tunnel.run(io.into_inner().into_inner(), read_buf, activity, drain)).await;
    }
    Ok(())
}

async fn serve_http2(
    downstream: Rc<Downstream>,
    io: TokioIo<Stream>,
    activity: &Activity,
    mut drain: Signal,
) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let downstream = downstream.clone();
        // Boxed: hyper and tokio move a stream's future half a dozen times before and after it runs, and it is large.
        Box::pin(async move {
            let guard = InFlight::new(&downstream);
            let response = forward(&downstream, request).await;
            Ok::<_, Infallible>(response.map(|body| Tracked { body, _guard: guard }))
        })
    });
    let connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    if let Some(result) = until_asked(connection.as_mut(), activity, &mut drain, Phase::Leaving).await {
        return result;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = connection.as_mut() => result,
        () = drain.reached(Phase::Ended) => Ok(()),
    }
}

/// Spawns on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A request between its head and the end of its response.
struct InFlight(Rc<Downstream>);

impl InFlight {
    fn new(downstream: &Rc<Downstream>) -> Self {
        downstream.activity.request_began();
        InFlight(downstream.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.activity.request_ended();
    }
}

/// A response body that keeps its request in flight.
struct Tracked {
    body: Body,
    _guard: InFlight,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long the drain goes on accepting before it closes what is idle.
pub const ACCEPT_WHILE_LEAVING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn of<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// A future of a connection lives as long as the connection does, and is moved before it runs.
    #[test]
    fn futures_stay_small() {
        assert!(of(serve) <= 3072, "a connection's future has grown to {} bytes", of(serve));
        assert!(size_of::<Tracked>() <= 192, "a response body has grown to {} bytes", size_of::<Tracked>());
    }
}
