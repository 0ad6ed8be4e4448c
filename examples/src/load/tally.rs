//! What the load has come to, as the app saw it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, Recent};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered.
    Done,
    /// Not answered, though nothing spoke against another attempt: what the mesh is there to prevent.
    Failed(String),
    /// Not answered, and not safe to try again: an endpoint may have done the work.
    NotRepeatable(String),
}

/// What went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An HTTP GET.
    Get,
    /// An HTTP POST.
    Post,
    /// A unary gRPC call.
    Call,
    /// A gRPC server stream.
    Stream,
}

impl Kind {
    /// May it be sent twice without harm?
    fn idempotent(self) -> bool {
        self == Kind::Get
    }

    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Get => "GET",
            Kind::Post => "POST",
            Kind::Call => "gRPC call",
            Kind::Stream => "gRPC stream",
        }
    }
}

/// Judges an answer by the rules of the retry table: `status` is HTTP's, or gRPC's as [`Answer::Grpc`]; `reason` is
/// what the proxy says in `x-bowline-error` when it had to answer itself.
pub(crate) fn judge(kind: Kind, answer: Answer, reason: Option<&str>) -> Outcome {
    let good = match answer {
        Answer::Http(status) => status < 500 && reason.is_none(),
        Answer::Grpc(code) => code == 0,
    };
    if good {
        return Outcome::Done;
    }
    let what = match (answer, reason) {
        (_, Some(reason)) => format!("{}: {reason}", kind.as_str()),
        (Answer::Http(status), None) => format!("{} answered {status} by the endpoint itself", kind.as_str()),
        (Answer::Grpc(code), None) => format!("{} ended with gRPC status {code}", kind.as_str()),
    };
    let possibly_processed = match (reason, answer) {
        (Some("reset" | "closed_without_response" | "invalid_response"), _) => true,
        (Some("attempt_timeout" | "response_timeout" | "request_timeout"), _) => true,
        (Some(_), _) => false,
        (None, Answer::Http(_)) => true,
        // UNAVAILABLE is what a gRPC server says when the call may be sent again.
        (None, Answer::Grpc(code)) => code != 14,
    };
    if possibly_processed && !kind.idempotent() {
        Outcome::NotRepeatable(what)
    } else {
        Outcome::Failed(what)
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status.
    Grpc(u16),
}

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// HTTP GETs that ended, well or not.
    pub(crate) gets: u64,
    /// HTTP POSTs.
    pub(crate) posts: u64,
    /// Unary gRPC calls.
    pub(crate) calls: u64,
    /// gRPC streams, those that were cut too.
    pub(crate) streams: u64,
    /// Messages received on streams.
    pub(crate) messages: u64,
    /// Streams that broke off after they had begun.
    pub(crate) cut: u64,
    /// Failures that should not have been, by what happened.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Failures that nobody may repeat, by what happened.
    pub(crate) not_repeatable: BTreeMap<String, u64>,
    /// HTTP latency, of the whole show.
    pub(crate) http: Histogram,
    /// HTTP latency, recently.
    pub(crate) http_recent: Recent,
    /// The slowest HTTP request.
    pub(crate) slowest: Duration,
    by_endpoint: HashMap<SocketAddr, Recent>,
}

impl Tally {
    /// Counts a request that has ended, or a stream whose head has come.
    pub(crate) fn count(
        &mut self,
        kind: Kind,
        outcome: Outcome,
        latency: Duration,
        endpoint: Option<SocketAddr>,
    ) {
        *match kind {
            Kind::Get => &mut self.gets,
            Kind::Post => &mut self.posts,
            Kind::Call => &mut self.calls,
            Kind::Stream => &mut self.streams,
        } += 1;
        if matches!(kind, Kind::Get | Kind::Post) {
            self.http.record(latency);
            self.http_recent.record(latency);
            self.slowest = self.slowest.max(latency);
        }
        if let Some(endpoint) = endpoint {
            self.by_endpoint.entry(endpoint).or_default().record(latency);
        }
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(what) => *self.failed.entry(what).or_default() += 1,
            Outcome::NotRepeatable(what) => *self.not_repeatable.entry(what).or_default() += 1,
        }
    }

    /// HTTP requests so far.
    pub(crate) fn http_requests(&self) -> u64 {
        self.gets + self.posts
    }

    /// Failures that should not have been.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The latency of one endpoint, recently.
    pub(crate) fn latency_of(&self, endpoint: SocketAddr) -> Option<Histogram> {
        self.by_endpoint.get(&endpoint).map(Recent::all)
    }

    /// Half a second has passed.
    pub(crate) fn turn(&mut self) {
        self.http_recent.turn();
        self.by_endpoint.values_mut().for_each(Recent::turn);
    }
}

/// The one tally that all parts of the load write to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Tally>>);

impl Shared {
    /// Holds it for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Kind, Outcome, judge};

    #[test]
    fn only_what_may_be_sent_again_counts_as_failed() {
        use Answer::{Grpc, Http};
        let failed = |kind, answer, reason| matches!(judge(kind, answer, reason), Outcome::Failed(_));
        let done = |kind, answer, reason| judge(kind, answer, reason) == Outcome::Done;
        assert!(done(Kind::Get, Http(200), None) && done(Kind::Post, Http(404), None));
        assert!(done(Kind::Call, Grpc(0), None));
        // A GET must never fail.
        assert!(failed(Kind::Get, Http(503), None));
        assert!(failed(Kind::Get, Http(502), Some("reset")));
        // A POST may where an endpoint can have done the work, and only there.
        assert!(!failed(Kind::Post, Http(503), None));
        assert!(!failed(Kind::Post, Http(502), Some("closed_without_response")));
        assert!(failed(Kind::Post, Http(503), Some("connect_failure")));
        assert!(failed(Kind::Post, Http(400), Some("bad_request")));
        assert!(failed(Kind::Stream, Grpc(14), None));
        assert!(failed(Kind::Call, Grpc(14), Some("connect_failure")));
        assert!(!failed(Kind::Call, Grpc(14), Some("reset")));
    }
}
