//! One stream: its request going out, its response coming in.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason as H2Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::Connection;
use crate::error::{Fault, Reason, Source};
use crate::h2_body::H2Body;
use crate::http::attempt::{Deadline, Head};
use crate::http::replay::RequestBody;
use crate::interim;
use crate::limiter::Kind;

/// The right to one stream on a connection, and the stream while it lives.
pub struct Lease {
    connection: Rc<Connection>,
    /// The sender's last stream still waits to be opened.
    sender_is_busy: bool,
}

impl Lease {
    /// `None` when the connection takes no more streams: the endpoint has sent a GOAWAY, or it is gone. That is no
    /// failure of a request, as long as it is found out here.
    pub(super) fn new(connection: Rc<Connection>) -> Option<Self> {
        let ready = connection.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(_)) = ready {
            connection.closed.set(true);
            return None;
        }
        let streams = connection.streams.get() + 1;
        connection.streams.set(streams);
        if streams.is_multiple_of(16) {
            connection.ask_room();
        }
        Some(Lease { connection, sender_is_busy: ready.is_pending() })
    }

    /// Sends the request and waits for the response head, until `deadline`. The rest of the request
    /// body goes on being sent while the response is read.
    ///
    /// # Errors
    /// The fault says whether the endpoint can have seen anything of the request.
    pub async fn exchange(
        &mut self,
        head: Head<'_>,
        body: RequestBody,
        deadline: &mut Deadline<'_>,
    ) -> Result<(Response<RecvStream>, Option<Upload>), Fault> {
        let end = body.is_end_stream();
        let sent = {
            let head = Request::from_parts(head.take(), ());
            let mut sender = self.connection.sender.borrow_mut();
            // A sender waits with its own last stream; a new one brings its own place in the queue.
            if self.sender_is_busy {
                sender.clone().send_request(head, end)
            } else {
                sender.send_request(head, end)
            }
        };
        let (mut response, stream) = sent.map_err(|error| {
            if !error.is_reset() {
                self.connection.closed.set(true);
            }
            Fault::unsent(Reason::Reset, error)
        })?;
        let mut upload = (!end).then(|| Upload::new(body, stream));
        let mut just_sent = true;
        let head = std::future::poll_fn(|cx| {
            // Nothing can have come yet when the request has only just been sent, and each question takes h2's lock.
            let interim = !std::mem::take(&mut just_sent) && interim::is_wanted();
            poll_head(&mut response, &mut upload, deadline, interim, cx)
        })
        .await;
        match head {
            Ok(Ok(response)) => Ok((response, upload)),
            Ok(Err(error)) => {
                if error.is_go_away() || error.is_io() {
                    self.connection.closed.set(true);
                }
                Err(classify(&error))
            }
            Err(fault) => Err(fault),
        }
    }

    /// The body of the response; the stream's place is free again at its end.
    pub fn into_body(self, stream: RecvStream, upload: Option<Upload>) -> ResponseBody {
        // A request that is still being sent must go on even when nobody reads the response at the moment: a peer may
        // wait for the end of one before it goes on with the other.
        let upload = upload.map(|upload| {
            let task = tokio::task::spawn_local(async move {
                if let Err(fault) = upload.await {
                    tracing::debug!(%fault, "the rest of a request was not sent");
                }
            });
            AbortOnDrop(task.abort_handle())
        });
        ResponseBody { body: H2Body::new(stream, None), _upload: upload, _lease: self }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Connection { streams, idle_for, changed, limiter, .. } = &*self.connection;
        streams.set(streams.get() - 1);
        idle_for.set(0);
        if limiter.waiting(Kind::Connection) > 0 {
            changed.notify_waiters();
            if streams.get() == 0 {
                // Nobody else uses it: it may have to make room for a connection to somewhere else.
                limiter.ring();
            }
        }
    }
}

/// The response head, or the error of its stream; as a fault, what ended the waiting from our side.
type Came = Result<Result<Response<RecvStream>, h2::Error>, Fault>;

fn poll_head(
    response: &mut ResponseFuture,
    upload: &mut Option<Upload>,
    deadline: &mut Deadline<'_>,
    interim: bool,
    cx: &mut Context<'_>,
) -> Poll<Came> {
    if let Some(sending) = upload
        && let Poll::Ready(result) = Pin::new(&mut *sending).poll(cx)
    {
        *upload = None;
        // Any other fault of the upload is the stream's, and the response tells more of it.
        if let Err(fault) = result
            && fault.reason.source() == Source::Downstream
        {
            return Poll::Ready(Err(fault));
        }
    }
    // h2 drops those that are not asked for before the response is.
    if interim {
        while let Poll::Ready(Some(Ok(hint))) = response.poll_informational(cx) {
            interim::note(hint);
        }
    }
    if let Poll::Ready(result) = Pin::new(response).poll(cx) {
        return Poll::Ready(Ok(result));
    }
    if let Poll::Ready(reason) = deadline.poll_expired(cx) {
        return Poll::Ready(Err(Fault::new(reason, "no response head in time")));
    }
    let stalled_since = upload.as_ref().and_then(|upload| upload.stalled_since);
    deadline.poll_untaken(stalled_since, cx).map(Err)
}

/// What an error of a stream means for its request.
fn classify(error: &h2::Error) -> Fault {
    if error.is_go_away() && error.is_remote() {
        // h2 fails only those streams this way that the GOAWAY names as not processed.
        return Fault::unsent(Reason::RefusedStream, format_args!("GOAWAY: {error}"));
    }
    if error.is_reset() && error.reason() == Some(H2Reason::REFUSED_STREAM) {
        return Fault::unsent(Reason::RefusedStream, error);
    }
    if error.is_io() {
        return Fault::new(Reason::ClosedWithoutResponse, error);
    }
    if error.is_reset() && error.is_library() {
        return Fault::new(Reason::InvalidResponse, error);
    }
    Fault::new(Reason::Reset, error)
}

/// The sending of a request body.
pub struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// Since when the endpoint has given no window for more.
    stalled_since: Option<Instant>,
}

impl Upload {
    fn new(body: RequestBody, stream: SendStream<Bytes>) -> Self {
        Upload { body, stream, stalled_since: None }
    }
}

impl Future for Upload {
    type Output = Result<(), Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Upload { body, stream, stalled_since } = self.get_mut();
        loop {
            // Ask for a chunk only when the endpoint can take some of it: so a slow endpoint slows the app down
            // instead of filling our memory.
            stream.reserve_capacity(1);
            if stream.capacity() == 0 {
                match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(classify(&error))),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => {
                        stalled_since.get_or_insert_with(Instant::now);
                        body.set_aside(cx);
                        return Poll::Pending;
                    }
                }
            } else if let Poll::Ready(reset) = stream.poll_reset(cx) {
                // The endpoint wants no more: NO_ERROR after a full response is not a failure.
                return Poll::Ready(match reset {
                    Ok(H2Reason::NO_ERROR) => Ok(()),
                    Ok(reason) => Err(Fault::new(Reason::Reset, format_args!("stream reset: {reason}"))),
                    Err(error) => Err(classify(&error)),
                });
            }
            *stalled_since = None;
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let end = body.is_end_stream();
                        if data.is_empty() && !end {
                            continue;
                        }
                        stream.send_data(data, end).map_err(|error| classify(&error))?;
                        if end {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            stream.reserve_capacity(0);
                            stream.send_trailers(trailers).map_err(|error| classify(&error))?;
                        }
                        return Poll::Ready(Ok(()));
                    }
                },
                None => {
                    stream.reserve_capacity(0);
                    stream.send_data(Bytes::new(), true).map_err(|error| classify(&error))?;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => {
                    // The app's side broke: say so to the endpoint rather than pass off half a body as a whole one.
                    stream.send_reset(H2Reason::CANCEL);
                    return Poll::Ready(Err(error.fault()));
                }
            }
        }
    }
}

/// A response body and its stream. Dropped early it resets the stream with CANCEL, so the endpoint stops working.
pub struct ResponseBody {
    body: H2Body,
    /// The rest of the request: nobody wants it once the response is over or called off. h2 resets the stream only when
    /// both of its halves are gone.
    _upload: Option<AbortOnDrop>,
    _lease: Lease,
}

impl ResponseBody {
    /// Makes room in the endpoint's connection while the app can't be sent anything: see [`H2Body::set_aside`].
    pub fn set_aside(&mut self, cx: &mut Context<'_>) {
        self.body.set_aside(cx);
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.get_mut().body.poll_frame(cx)) {
            // The endpoint wants no more of the request, and has said all it had to say.
            Some(Err(error)) if error.is_reset() && error.reason() == Some(H2Reason::NO_ERROR) => {
                Poll::Ready(None)
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
