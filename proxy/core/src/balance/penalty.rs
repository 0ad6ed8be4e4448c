//! The price of failing: an endpoint that answers 503 in no time must not look attractive.
//!
//! Linkerd books a failure as a latency of 5 s in the peak EWMA. That is harsh and slow at once: against peers of
//! 5 ms a single stray 503 costs the endpoint all of its traffic for more than a minute (10 s × ln 1000), and each
//! stray one drives the load onto fewer endpoints, with up to a thousand times the requests in flight on the last
//! one that had none. So the latency estimate stays honest here, and failures have a score of their own which
//! multiplies the endpoint's load:
//!
//! * the score is the moving share of failures among the endpoint's outcomes, each counting for a fifth;
//! * it also fades by itself in 3 s, whether or not the endpoint is called;
//! * the load is multiplied by 1 + 100 × score².
//!
//! What follows from it: after its first failure an endpoint's load counts fivefold, which in P2C on a calm service
//! is enough to lose nearly all traffic at once; after five in a row it counts 46-fold, so that not even a busy
//! service sends much there. An endpoint which goes on failing settles at one trial every few seconds. One which is
//! well again gets its first trial within some 10 s at the worst, and each success takes a fifth off. A service whose
//! endpoints all fail alike has equal factors all over, and is balanced as before.

use super::decay::decay;
use crate::Tick;

/// What one outcome weighs in the score.
const STEP: f64 = 0.2;
/// How long it takes for the score of an endpoint that isn't called to fall to 1/e.
const FADE_NANOS: f64 = 3e9;
/// How much a score of 1 adds to the factor.
const WEIGHT: f64 = 100.0;
/// Below this a score is nothing: the factor is under 1.0025.
const NEGLIGIBLE: f64 = 0.005;

/// One endpoint's failure score.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Penalty {
    /// 0 (well) to 1 (fails always), at `stamp`.
    score: f64,
    stamp: Tick,
}

impl Penalty {
    /// Takes in a success. Free for an endpoint that's well.
    #[inline]
    pub(super) fn succeeded(&mut self, now: Tick) {
        if self.score > 0.0 {
            let score = self.score(now) * (1.0 - STEP);
            self.set(now, if score < NEGLIGIBLE { 0.0 } else { score });
        }
    }

    /// Takes in a failure: 429, 502, 503, 504, gRPC UNAVAILABLE, a reset, a timeout, a connect failure.
    #[inline]
    pub(super) fn failed(&mut self, now: Tick) {
        let score = self.score(now);
        self.set(now, score + (1.0 - score) * STEP);
    }

    /// What the load of the endpoint is multiplied by: 1 (well) to 101 (fails always).
    #[inline]
    #[must_use]
    pub(super) fn factor(&self, now: Tick) -> f64 {
        if self.score == 0.0 {
            return 1.0;
        }
        let score = self.score(now);
        1.0 + WEIGHT * score * score
    }

    #[inline]
    fn score(&self, now: Tick) -> f64 {
        self.score * decay(now.nanos_since(self.stamp) as f64 / FADE_NANOS)
    }

    #[inline]
    fn set(&mut self, now: Tick, score: f64) {
        self.score = score;
        self.stamp = self.stamp.max(now);
    }
}

#[cfg(test)]
mod tests;
