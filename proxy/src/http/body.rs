//! The body of a response on its way to the app, with the attempt it belongs to: when the body ends, or the app goes
//! away, the attempt is over and its connection free.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::{outcome, respond};
use crate::cluster::Flight;
use crate::error::Reason;
use crate::pool::{h1, h2};
use crate::record::Recording;

/// What a body can fail with; hyper finds an `h2::Error` inside and passes its code on.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response body.
pub struct Body {
    kind: Kind,
    flight: Option<Flight>,
    /// Bounds the whole response where `perRequestTimeoutSeconds` is set.
    limit: Option<Pin<Box<Sleep>>>,
    /// The app speaks gRPC over HTTP/2: when the endpoint breaks off, trailers can say so.
    says_why: bool,
    /// What is known of the request, where somebody looks.
    recording: Option<Recording>,
}

/// The same for bodies of no service.
const IDLE: Option<Duration> = Some(bowline_api::model::Timeout::IDLE_HTTP);

enum Kind {
    Local(Option<Bytes>),
    Http1(h1::ResponseBody),
    Http2(h2::ResponseBody),
    /// Over HTTP/2, to an app over HTTP/1.1: see [`Body::share`].
    Bridged(Rc<RefCell<h2::ResponseBody>>),
}

/// A hand on a body that hyper owns.
pub type Bridged = Weak<RefCell<h2::ResponseBody>>;

/// The whole response took longer than `perRequestTimeoutSeconds`.
#[derive(Debug)]
pub struct TookTooLong;

impl std::fmt::Display for TookTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response was not complete within perRequestTimeoutSeconds")
    }
}

impl std::error::Error for TookTooLong {}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Body { kind: Kind::Local(None), flight: None, limit: None, says_why: false, recording: None }
    }

    /// A body of the proxy's own.
    pub fn full(bytes: Bytes) -> Self {
        let kind = Kind::Local(Some(bytes).filter(|bytes| !bytes.is_empty()));
        Body { kind, flight: None, limit: None, says_why: false, recording: None }
    }

    /// An endpoint's body over HTTP/1.1.
    pub fn http1(body: h1::ResponseBody, flight: Flight, limit: Option<Pin<Box<Sleep>>>) -> Self {
        Self::upstream(Kind::Http1(body), flight, limit)
    }

    /// An endpoint's body over HTTP/2.
    pub fn http2(body: h2::ResponseBody, flight: Flight, limit: Option<Pin<Box<Sleep>>>) -> Self {
        Self::upstream(Kind::Http2(body), flight, limit)
    }

    /// A body over HTTP/1.1 from outside of the mesh.
    pub fn outside(body: h1::ResponseBody) -> Self {
        Body { kind: Kind::Http1(body), flight: None, limit: None, says_why: false, recording: None }
    }

    /// The same over HTTP/2.
    pub fn outside_http2(body: h2::ResponseBody) -> Self {
        Body { kind: Kind::Http2(body), flight: None, limit: None, says_why: false, recording: None }
    }

    fn upstream(kind: Kind, flight: Flight, limit: Option<Pin<Box<Sleep>>>) -> Self {
        let mut body = Body { kind, flight: Some(flight), limit, says_why: false, recording: None };
        if http_body::Body::is_end_stream(&body) {
            body.complete();
        }
        body
    }

    /// For an app that speaks gRPC over HTTP/2. A body that breaks off ends in a gRPC status then, as a gRPC client without
    /// a proxy would make of a connection that is gone: UNAVAILABLE, where a reset of the stream means INTERNAL to it.
    pub fn for_grpc(mut self) -> Self {
        self.says_why = true;
        self
    }

    /// The end of a body that has broken off.
    fn break_off(&mut self, error: BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        let told = error.to_string();
        // An endpoint's own reset of the stream says what it means, and is passed on.
        let own = error.downcast_ref::<::h2::Error>().is_some_and(|e| e.is_reset() && e.is_remote());
        let reason = if error.is::<TookTooLong>() { Reason::RequestTimeout } else { Reason::Reset };
        self.broken(reason, &*error);
        self.limit = None;
        if !self.says_why || own {
            return Some(Err(error));
        }
        self.kind = Kind::Local(None);
        let text = format!("the response broke off: {told}");
        Some(Ok(Frame::trailers(respond::grpc_status(reason, &text))))
    }

    /// How long it may wait for an app that takes nothing of it; `None`: as long as it likes. To be asked before it is read:
    /// the service is forgotten when its attempt is over.
    pub fn idle(&self) -> Option<Duration> {
        self.flight.as_ref().map_or(IDLE, Flight::idle)
    }

    /// Makes room in the endpoint's connection while the app can't be sent anything. Over HTTP/1.1 there is no need: a
    /// connection carries one response, and nobody reads it on.
    pub fn set_aside(&mut self, cx: &mut Context<'_>) {
        match &mut self.kind {
            Kind::Http2(body) => body.set_aside(cx),
            Kind::Bridged(body) => body.borrow_mut().set_aside(cx),
            Kind::Local(_) | Kind::Http1(_) => {}
        }
    }

    /// A hand on an endpoint's body over HTTP/2, for whoever gives the body to hyper: it asks for nothing more while the
    /// app reads nothing, and somebody has to call [`h2::ResponseBody::set_aside`] meanwhile. `None`: there is no need.
    pub fn share(&mut self) -> Option<Bridged> {
        if !matches!(self.kind, Kind::Http2(_)) {
            return None;
        }
        let Kind::Http2(body) = std::mem::replace(&mut self.kind, Kind::Local(None)) else { return None };
        let body = Rc::new(RefCell::new(body));
        let hand = Rc::downgrade(&body);
        self.kind = Kind::Bridged(body);
        Some(hand)
    }

    /// The record of the request ends with this body.
    pub fn record(&mut self, recording: Recording) {
        if http_body::Body::is_end_stream(self) {
            recording.complete();
        } else {
            self.recording = Some(recording);
        }
    }

    /// How many bytes it has, if that is known; else 0.
    pub fn length(&self) -> u64 {
        http_body::Body::size_hint(self).exact().unwrap_or(0)
    }

    fn complete(&mut self) {
        if let Some(flight) = self.flight.take() {
            flight.complete();
        }
        if let Some(recording) = self.recording.take() {
            recording.complete();
        }
    }

    fn broken(&mut self, reason: Reason, error: &dyn std::error::Error) {
        let ejected = self.flight.take().is_some_and(|flight| flight.broken(error));
        if let Some(recording) = self.recording.take() {
            recording.broken(reason, ejected);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        // Looked at before each frame: a body that never pauses must not outlast its time either.
        if let Some(limit) = &mut this.limit
            && limit.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(this.break_off(TookTooLong.into()));
        }
        let frame = match &mut this.kind {
            Kind::Local(bytes) => {
                let bytes = bytes.take();
                if let (Some(recording), Some(bytes)) = (&mut this.recording, &bytes) {
                    recording.passed(bytes.len());
                }
                this.complete();
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            Kind::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Kind::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Kind::Bridged(body) => Pin::new(&mut *body.borrow_mut()).poll_frame(cx).map_err(BodyError::from),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(recording) = &mut this.recording {
                    match (frame.data_ref(), frame.trailers_ref()) {
                        (Some(data), _) => recording.passed(data.len()),
                        (None, Some(trailers)) => {
                            if let Some(status) = outcome::grpc_status(trailers) {
                                recording.grpc_status(status);
                            }
                        }
                        (None, None) => {}
                    }
                }
                if http_body::Body::is_end_stream(this) {
                    this.complete();
                }
            }
            Poll::Ready(None) => this.complete(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        match frame {
            Poll::Ready(Some(Err(error))) => Poll::Ready(this.break_off(error)),
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Local(bytes) => bytes.is_none(),
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
            Kind::Bridged(body) => body.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Local(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
            Kind::Bridged(body) => body.borrow().size_hint(),
        }
    }
}
