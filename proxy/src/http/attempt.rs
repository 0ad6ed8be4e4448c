//! One try of a request at one endpoint.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::retry::AttemptTimeout;
use h2::RecvStream;
use http::{Response, request, response};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::replay::Source;
use crate::cluster::Cluster;
use crate::error::{Fault, Reason};
use crate::pool::{Patience, Upstream, h1, h2 as pool_h2};

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

/// The head of the request that an attempt sends. It is taken when there is a connection to send it on, and until then it
/// is where it was: a future has room for all that it was given.
pub enum Head<'a> {
    /// A copy is sent: another attempt could need it.
    Copy(&'a request::Parts),
    /// Nobody needs it afterwards.
    Last(&'a mut Option<request::Parts>),
}

impl Head<'_> {
    /// The head, to be sent now.
    pub fn take(self) -> request::Parts {
        match self {
            Head::Copy(head) => head.clone(),
            Head::Last(head) => head.take().expect("an attempt has a head"),
        }
    }
}

/// When an attempt is given up, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the request came.
    pub arrived: Instant,
    /// When this attempt began.
    pub begun: Instant,
    /// From the end of the request to the response head, over all attempts.
    pub response: Option<Duration>,
    /// The same for this attempt, where another one could follow.
    pub attempt: Option<Duration>,
    /// A moment that nothing may outlast.
    pub until: Option<Instant>,
    /// How long the endpoint may take nothing of the request while there is some to send.
    pub idle: Option<Duration>,
    /// To get a connection.
    pub patience: Patience,
}

/// Where the limit of an attempt follows the service's latency: what it is by now.
pub struct Following(pub Rc<Cluster>);

impl Following {
    fn limit(&self) -> Option<Duration> {
        AttemptTimeout::Auto.of(true, false, self.0.recent_p99(self.0.now()))
    }
}

/// Waits for the response head no longer than it may.
pub struct Deadline<'a> {
    /// The limit may have moved while the attempt was under way: when a whole service becomes slow, giving up what began
    /// just before that would only add to it.
    following: Option<Following>,
    sleep: Pin<&'a mut Sleep>,
    /// Made when the endpoint first takes nothing, and then kept: most never do.
    patience: Option<Pin<Box<Sleep>>>,
    limits: &'a mut Limits,
    body: &'a Source,
}

impl Deadline<'_> {
    /// Ready with the reason when time is up. Time for the response runs from the end of the request body: an app that
    /// uploads for a minute is not late.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let complete = match self.body.is_empty() {
                true => self.limits.arrived,
                false => self.body.completed_at().unwrap_or(now),
            };
            match self.limits.exceeded(complete, now) {
                Some(Reason::AttemptTimeout) if self.has_moved() => {}
                Some(reason) => return Poll::Ready(reason),
                None => {}
            }
            self.sleep.as_mut().reset(self.limits.next(complete));
        }
        Poll::Pending
    }

    /// Whether there is more time for the attempt than when it began.
    #[cold]
    fn has_moved(&mut self) -> bool {
        let Some(following) = &self.following else { return false };
        let (now, then) = (following.limit(), self.limits.attempt);
        self.limits.attempt = now;
        now > then || now.is_none()
    }

    /// Ready with a fault when the endpoint has taken nothing of the request for the idle timeout. `since`: when it was
    /// last found to have no room; `None`: it has some.
    pub fn poll_untaken(&mut self, since: Option<Instant>, cx: &mut Context<'_>) -> Poll<Fault> {
        let (Some(since), Some(idle)) = (since, self.limits.idle) else { return Poll::Pending };
        let due = since + idle;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        // It may have been set for a pause that is over: `due` only ever moves on.
        while patience.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                let why = format_args!("the endpoint took nothing of the request for {idle:?}");
                return Poll::Ready(Fault::new(Reason::UploadTimeout, why));
            }
            patience.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl Limits {
    /// When the response is due, and when this attempt's is, for a request that was complete at this moment.
    fn due(&self, complete: Instant) -> (Option<Instant>, Option<Instant>) {
        let response = self.response.map(|wait| complete.max(self.arrived) + wait);
        let attempt = self.attempt.map(|wait| complete.max(self.begun) + wait);
        (response, attempt)
    }

    /// The moment at which the first of the limits is reached.
    fn next(&self, complete: Instant) -> Instant {
        let (response, attempt) = self.due(complete);
        // Without any limit: as far off as makes no difference.
        let never = || complete + Duration::from_secs(31_536_000);
        [response, attempt, self.until].into_iter().flatten().min().unwrap_or_else(never)
    }

    fn exceeded(&self, complete: Instant, now: Instant) -> Option<Reason> {
        let (response, attempt) = self.due(complete);
        let past = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        // Where several are reached at once, no further attempt could end in time.
        match () {
            () if past(self.until) => Some(Reason::RequestTimeout),
            () if past(response) => Some(Reason::ResponseTimeout),
            () if past(attempt) => Some(Reason::AttemptTimeout),
            () => None,
        }
    }
}

/// Sends the request to the endpoint and waits for the response head.
///
/// # Errors
/// The fault says what happened and whether the endpoint can have seen anything of it.
pub async fn run(
    upstream: &Rc<Upstream>,
    protocol: Protocol,
    head: Head<'_>,
    body: &Source,
    limits: &mut Limits,
    following: Option<Following>,
    fresh_connection: bool,
) -> Result<Answer, Fault> {
    let sleep = pin!(tokio::time::sleep_until(limits.next(limits.begun)));
    let mut deadline = Deadline { following, sleep, patience: None, limits, body };
    match protocol {
        Protocol::Http1 => {
            let mut lease = upstream.checkout_h1(deadline.limits.patience, !fresh_connection).await?;
            let response = lease.exchange(head, body.attempt(), &mut deadline).await?;
            Ok(Answer::Http1(response, lease))
        }
        Protocol::Http2 => {
            let mut lease = upstream.checkout_h2(deadline.limits.patience).await?;
            let (response, upload) = lease.exchange(head, body.attempt(), &mut deadline).await?;
            Ok(Answer::Http2(response, upload, lease))
        }
    }
}
