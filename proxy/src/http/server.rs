//! Serving one connection of the app: over HTTP/1.1 with hyper, which is here; over HTTP/2 in [`http2`].

mod date;
mod http2;
mod meter;
mod stream;

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::app_body::AppBody;
use super::body::{Body, BodyError};
use super::forward::forward;
use super::headers;
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

/// What a client hears whose request head did not come in time.
const HEAD_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nx-bowline-error: request_head_timeout\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 61\r\nconnection: close\r\n\r\n\
    bowline: the request head was not complete within 30 seconds\n";

/// Why a connection ended other than by the client's wish.
#[derive(Debug)]
pub enum Ended {
    /// In good order.
    Well,
    /// What the client sent is not HTTP.
    Protocol(String),
    /// The client asked for more than any client in its right mind does: it was an attack, or a fault of the client.
    Flood(String),
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
    if spoken == Spoken::Tls {
        downstream.tls_came();
    }
    let io = Stream::new(tcp, activity.clone(), spoken != Spoken::Http2);
    let result = match spoken {
        Spoken::Http1 | Spoken::Tls => serve_http1(downstream, TokioIo::new(io), &activity, drain).await,
        // Boxed: connections over HTTP/1.1 are many more, and should not be as large.
        Spoken::Http2 => return Box::pin(http2::serve(downstream, io, drain)).await,
    };
    match result {
        Ok(()) => Ended::Well,
        Err(error) if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() => {
            Ended::Protocol(error.to_string())
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
    let (signal, serving) = (drain.clone(), &downstream);
    let service = service_fn(move |request: Request<Incoming>| {
        let leaving = signal.has_reached(Phase::Leaving);
        let guard = InFlight::new(serving);
        let finish = move |mut response: Response<Body>| {
            if let Some(body) = response.body_mut().share() {
                serving.bridges(body);
            }
            if leaving && !serving.has_tunnel() && !headers::is_unprocessed(response.headers()) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Tracked { body, _guard: guard }))
        };
        forward(serving, request.map(|body| AppBody::http1(body, &serving.activity)), finish)
    });
    let connection = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .preserve_header_case(true)
        .header_read_timeout(None)
        // Else hyper reads on while a request waits, only to notice a close: `Stream` does that without a buffer.
        .half_close(true)
        .serve_connection(io, service);
    let mut serving = Serving { connection, downstream: &downstream };
    match until_asked(Pin::new(&mut serving), activity, &mut drain, Phase::Closing).await {
        Some(result) => result?,
        None if activity.is_blocked() => return Ok(()),
        None if activity.is_head_late() => {
            // hyper has no words for this, and nothing else is under way.
            let http1::Parts { io, .. } = serving.connection.into_parts();
            let _ = io.into_inner().into_inner().try_write(HEAD_TIMEOUT);
            return Ok(());
        }
        None => {
            Pin::new(&mut serving.connection).graceful_shutdown();
            tokio::select! {
                result = &mut serving => result?,
                // A head that only trickles in would hold a graceful end up for ever.
                () = activity.close_wanted() => return Ok(()),
                () = drain.reached(Phase::Ended) => return Ok(()),
            }
        }
    }
    if let Some(tunnel) = downstream.take_tunnel() {
        // hyper has sent the response that begins the tunnel, and keeps what it has read beyond the request.
        let http1::Parts { io, read_buf, .. } = serving.connection.into_parts();
        Box::pin(tunnel.run(io.into_inner().into_inner(), read_buf, activity, drain)).await;
    }
    Ok(())
}

/// hyper's connection. When the app reads nothing, hyper asks for no more of the response, and what comes of it must not
/// stay in the endpoint's HTTP/2 connection.
struct Serving<'a, C> {
    connection: C,
    downstream: &'a Downstream,
}

impl<C: Future + Unpin> Future for Serving<'_, C> {
    type Output = C::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.connection).poll(cx);
        if polled.is_pending() {
            this.downstream.set_aside(cx);
        }
        polled
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
        assert!(size_of::<Tracked>() <= 232, "a response body has grown to {} bytes", size_of::<Tracked>());
    }
}
