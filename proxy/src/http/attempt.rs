//! One try of a request at one endpoint.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::RecvStream;
use http::{Request, Response, request, response};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::replay::Source;
use crate::error::{Fault, Reason};
use crate::pool::{Upstream, h1, h2 as pool_h2};

/// The protocol spoken to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A response whose head has come, with the connection its body is coming on.
pub enum Answer {
    /// Over HTTP/1.1.
    Http1(Response<Incoming>, h1::Lease),
    /// Over HTTP/2, perhaps with the rest of the request still to be sent.
    Http2(Response<RecvStream>, Option<pool_h2::Upload>, pool_h2::Lease),
}

impl Answer {
    /// Its status.
    pub fn status(&self) -> http::StatusCode {
        match self {
            Answer::Http1(response, _) => response.status(),
            Answer::Http2(response, ..) => response.status(),
        }
    }

    /// Its headers.
    pub fn headers(&self) -> &http::HeaderMap {
        match self {
            Answer::Http1(response, _) => response.headers(),
            Answer::Http2(response, ..) => response.headers(),
        }
    }

    /// Throws the response away, keeping the connection where that costs nothing.
    pub fn discard(self) {
        if let Answer::Http1(response, lease) = self {
            lease.into_body(response.into_body()).discard();
        }
    }

    /// Head and body apart.
    pub fn into_parts(self) -> (response::Parts, AnswerBody) {
        match self {
            Answer::Http1(response, lease) => {
                let (head, incoming) = response.into_parts();
                (head, AnswerBody::Http1(lease.into_body(incoming)))
            }
            Answer::Http2(response, upload, lease) => {
                let (head, stream) = response.into_parts();
                (head, AnswerBody::Http2(lease.into_body(stream, upload)))
            }
        }
    }
}

/// The body of an answer.
pub enum AnswerBody {
    /// Over HTTP/1.1.
    Http1(h1::ResponseBody),
    /// Over HTTP/2.
    Http2(pool_h2::ResponseBody),
}

/// When an attempt is given up, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the end of the request to the response head, whatever else holds.
    pub response: Option<Duration>,
    /// The same for this attempt only, where another one would follow.
    pub attempt: Option<Duration>,
    /// A moment that nothing may outlast.
    pub until: Option<Instant>,
    /// To open a connection.
    pub connect: Duration,
}

/// Waits for the response head no longer than it may.
pub struct Deadline<'a> {
    sleep: Pin<&'a mut Sleep>,
    limits: Limits,
    begun: Instant,
    body: &'a Source,
}

impl Deadline<'_> {
    /// Ready with the reason when time is up. Time for the response runs from the end of the request body: an app that
    /// uploads for a minute is not late.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let sent = if self.body.is_empty() { Some(self.begun) } else { self.body.completed_at() };
            let sent = sent.unwrap_or(now).max(self.begun);
            if let Some(reason) = self.limits.exceeded(sent, now) {
                return Poll::Ready(reason);
            }
            self.sleep.as_mut().reset(self.limits.next(sent));
        }
        Poll::Pending
    }
}

impl Limits {
    /// The moment at which one of the limits is reached for a request that was complete at `sent`.
    fn next(&self, sent: Instant) -> Instant {
        let response = [self.response, self.attempt].into_iter().flatten().min().map(|wait| sent + wait);
        // Without any limit: as far off as makes no difference.
        [response, self.until].into_iter().flatten().min().unwrap_or_else(|| sent + Duration::from_secs(31_536_000))
    }

    fn exceeded(&self, sent: Instant, now: Instant) -> Option<Reason> {
        if self.until.is_some_and(|until| until <= now) {
            return Some(Reason::RequestTimeout);
        }
        // Where both are reached at once, no further attempt could end in time either.
        if self.response.is_some_and(|wait| sent + wait <= now) {
            return Some(Reason::ResponseTimeout);
        }
        self.attempt.is_some_and(|wait| sent + wait <= now).then_some(Reason::AttemptTimeout)
    }
}

/// Sends the request to the endpoint and waits for the response head.
///
/// # Errors
/// The fault says what happened and whether the endpoint can have seen anything of it.
pub async fn run(
    upstream: &Rc<Upstream>,
    protocol: Protocol,
    head: request::Parts,
    body: &Source,
    limits: Limits,
    begun: Instant,
    fresh_connection: bool,
) -> Result<Answer, Fault> {
    let sleep = pin!(tokio::time::sleep_until(limits.next(begun)));
    let deadline = Deadline { sleep, limits, begun, body };
    match protocol {
        Protocol::Http1 => {
            let mut lease = upstream.checkout_h1(limits.connect, !fresh_connection).await?;
            let response = lease.exchange(Request::from_parts(head, body.attempt()), deadline).await?;
            Ok(Answer::Http1(response, lease))
        }
        Protocol::Http2 => {
            let mut lease = upstream.checkout_h2(limits.connect).await?;
            let (response, upload) =
                lease.exchange(Request::from_parts(head, ()), body.attempt(), deadline).await?;
            Ok(Answer::Http2(response, upload, lease))
        }
    }
}
