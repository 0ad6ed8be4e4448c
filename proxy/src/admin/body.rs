//! The body of a page: whole, or one that goes on for as long as somebody reads it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::observe::tap::Tapped;

/// A page's body.
#[derive(Debug)]
pub(super) enum PageBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// Requests as they end, a line each; so many more of them.
    Tap(Tapped, u64),
}

impl From<Vec<u8>> for PageBody {
    fn from(bytes: Vec<u8>) -> Self {
        PageBody::Whole(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty()))
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            PageBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            PageBody::Tap(_, 0) => Poll::Ready(None),
            PageBody::Tap(tapped, left) => {
                let line = tapped.poll(cx);
                if matches!(line, Poll::Ready(Some(_))) {
                    *left -= 1;
                }
                line.map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, PageBody::Whole(None) | PageBody::Tap(_, 0))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            PageBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            PageBody::Tap(..) => SizeHint::default(),
        }
    }
}
