//! A request body that can be sent again: while it streams to the first endpoint its chunks are kept (they are
//! reference-counted, nothing is copied) until there are more of them than may be kept. Then they are let go and the
//! request can't be tried again any more.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::app_body::{AppBody, AppError};

/// What an attempt sends as its body.
#[derive(Debug)]
pub enum RequestBody {
    /// Nothing at all.
    Empty,
    /// The app's body, kept for another attempt as far as it may be. Boxed, because hyper keeps room for 32 requests per
    /// connection: see `RENEWED_AFTER` in `pool/h1.rs`.
    Replay(Box<Replay>),
}

/// The one body of a request, shared by its attempts.
#[derive(Debug)]
struct Shared {
    incoming: AppBody,
    /// What has come so far, while it is kept.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    max_bytes: usize,
    trailers: Option<HeaderMap>,
    /// An attempt has read some of it.
    started: bool,
    /// The app has sent all of it.
    complete: Option<Instant>,
    /// More has come than is kept, or the app's side broke: no other attempt can send it.
    spoilt: bool,
    /// Where somebody wants to know how much has come.
    counted: Option<Rc<Cell<u64>>>,
}

/// One attempt's reading of the body.
#[derive(Debug)]
pub struct Replay {
    shared: Rc<RefCell<Shared>>,
    /// How many of the kept chunks this attempt has sent.
    next: usize,
    trailers_sent: bool,
}

/// The request's side: makes the body of each attempt.
#[derive(Debug)]
pub struct Source(Option<Rc<RefCell<Shared>>>);

impl Source {
    /// Takes over the app's body; up to `max_bytes` of it are kept for another attempt.
    pub fn new(incoming: AppBody, max_bytes: usize) -> Self {
        if incoming.is_end_stream() {
            return Source(None);
        }
        // A body that announces itself as too large is never kept: not even its first chunks.
        let spoilt = incoming.size_hint().lower() > max_bytes as u64;
        Source(Some(Rc::new(RefCell::new(Shared {
            incoming,
            kept: Vec::new(),
            kept_bytes: 0,
            max_bytes,
            trailers: None,
            started: false,
            complete: None,
            spoilt,
            counted: None,
        }))))
    }

    /// From now on what comes is added up here, in bytes.
    pub fn count(&mut self, counted: Rc<Cell<u64>>) {
        if let Some(shared) = &self.0 {
            shared.borrow_mut().counted = Some(counted);
        }
    }

    /// Another hand on it.
    pub fn share(&self) -> Source {
        Source(self.0.clone())
    }

    /// The body of the next attempt. Only the newest one may be read.
    pub fn attempt(&self) -> RequestBody {
        match &self.0 {
            None => RequestBody::Empty,
            Some(shared) => {
                let replay = Replay { shared: shared.clone(), next: 0, trailers_sent: false };
                RequestBody::Replay(Box::new(replay))
            }
        }
    }

    /// The whole body, for a request of its own; `None` where it is not all there, or was not kept.
    pub fn copy(&self) -> Option<Source> {
        let Some(shared) = &self.0 else { return Some(Source(None)) };
        let shared = shared.borrow();
        let Shared { complete: Some(_), spoilt: false, .. } = &*shared else { return None };
        Some(Source(Some(Rc::new(RefCell::new(Shared {
            incoming: AppBody::Empty,
            kept: shared.kept.clone(),
            kept_bytes: shared.kept_bytes,
            max_bytes: shared.max_bytes,
            trailers: shared.trailers.clone(),
            started: true,
            complete: shared.complete,
            spoilt: false,
            counted: None,
        })))))
    }

    /// What became of the body so far, as the retry table asks.
    pub fn kept(&self) -> bowline_core::retry::Body {
        use bowline_core::retry::Body;
        match &self.0 {
            None => Body::Unread,
            Some(shared) => match &*shared.borrow() {
                // A body too large to keep can still go out once more while no attempt has read any of it.
                Shared { started: false, .. } => Body::Unread,
                Shared { spoilt: true, .. } => Body::TooLarge,
                _ => Body::Kept,
            },
        }
    }

    /// When the app had sent the last of it; `None` while it has not.
    pub fn completed_at(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|shared| shared.borrow().complete)
    }

    /// True when the request has no body at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl RequestBody {
    /// Makes room in the app's connection while this attempt can't send: see [`AppBody::set_aside`].
    pub fn set_aside(&self, cx: &mut Context<'_>) {
        if let RequestBody::Replay(replay) = self {
            replay.shared.borrow().incoming.set_aside(cx);
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.shared.borrow().incoming.let_go();
    }
}

impl Shared {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AppError>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.started = true;
                self.spoilt = true;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.complete = Some(Instant::now());
                return Poll::Ready(None);
            }
        };
        self.started = true;
        if let Some(data) = frame.data_ref() {
            if let Some(counted) = &self.counted {
                counted.set(counted.get() + data.len() as u64);
            }
            if !self.spoilt {
                self.kept_bytes += data.len();
                if self.kept_bytes > self.max_bytes {
                    self.spoilt = true;
                    self.kept = Vec::new();
                } else {
                    self.kept.push(data.clone());
                }
            }
            if self.incoming.is_end_stream() {
                self.complete = Some(Instant::now());
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            self.complete = Some(Instant::now());
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = AppError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AppError>>> {
        let RequestBody::Replay(replay) = self.get_mut() else { return Poll::Ready(None) };
        let mut shared = replay.shared.borrow_mut();
        if let Some(chunk) = shared.kept.get(replay.next) {
            replay.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if shared.complete.is_some() {
            if !replay.trailers_sent
                && let Some(trailers) = shared.trailers.clone()
            {
                replay.trailers_sent = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            return Poll::Ready(None);
        }
        let frame = ready!(shared.poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            if frame.is_trailers() {
                replay.trailers_sent = true;
            } else {
                replay.next = shared.kept.len();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Replay(replay) => {
                let shared = replay.shared.borrow();
                shared.complete.is_some()
                    && replay.next >= shared.kept.len()
                    && (replay.trailers_sent || shared.trailers.is_none())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Replay(replay) => {
                let shared = replay.shared.borrow();
                let unsent: usize = shared.kept.iter().skip(replay.next).map(Bytes::len).sum();
                match shared.incoming.size_hint().exact() {
                    Some(rest) => SizeHint::with_exact(rest + unsent as u64),
                    None => SizeHint::default(),
                }
            }
        }
    }
}
