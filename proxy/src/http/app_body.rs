//! The body of a request as it comes from the app, over either protocol.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::{Fault, Reason};
use crate::h2_body::H2Body;
use crate::listen::watch::Activity;

/// A request body.
#[derive(Debug)]
pub enum AppBody {
    /// None.
    Empty,
    /// Over HTTP/1.1, from hyper; the connection learns when the endpoint waits for the app to send more.
    Http1(Incoming, Arc<Activity>),
    /// Over HTTP/2. The stream's task has a weak hand on it, to set aside what nobody reads.
    Http2(Rc<RefCell<H2Body>>),
}

/// The app's side of a request broke.
#[derive(Debug)]
pub enum AppError {
    /// Over HTTP/1.1.
    Http1(hyper::Error),
    /// Over HTTP/2.
    Http2(h2::Error),
    /// The endpoint has waited for the rest of it for the idle timeout.
    Late,
}

impl AppError {
    /// What it means for the request.
    pub fn fault(&self) -> Fault {
        match self {
            AppError::Late => Fault::new(Reason::RequestBodyTimeout, self),
            AppError::Http1(_) | AppError::Http2(_) => Fault::new(Reason::RequestBodyBroken, self),
        }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppError::Http1(error) => error.fmt(f),
            AppError::Http2(error) => error.fmt(f),
            AppError::Late => f.write_str("the app sent nothing more of its request for the idle timeout"),
        }
    }
}

impl std::error::Error for AppError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AppError::Http1(error) => error.source(),
            AppError::Http2(error) => error.source(),
            AppError::Late => None,
        }
    }
}

impl AppBody {
    /// Of a request over HTTP/1.1.
    pub fn http1(body: Incoming, activity: &Arc<Activity>) -> Self {
        match body.is_end_stream() {
            true => AppBody::Empty,
            false => AppBody::Http1(body, activity.clone()),
        }
    }

    /// Takes out of h2 what has come while the reader waits for something else: [`H2Body::set_aside`].
    pub fn set_aside(&self, cx: &mut Context<'_>) {
        if let AppBody::Http2(body) = self {
            body.borrow_mut().set_aside(cx);
        }
    }

    /// Its reader has gone; another may come.
    pub fn let_go(&self) {
        if let AppBody::Http2(body) = self {
            body.borrow_mut().let_go();
        }
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = AppError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AppError>>> {
        match self.get_mut() {
            AppBody::Empty => Poll::Ready(None),
            AppBody::Http1(body, activity) => {
                let frame = Pin::new(body).poll_frame(cx).map_err(AppError::Http1);
                // The worker looks once a second, and has this polled again when it has been too long.
                match activity.request_body_waits(frame.is_pending()) {
                    true => Poll::Ready(Some(Err(AppError::Late))),
                    false => frame,
                }
            }
            AppBody::Http2(body) => body.borrow_mut().poll_frame(cx).map_err(AppError::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AppBody::Empty => true,
            AppBody::Http1(body, _) => body.is_end_stream(),
            AppBody::Http2(body) => body.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AppBody::Empty => SizeHint::with_exact(0),
            AppBody::Http1(body, _) => body.size_hint(),
            AppBody::Http2(body) => body.borrow().size_hint(),
        }
    }
}
