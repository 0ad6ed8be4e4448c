//! What a worker knows about one endpoint.

use super::ewma::PeakEwma;
use super::penalty::Penalty;
use crate::Tick;

/// One endpoint's state in one worker: a cache line.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Where the endpoint stands in the current set; [`Member::GONE`] once it has left.
    pub(super) index: u32,
    pub(super) weight: u32,
    /// Requests that were started and are not finished, streams included.
    pub(super) in_flight: u32,
    /// Those of them which were sent whole and have no answer yet.
    pub(super) waiting: u32,
    /// Since when nothing was answered while something waited. Says something only while `waiting` > 0.
    pub(super) silent_since: Tick,
    pub(super) ewma: PeakEwma,
    pub(super) penalty: Penalty,
    /// Mean weight of the active endpoints ÷ this one's: 1 when all weights are equal. [`Member::INACTIVE`] where it
    /// isn't active.
    pub(super) lightness: f64,
}

impl Member {
    pub(super) const GONE: u32 = u32::MAX;
    pub(super) const INACTIVE: f64 = 0.0;

    pub(super) fn new(index: u32, weight: u32) -> Self {
        Self {
            index,
            weight,
            in_flight: 0,
            waiting: 0,
            silent_since: Tick::ZERO,
            ewma: PeakEwma::default(),
            penalty: Penalty::default(),
            lightness: 1.0,
        }
    }

    /// Whether it may be picked.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.lightness > Self::INACTIVE
    }

    /// The requests in flight as load, 1 for an idle endpoint. In-flight requests count by weight, so that a heavy
    /// endpoint may hold more of them; the 1 doesn't, because the candidates were drawn by weight already.
    #[inline]
    pub(super) fn requests(&self, now: Tick) -> f64 {
        (f64::from(self.in_flight) * self.lightness + 1.0) * self.penalty.factor(now)
    }

    /// How long an answer takes, in nanoseconds. `typical` stands in for a latency that isn't known yet.
    ///
    /// An endpoint which owes answers and has given none for a while takes that while at the least, whatever it took
    /// before: this is what turns traffic away from a stuck endpoint long before the first timeout.
    #[inline]
    pub(super) fn latency(&self, now: Tick, typical: f64) -> f64 {
        let known = self.ewma.read(now).unwrap_or(typical);
        if self.waiting > 0 { known.max(now.nanos_since(self.silent_since) as f64) } else { known }
    }

    #[inline]
    pub(super) fn sent(&mut self, now: Tick) {
        if self.waiting == 0 {
            self.silent_since = now;
        }
        self.waiting += 1;
    }

    /// One that waited got its answer.
    #[inline]
    pub(super) fn heard(&mut self, now: Tick) {
        self.waiting = self.waiting.saturating_sub(1);
        self.silent_since = now;
    }

    /// One that waited gave up: no sign of life.
    #[inline]
    pub(super) fn gave_up(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}
