//! The body that comes in on one HTTP/2 stream, of a request or of a response, and what becomes of it while nobody reads
//! it.
//!
//! What waits in a stream is bounded by the stream's window, which is given back only when the reader has come for more.
//! But h2 keeps each frame by itself, counts 256 bytes for it however small it is, and ends the whole connection when all
//! of that is more than a budget allows: forty readers that stop in a stream of nine-byte messages would take all other
//! streams with them. So whoever waits for something else than the body calls [`H2Body::set_aside`] meanwhile. It takes
//! the frames out of h2 as they come and joins the small ones. Nothing of this is done, or paid for, while the reader
//! keeps up.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http_body::{Frame, SizeHint};

/// What h2's frames of waiting bodies may cost in memory beside their bytes, over all streams of a connection. They wait
/// no longer than from the connection's turn to that of the stream's task; one turn reads 1 MiB of small frames at most,
/// which are counted as 15.
pub const FRAME_BUDGET: usize = 32 * 1024 * 1024;
/// Pieces from this size on are set aside as they are; smaller ones are copied together.
const LARGE: usize = 1024;

/// A body coming in on a stream.
pub struct H2Body {
    stream: RecvStream,
    /// Bytes handed on whose window has not been given back: that happens when the reader comes for more.
    unreleased: usize,
    /// Bytes to come, as the head has declared them; h2 sees to it that it is true.
    declared: Option<u64>,
    /// The reader has looked, found nothing, and will be woken: no one may look in its stead.
    awaited: bool,
    /// The last DATA frame has been taken out of h2.
    data_done: Cell<bool>,
    /// All of it has been handed on: asked several times, and each time would take h2's lock.
    ended: Cell<bool>,
    /// The first piece that came while the reader was busy elsewhere: mostly it is the only one.
    first: Option<Bytes>,
    /// What came after it, while the reader was busy elsewhere.
    aside: Option<Box<Aside>>,
}

/// Data taken out of h2 before the reader wants it.
#[derive(Default)]
struct Aside {
    chunks: VecDeque<Bytes>,
    /// Small pieces, behind all chunks.
    tail: BytesMut,
}

impl Aside {
    fn push(&mut self, data: Bytes) {
        if data.len() < LARGE {
            self.tail.extend_from_slice(&data);
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.chunks.push_back(data);
    }

    fn pop(&mut self) -> Option<Bytes> {
        match self.chunks.pop_front() {
            Some(chunk) => Some(chunk),
            None if self.tail.is_empty() => None,
            None => Some(self.tail.split().freeze()),
        }
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }
}

impl H2Body {
    /// The body of a stream; `declared`: its length, where the head has told it.
    pub fn new(stream: RecvStream, declared: Option<u64>) -> Self {
        H2Body {
            stream,
            unreleased: 0,
            declared,
            awaited: false,
            data_done: Cell::new(false),
            ended: Cell::new(false),
            first: None,
            aside: None,
        }
    }

    /// The next piece, for the one who reads the body. It gives back the window of the piece before.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.unreleased > 0 {
            let _ = self.stream.flow_control().release_capacity(self.unreleased);
            self.unreleased = 0;
        }
        if let Some(data) = self.first.take() {
            return Poll::Ready(Some(Ok(self.hand_on(data))));
        }
        if let Some(aside) = &mut self.aside {
            if let Some(data) = aside.pop() {
                return Poll::Ready(Some(Ok(self.hand_on(data))));
            }
            self.aside = None;
        }
        let frame = self.poll_stream(cx);
        self.awaited = frame.is_pending();
        frame
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_done.get() {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let data = self.join_small(data, cx);
                    return Poll::Ready(Some(Ok(self.hand_on(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_done.set(true),
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Small pieces that are there already go on in one: on the way out too, h2 keeps each by itself until the socket has
    /// taken it, and 64 KiB of them byte by byte would be 13 MB.
    fn join_small(&mut self, data: Bytes, cx: &mut Context<'_>) -> Bytes {
        if data.len() >= LARGE || self.is_end_stream() {
            return data;
        }
        self.set_aside(cx);
        let Some(first) = self.first.take_if(|first| first.len() < LARGE) else { return data };
        let mut all = BytesMut::from(&data[..]);
        all.extend_from_slice(&first);
        if let Some(aside) = &mut self.aside
            && aside.chunks.is_empty()
        {
            all.extend_from_slice(&aside.tail.split());
        }
        all.freeze()
    }

    fn hand_on(&mut self, data: Bytes) -> Frame<Bytes> {
        self.unreleased = data.len();
        if let Some(rest) = &mut self.declared {
            *rest = rest.saturating_sub(data.len() as u64);
        }
        Frame::data(data)
    }

    /// Takes out of h2 what has come, and has the task woken when more does. To be called whenever the task that reads
    /// the body waits for something else. Does nothing when the reader waits for this body, or all of it has come.
    ///
    /// Trailers and errors stay where they are: they come last, and h2 counts nothing for them.
    pub fn set_aside(&mut self, cx: &mut Context<'_>) {
        if self.awaited || self.data_done.get() {
            return;
        }
        loop {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) if self.first.is_none() && self.aside.is_none() => {
                    self.first = Some(data);
                }
                Poll::Ready(Some(Ok(data))) => self.aside.get_or_insert_default().push(data),
                Poll::Ready(None) => return self.data_done.set(true),
                // It is told again, behind what is set aside.
                Poll::Ready(Some(Err(_))) | Poll::Pending => return,
            }
        }
    }

    /// Its reader has gone; another may come.
    pub fn let_go(&mut self) {
        self.awaited = false;
    }

    /// Whether all of it has been handed on.
    pub fn is_end_stream(&self) -> bool {
        if self.ended.get() {
            return true;
        }
        if self.first.is_some() || self.aside.as_ref().is_some_and(|aside| !aside.is_empty()) {
            return false;
        }
        let end = self.stream.is_end_stream();
        if end {
            self.data_done.set(true);
            self.ended.set(true);
        }
        end
    }

    /// How much is to come.
    pub fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for H2Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2Body").field("declared", &self.declared).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Aside, LARGE};

    #[test]
    fn what_is_set_aside_keeps_its_order_and_is_joined() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut aside = Aside::default();
        let (mut all, mut back, mut pieces) = (Vec::new(), Vec::new(), 0);
        for _ in 0..1000 {
            let n = if rng.u8(..) < 8 { LARGE + rng.usize(..LARGE) } else { rng.usize(..20) };
            let piece = vec![rng.u8(..); n];
            all.extend_from_slice(&piece);
            aside.push(Bytes::from(piece));
            if rng.u8(..) < 4 {
                back.extend(aside.pop().unwrap_or_default());
                pieces += 1;
            }
        }
        while let Some(piece) = aside.pop() {
            back.extend(piece);
            pieces += 1;
        }
        assert!(aside.is_empty() && back == all);
        assert!(pieces < 150, "{pieces} pieces");
    }
}
