//! One stream of the app: a request, carried by [`forward`], and its response on the way out.

use std::cell::{Cell, RefCell};
use std::convert::identity;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use tokio::time::Sleep;

use super::http2::Shared;
use super::{InFlight, date};
use crate::h2_body::H2Body;
use crate::http::app_body::AppBody;
use crate::http::body::{Body, BodyError};
use crate::http::forward::forward;
use crate::http::headers::{says_unprocessed, strip_response_fields};
use crate::interim;
use crate::listen::watch::Activity;

/// A request called off within so many of the worker's seconds was never meant to be answered.
const AT_ONCE: u32 = 1;

/// Carries a request and its response. Dropping what belongs to them calls the attempt off; h2 resets the stream where
/// it is not over: with NO_ERROR where only the request was not read to its end.
pub(super) async fn carry(shared: Rc<Shared>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let downstream = &shared.downstream;
    let _in_flight = InFlight::new(downstream);
    let _panic = Panic { shared: &shared };
    let began = downstream.activity.seconds();
    let head_only = request.method() == Method::HEAD;
    let (request, unread) = with_body(request);
    let room = Cell::new(interim::MOST);
    let respond = RefCell::new(respond);
    let answered = Cell::new(false);
    // One future, because a response is large and would be moved from one to the next.
    let mut exchange = pin!(async {
        let response = forward(downstream, request, identity).await;
        answered.set(true);
        let sent = {
            let respond = &mut *respond.borrow_mut();
            send_hints(respond, &room);
            send_head(respond, response, head_only)
        };
        let Some((stream, body)) = sent else { return };
        Sending {
            activity: &downstream.activity,
            idle: body.idle(),
            stream,
            body,
            chunk: Bytes::new(),
            last: false,
            stalled_since: None,
            patience: None,
        }
        .await;
    });
    poll_fn(|cx| {
        if !answered.get() {
            interim::collect();
        }
        if exchange.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !answered.get() {
            let respond = &mut *respond.borrow_mut();
            send_hints(respond, &room);
            if respond.poll_reset(cx).is_ready() {
                if downstream.activity.seconds().saturating_sub(began) <= AT_ONCE {
                    shared.was_called_off();
                }
                return Poll::Ready(());
            }
        }
        set_aside(&unread, cx);
        Poll::Pending
    })
    .await;
}

/// The request with its body as [`forward`] takes it, and a hand on that.
fn with_body(request: Request<RecvStream>) -> (Request<AppBody>, Weak<RefCell<H2Body>>) {
    let (head, stream) = request.into_parts();
    if stream.is_end_stream() {
        return (Request::from_parts(head, AppBody::Empty), Weak::new());
    }
    let declared =
        head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Rc::new(RefCell::new(H2Body::new(stream, declared)));
    let unread = Rc::downgrade(&body);
    (Request::from_parts(head, AppBody::Http2(body)), unread)
}

/// While the request waits for an endpoint, or an endpoint over HTTP/1.1 takes none of it, its frames must not stay in h2.
fn set_aside(unread: &Weak<RefCell<H2Body>>, cx: &mut Context<'_>) {
    if let Some(body) = unread.upgrade() {
        body.borrow_mut().set_aside(cx);
    }
}

/// Passes interim responses on, as long as there is `room`. One that can't be sent is no loss: the response itself tells
/// what is wrong.
fn send_hints(respond: &mut SendResponse<Bytes>, room: &Cell<usize>) {
    for mut hint in interim::collected().into_iter().take(room.get()) {
        room.set(room.get() - 1);
        strip_response_fields(hint.headers_mut());
        if let Err(error) = respond.send_informational(hint) {
            tracing::debug!(%error, "an interim response was not passed on");
        }
    }
}

/// Sends the head of a response; what is to follow, if anything is.
fn send_head(
    respond: &mut SendResponse<Bytes>,
    response: Response<Body>,
    head_only: bool,
) -> Option<(SendStream<Bytes>, Body)> {
    let (mut head, body) = response.into_parts();
    let headers = &mut head.headers;
    // Of one connection only; responses of endpoints have been stripped of it, those of the proxy's own may say "close".
    if headers.remove(header::CONNECTION).is_some_and(|value| says_unprocessed(&value)) {
        respond.send_reset(Reason::REFUSED_STREAM);
        return None;
    }
    headers.entry(header::DATE).or_insert_with(date::now);
    let end = head_only || body.is_end_stream();
    if !end && let Some(length @ 1..) = body.size_hint().exact() {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    match respond.send_response(Response::from_parts(head, ()), end) {
        Ok(stream) => (!end).then_some((stream, body)),
        Err(error) => {
            tracing::debug!(%error, "a response head was not sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            None
        }
    }
}

/// The body of a response on its way to the client.
struct Sending<'a> {
    activity: &'a Activity,
    /// The idle timeout of the service, which the body doesn't know any more when all of it has come.
    idle: Option<Duration>,
    stream: SendStream<Bytes>,
    body: Body,
    /// What the client has not given window for yet. No more than this is taken from the endpoint before it has.
    chunk: Bytes,
    /// Nothing follows `chunk`.
    last: bool,
    /// Since when the client has given no window, in the worker's seconds.
    stalled_since: Option<u32>,
    /// Made when a client first stalls, and then kept: most streams never do.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Future for Sending<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_send(cx).map(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "a response was not sent to its end");
            }
        })
    }
}

impl Sending<'_> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if !self.chunk.is_empty() {
                // No more than there is window for: what h2 held of the rest would be bounded by no timeout.
                let room = self.stream.capacity();
                if room > 0 {
                    let piece = self.chunk.split_to(room.min(self.chunk.len()));
                    let end = self.last && self.chunk.is_empty();
                    self.stalled_since = None;
                    self.stream.send_data(piece, end)?;
                    if end {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    // The client has reset the stream.
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => {}
                }
                self.body.set_aside(cx);
                if self.is_out_of_patience(cx) {
                    tracing::debug!("a client took nothing of a response for the idle timeout");
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Ok(()));
                }
                return Poll::Pending;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.last = self.body.is_end_stream();
                        if !data.is_empty() {
                            self.stream.reserve_capacity(data.len());
                            self.chunk = data;
                        } else if self.last {
                            return Poll::Ready(self.stream.send_data(data, true));
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(self.stream.send_trailers(trailers));
                        }
                    }
                },
                Poll::Ready(None) => return Poll::Ready(self.stream.send_data(Bytes::new(), true)),
                Poll::Ready(Some(Err(error))) => {
                    // Half a body must not look like a whole one.
                    self.stream.send_reset(reset_for(&error));
                    return Poll::Ready(Ok(()));
                }
                // The client's reset wakes this task too.
                Poll::Pending => return self.stream.poll_reset(cx).map(|_| Ok(())),
            }
        }
    }

    /// Whether the client has given no window for the idle timeout of the service.
    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(idle) = self.idle else { return false };
        let now = self.activity.seconds();
        let since = *self.stalled_since.get_or_insert(now);
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        while patience.as_mut().poll(cx).is_ready() {
            // More than, because the seconds are whole ones.
            let gone = Duration::from_secs(now.saturating_sub(since).into());
            if gone > idle {
                return true;
            }
            let rest = (idle - gone).max(Duration::from_secs(1));
            patience.as_mut().reset(tokio::time::Instant::now() + rest);
        }
        false
    }
}

/// An endpoint's own reset is passed on as it came.
fn reset_for(error: &BodyError) -> Reason {
    match error.downcast_ref::<h2::Error>() {
        Some(error) if error.is_reset() => error.reason().unwrap_or(Reason::INTERNAL_ERROR),
        _ => Reason::INTERNAL_ERROR,
    }
}

/// Counts a panic: it ends this stream alone.
struct Panic<'a> {
    shared: &'a Shared,
}

impl Drop for Panic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.downstream.worker().counters().panics.inc();
        }
    }
}
