//! Hedging: a slow request is sent a second time, to another endpoint, and the first answer wins.
//!
//! The "hedged requests" of Dean and Barroso ("The Tail at Scale", CACM 56(2), 2013): a second attempt after the 95th
//! percentile of latency costs some 5 % more requests, and cuts the tail off. [`Hedging`] says when it goes off,
//! [`decide`] whether it may. It is booked on the retry budget, so that a service of which all is slow doesn't get
//! everything twice.
//!
//! # What it can't do
//! A percentile lies where the slow requests are as soon as more than the rest of them are slow: if an endpoint that
//! gets a tenth of the requests is slow, the 95th percentile is what it takes, and nothing is gained. Balancing by
//! latency takes care of that case: it leaves such an endpoint with far less.

use std::time::Duration;

use crate::Tick;
use crate::quantile::RecentQuantile;
use crate::retry::Body;

/// When second attempts go off: one worker's for one service.
#[derive(Clone, Debug)]
pub struct Hedging {
    latency: RecentQuantile,
}

impl Hedging {
    /// The least wait: 1 ms, which is as exact as timers are.
    pub const LEAST: Duration = Duration::from_millis(1);

    /// Hedging after this percentile of the recent latency, 50 to 99; others count as the nearest of these. Default in
    /// the mesh file: 95.
    #[must_use]
    pub fn new(after_percentile: u32) -> Self {
        Self { latency: RecentQuantile::new(after_percentile.clamp(50, 99)) }
    }

    /// Takes in how long an attempt took to its response headers. Record the attempt that lost and was cancelled too,
    /// with the time that it had: it took at least so long, and without it the percentile would sink from hedge to
    /// hedge.
    #[inline]
    pub fn record(&mut self, now: Tick, latency: Duration) {
        self.latency.record(now, latency);
    }

    /// How long after a request was sent its second attempt goes off, if there is no answer by then; `None` with fewer
    /// than 20 recent answers, as there's no telling what is slow.
    #[inline]
    pub fn delay(&mut self, now: Tick) -> Option<Duration> {
        self.latency.get(now).map(|delay| delay.max(Self::LEAST))
    }
}

/// What [`decide`] needs to know when the time has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// By [`is_idempotent`](crate::retry::is_idempotent).
    pub idempotent: bool,
    /// A gRPC request: it's never taken as idempotent, whatever its method.
    pub grpc: bool,
    /// Attempts so far, the one that is awaited included: only the first one is hedged.
    pub attempts: u32,
    /// What became of the request body. It was sent whole, so [`Body::Unread`] means that there's none.
    pub body: Body,
    /// Whether there's an active endpoint that wasn't tried ([`Balancer::has_untried`]).
    ///
    /// [`Balancer::has_untried`]: crate::balance::Balancer::has_untried
    pub another_endpoint: bool,
    /// What's left of the request's own deadline; `None` without one.
    pub time_left: Option<Duration>,
}

/// Why there's no second attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum NoHedge {
    /// The request isn't safe to repeat.
    NotIdempotent,
    /// It's a retry already.
    NotFirst,
    /// The request body was larger than what is kept.
    BodyTooLarge,
    /// All endpoints were tried: the same one again would only have more to do.
    NoOtherEndpoint,
    /// The request's deadline is reached.
    DeadlineExceeded,
    /// The service's retry budget is used up.
    BudgetExhausted,
}

impl NoHedge {
    /// The name for metrics and logs; it never changes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotIdempotent => "not_idempotent",
            Self::NotFirst => "not_first",
            Self::BodyTooLarge => "body_too_large",
            Self::NoOtherEndpoint => "no_other_endpoint",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::BudgetExhausted => "budget_exhausted",
        }
    }
}

impl Candidate {
    /// Whether the request could be hedged as far as is known when it's sent: if not, no timer is needed.
    #[inline]
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.refusal().is_some()
    }

    fn refusal(&self) -> Option<NoHedge> {
        let checks = [
            (!self.idempotent || self.grpc, NoHedge::NotIdempotent),
            (self.attempts > 1, NoHedge::NotFirst),
            (self.body == Body::TooLarge, NoHedge::BodyTooLarge),
            (!self.another_endpoint, NoHedge::NoOtherEndpoint),
            (self.time_left.is_some_and(|left| left.is_zero()), NoHedge::DeadlineExceeded),
        ];
        checks.into_iter().find(|(fails, _)| *fails).map(|(_, why)| why)
    }
}

/// Decides whether the second attempt is made, now that its time has come. `withdraw` asks the retry budget, and is
/// called last, so that nothing is withdrawn for an attempt that isn't made.
///
/// # Errors
/// Why it isn't made.
pub fn decide(candidate: &Candidate, withdraw: impl FnOnce() -> bool) -> Result<(), NoHedge> {
    match candidate.refusal() {
        Some(why) => Err(why),
        None if !withdraw() => Err(NoHedge::BudgetExhausted),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
