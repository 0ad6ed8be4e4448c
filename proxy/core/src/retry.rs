//! Whether a failed attempt is followed by another one, and when.
//!
//! A pure decision: [`RetryPolicy::decide`] takes what is known and says what to do.

use std::time::Duration;

use http::Method;

/// Kinds of failure that `retry.on` names, and the response statuses beside them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    kinds: u8,
    /// One bit per status, from 100 to 611.
    statuses: [u64; 8],
}

impl RetryOn {
    /// `connectFailure`: no connection, or nothing of the request was written to it.
    pub const CONNECT_FAILURE: u8 = 1;
    /// `refusedStream`: HTTP/2 REFUSED_STREAM, or a GOAWAY that names the stream as not processed.
    pub const REFUSED_STREAM: u8 = 1 << 1;
    /// `reset`: the connection or stream broke before the response, or closed without one.
    pub const RESET: u8 = 1 << 2;
    /// `timeout`: the attempt timeout.
    pub const TIMEOUT: u8 = 1 << 3;
    /// `unavailable`: gRPC UNAVAILABLE.
    pub const UNAVAILABLE: u8 = 1 << 4;

    /// Nothing.
    pub const NONE: Self = Self { kinds: 0, statuses: [0; 8] };

    /// Adds one kind, or several, such as [`RetryOn::RESET`].
    #[must_use]
    pub const fn with(mut self, kinds: u8) -> Self {
        self.kinds |= kinds;
        self
    }

    /// Adds a response status, 100 to 599. Others are ignored.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        if let Some((word, bit)) = Self::place(status) {
            self.statuses[word] |= bit;
        }
        self
    }

    /// Whether any of these kinds is in.
    #[inline]
    #[must_use]
    pub const fn has(&self, kinds: u8) -> bool {
        self.kinds & kinds != 0
    }

    /// Whether this status is in: the question that each response asks.
    #[inline]
    #[must_use]
    pub const fn has_status(&self, status: u16) -> bool {
        match Self::place(status) {
            Some((word, bit)) => self.statuses[word] & bit != 0,
            None => false,
        }
    }

    const fn place(status: u16) -> Option<(usize, u64)> {
        match status {
            100..=599 => Some(((status - 100) as usize / 64, 1 << ((status - 100) % 64))),
            _ => None,
        }
    }
}

impl Default for RetryOn {
    /// All five kinds, 502, 503 and 504.
    fn default() -> Self {
        Self::NONE
            .with(Self::CONNECT_FAILURE | Self::REFUSED_STREAM | Self::RESET | Self::TIMEOUT)
            .with(Self::UNAVAILABLE)
            .with_status(502)
            .with_status(503)
            .with_status(504)
    }
}

/// The retry rules of a service or route.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first one. Default 2 (Envoy, Istio). 0 turns retries off.
    pub retries: u32,
    /// What is tried again.
    pub on: RetryOn,
    /// Whether `on` was written for this service or route, rather than left to its default: only then it holds for
    /// requests that aren't safe to repeat.
    pub on_is_explicit: bool,
    /// Upper end of the wait before the first retry; it doubles with each. Default 25 ms (Envoy).
    pub backoff_base: Duration,
    /// Upper end of any wait. Default 250 ms (Envoy: ten times the base).
    pub backoff_max: Duration,
    /// The most of a request body that's kept for a retry. Default 64 KiB (Linkerd). The decision doesn't look at it:
    /// who keeps the body does, and says so by [`Body::TooLarge`].
    pub max_body_bytes: usize,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 2,
            on: RetryOn::default(),
            on_is_explicit: false,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            max_body_bytes: 65_536,
        }
    }
}

/// How an attempt failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// A GOAWAY whose last stream is before ours: not processed.
    GoAwayUnprocessed,
    /// The connection was gone before a byte of the request was written to it.
    NothingWritten,
    /// The stream or connection was reset.
    Reset,
    /// The connection was closed without a response.
    ClosedWithoutResponse,
    /// No response headers within the attempt timeout.
    AttemptTimeout,
    /// A response with this status.
    Status(u16),
    /// gRPC status 14.
    GrpcUnavailable {
        /// Whether any of the response, headers included, was passed on to the caller.
        response_started: bool,
    },
}

impl Failure {
    /// Whether it's certain that the endpoint did nothing with the request, so that any request may be sent again.
    #[must_use]
    pub const fn is_unprocessed(self) -> bool {
        matches!(self, Self::Connect | Self::RefusedStream | Self::GoAwayUnprocessed | Self::NothingWritten)
    }

    const fn is_in(self, on: &RetryOn) -> bool {
        match self {
            Self::Connect => on.has(RetryOn::CONNECT_FAILURE),
            Self::RefusedStream | Self::GoAwayUnprocessed => on.has(RetryOn::REFUSED_STREAM),
            // A dead connection found before writing is a connect failure to some and a reset to others.
            Self::NothingWritten => on.has(RetryOn::CONNECT_FAILURE | RetryOn::RESET),
            Self::Reset | Self::ClosedWithoutResponse => on.has(RetryOn::RESET),
            Self::AttemptTimeout => on.has(RetryOn::TIMEOUT),
            Self::Status(status) => on.has_status(status),
            Self::GrpcUnavailable { .. } => on.has(RetryOn::UNAVAILABLE),
        }
    }
}

/// What became of the request body in the failed attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// There's none, or nothing of it was read yet: it can be sent, however large it is.
    Unread,
    /// What was read of it is kept, and can be sent again.
    Kept,
    /// More was read than is kept (`maxBodyBytes`): it's gone.
    TooLarge,
}

/// What the decision needs to know about the failed attempt and its request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// How it failed.
    pub failure: Failure,
    /// By [`is_idempotent`].
    pub idempotent: bool,
    /// A gRPC request: it's never taken as idempotent, whatever its method.
    pub grpc: bool,
    /// What became of the request body.
    pub body: Body,
    /// Whether there's an active endpoint that wasn't tried ([`Balancer::has_untried`]).
    ///
    /// [`Balancer::has_untried`]: crate::balance::Balancer::has_untried
    pub another_endpoint: bool,
    /// What's left of the request's own deadline; `None` without one.
    pub time_left: Option<Duration>,
}

/// Why there's no further attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// `on` doesn't name this failure.
    NotInPolicy,
    /// The endpoint may have acted on the request, which isn't safe to repeat.
    NotIdempotent,
    /// The caller has a part of the response already.
    ResponseStarted,
    /// The request body was larger than what is kept for retries.
    BodyTooLarge,
    /// All attempts are used up.
    NoRetriesLeft,
    /// The request's deadline is reached.
    DeadlineExceeded,
    /// The service's retry budget is used up.
    BudgetExhausted,
}

impl StopReason {
    /// The name for metrics, logs and error bodies; it never changes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotInPolicy => "not_in_policy",
            Self::NotIdempotent => "not_idempotent",
            Self::ResponseStarted => "response_started",
            Self::BodyTooLarge => "body_too_large",
            Self::NoRetriesLeft => "no_retries_left",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::BudgetExhausted => "budget_exhausted",
        }
    }
}

/// What to do after a failed attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this wait, which may be zero.
    Retry(Duration),
    /// Pass on what there is.
    Stop(StopReason),
}

impl RetryPolicy {
    /// Decides whether a failed attempt is followed by another one. `withdraw` asks the retry budget, and is called
    /// last, so that nothing is withdrawn for a retry that isn't made.
    ///
    /// Of several reasons to stop, the one that's named is the one that lies deepest: first the policy, then what
    /// kind of request it is, then what's used up.
    pub fn decide(
        &self,
        attempt: &Attempt,
        rng: &mut fastrand::Rng,
        withdraw: impl FnOnce() -> bool,
    ) -> Verdict {
        match self.stop_reason(attempt) {
            Some(reason) => Verdict::Stop(reason),
            None if !withdraw() => Verdict::Stop(StopReason::BudgetExhausted),
            None => Verdict::Retry(self.wait(attempt, rng)),
        }
    }

    fn stop_reason(&self, attempt: &Attempt) -> Option<StopReason> {
        let Attempt { number, failure, grpc, body, time_left, .. } = *attempt;
        if !failure.is_in(&self.on) {
            return Some(StopReason::NotInPolicy);
        }
        match failure {
            Failure::GrpcUnavailable { .. } if !grpc => return Some(StopReason::NotInPolicy),
            Failure::GrpcUnavailable { response_started: true } => return Some(StopReason::ResponseStarted),
            Failure::GrpcUnavailable { response_started: false } => {}
            _ if failure.is_unprocessed() || self.on_is_explicit => {}
            _ if attempt.idempotent && !grpc => {}
            _ => return Some(StopReason::NotIdempotent),
        }
        if body == Body::TooLarge {
            return Some(StopReason::BodyTooLarge);
        }
        if number > self.retries {
            return Some(StopReason::NoRetriesLeft);
        }
        time_left.is_some_and(|left| left.is_zero()).then_some(StopReason::DeadlineExceeded)
    }

    /// The first retry is immediate when the endpoint did nothing with the request, and it was the connection's end
    /// (GOAWAY, or it was dead already) or there's another endpoint to try: no work is repeated, and whoever gets the
    /// request now isn't known to be in trouble, so a wait would only cost the caller time. In all other cases
    /// somebody is overloaded, or may be, or it's the same endpoint again: back off.
    fn wait(&self, attempt: &Attempt, rng: &mut fastrand::Rng) -> Duration {
        let connection_only = matches!(attempt.failure, Failure::GoAwayUnprocessed | Failure::NothingWritten);
        let elsewhere = attempt.failure.is_unprocessed() && attempt.another_endpoint;
        if attempt.number == 1 && (connection_only || elsewhere) {
            return Duration::ZERO;
        }
        let wait = backoff(self.backoff_base, self.backoff_max, attempt.number, rng);
        attempt.time_left.map_or(wait, |left| wait.min(left))
    }
}

/// Whether requests with this method may be repeated, although an earlier one may have been acted on: GET, HEAD, PUT,
/// DELETE, OPTIONS and TRACE (RFC 9110 §9.2.2).
#[inline]
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE
    )
}

/// The wait before the retry after attempt `number` (1 for the first): between nothing and base × 2ⁿ⁻¹, at most
/// `max`, each as likely. This is the "full jitter" of Marc Brooker's "Exponential Backoff And Jitter" (AWS
/// Architecture Blog, 2015), which does the least work of the variants compared there; Envoy does the same.
#[must_use]
pub fn backoff(base: Duration, max: Duration, number: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = number.saturating_sub(1).min(31);
    let most = crate::time::nanos(base.saturating_mul(1 << doublings).min(max));
    Duration::from_nanos(rng.u64(0..=most))
}

/// `timeout.perAttemptSeconds`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum AttemptTimeout {
    /// From the service's recent latency: the default.
    #[default]
    Auto,
    /// As configured; it holds for every attempt of every request, the last one too.
    Fixed(Duration),
    /// None.
    Off,
}

impl AttemptTimeout {
    /// The least that `auto` gives an attempt: 250 ms, so that a fast service's rare pause isn't cut off.
    pub const LEAST: Duration = Duration::from_millis(250);
    /// The most that `auto` gives an attempt: 5 s, so that in 15 s there's time for a second one and a third.
    pub const MOST: Duration = Duration::from_secs(5);

    /// How long an attempt may take to its response headers; `None` for no limit beside the request's own.
    ///
    /// `auto` is 8 × the recent 99th percentile between [`Self::LEAST`] and [`Self::MOST`]. It's for requests that
    /// can be tried again alone, so neither for those that aren't idempotent nor for the last attempt, which gets all
    /// the time that's left. Without a percentile (too few recent requests) it's [`Self::MOST`]: longer is the safe
    /// side, and no limit would let a hanging endpoint use up the whole request.
    #[inline]
    #[must_use]
    pub fn of(self, idempotent: bool, last_attempt: bool, recent_p99: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Fixed(limit) => Some(limit),
            Self::Auto if !idempotent || last_attempt => None,
            Self::Auto => {
                let limit = recent_p99.map_or(Self::MOST, |p99| p99.saturating_mul(8));
                Some(limit.clamp(Self::LEAST, Self::MOST))
            }
        }
    }
}

#[cfg(test)]
mod tests;
