//! Peak EWMA: how long an endpoint takes to answer, quick to believe in bad news.
//!
//! The algorithm is that of Finagle's `PeakEwma` balancer, known from Linkerd: a sample above the estimate replaces
//! it at once, one below it pulls it down by a weight that grows with the time since the last sample, and an endpoint
//! which isn't called forgets, so that it's tried again one day.

use super::decay::decay;
use crate::Tick;

/// How long it takes for a sample's weight to fall to 1/e: 10 s (Finagle, Linkerd).
pub(super) const DECAY_NANOS: f64 = 10e9;

/// What an endpoint is taken to need as long as nothing at all was measured: 30 ms (Linkerd's default RTT).
pub(super) const DEFAULT_NANOS: f64 = 30e6;

/// After this long without a sample, a better one is news rather than one of many: 1 s.
const NEWS_NANOS: u64 = 1_000_000_000;

/// One endpoint's latency estimate.
///
/// A sample below an estimate that's older than a second pulls it down to the geometric mean of the two at the least.
/// By the decay alone an endpoint that was 50 times too slow and is well again would need forty seconds of samples, and
/// being avoided it gets none.
///
/// Unlike in Finagle, an estimate has no made-up start value: it's unknown until the first sample, which becomes the
/// estimate whole. A start value of 30 ms would take half a minute of traffic to be forgotten, and meanwhile hide a
/// new endpoint from peers that answer in 1 ms. The balancer puts the typical estimate of the others in its place.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct PeakEwma {
    /// Nanoseconds at `stamp`; 0 is "unknown".
    estimate: f64,
    stamp: Tick,
}

impl PeakEwma {
    /// Takes in a measured latency, in nanoseconds.
    #[inline]
    pub(super) fn observe(&mut self, now: Tick, nanos: u64) {
        // At least 1, because 0 is "unknown", which any sample replaces.
        let sample = (nanos as f64).max(1.0);
        if sample >= self.estimate {
            self.estimate = sample;
        } else {
            let age = now.nanos_since(self.stamp);
            let kept = decay(age as f64 / DECAY_NANOS);
            let decayed = self.estimate * kept + sample * (1.0 - kept);
            let news = age > NEWS_NANOS;
            self.estimate = if news { decayed.min((self.estimate * sample).sqrt()) } else { decayed };
        }
        self.stamp = self.stamp.max(now);
    }

    /// Takes in that an answer would have taken `nanos` at the least: somebody gave up, or the connection broke.
    /// This can raise the estimate, or `unknown` where there's none, and never lowers it: failing fast must not look
    /// like being fast.
    #[inline]
    pub(super) fn observe_at_least(&mut self, now: Tick, nanos: u64, unknown: f64) {
        let sample = nanos as f64;
        if sample > self.read(now).unwrap_or(unknown) {
            self.estimate = sample.max(1.0);
            self.stamp = self.stamp.max(now);
        }
    }

    /// Nanoseconds since the last sample; since ever, before the first.
    #[inline]
    pub(super) fn age(&self, now: Tick) -> u64 {
        now.nanos_since(self.stamp)
    }

    /// The estimate in nanoseconds, less what was forgotten since the last sample; `None` before the first one.
    ///
    /// Reading doesn't write: in Finagle each look decays the stored value, which makes the estimate depend on how
    /// often it's looked at.
    #[inline]
    #[must_use]
    pub(super) fn read(&self, now: Tick) -> Option<f64> {
        (self.estimate > 0.0).then(|| self.estimate * decay(now.nanos_since(self.stamp) as f64 / DECAY_NANOS))
    }
}

#[cfg(test)]
mod tests;
