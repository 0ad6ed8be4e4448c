//! A service's recent latency at a percentile, without keeping samples.

use std::time::Duration;

use crate::Tick;
use crate::time::nanos;

/// Sub-buckets per doubling: 8, so a bucket is at most an eighth wider than its lower end.
const SUB_BITS: u32 = 3;
/// Everything below 2¹⁴ ns (16 µs) shares the first bucket.
const LOW_BITS: u32 = 14;
/// Everything from 2³⁶ ns (69 s) up shares the last one.
const HIGH_BITS: u32 = 36;
/// Bucket 0, then eight per doubling, then the last one.
pub(crate) const BUCKETS: usize = ((HIGH_BITS - LOW_BITS) << SUB_BITS) as usize + 2;
/// Half of the window.
const HALF: Duration = Duration::from_secs(5);
/// How long a computed value is good for.
const REFRESH: Duration = Duration::from_millis(100);
/// With fewer samples in the window there's no telling.
const MIN_SAMPLES: u32 = 20;

/// A latency percentile over the last 5 to 10 s, per worker and service.
///
/// A log-linear histogram (as in HdrHistogram) in two halves: one is written, the other is the previous 5 s.
/// 1.4 KiB. The answer is the upper end of the bucket in which the percentile lies: never too low, and at most 12.5 %
/// too high, between 16 µs and 69 s. Values outside are counted as these ends.
///
/// Record attempts that timed out, too, with the time that was waited: leaving out what was cut off would draw the
/// percentile down, and the timeout that's made from it after it.
#[derive(Clone, Debug)]
pub struct RecentQuantile {
    percentile: u32,
    halves: [[u32; BUCKETS]; 2],
    /// Which half is written.
    current: usize,
    /// When the written half is full.
    turn_at: Tick,
    cached: Option<Duration>,
    fresh_until: Tick,
}

impl RecentQuantile {
    /// An empty window for this percentile, 1 to 100: 99 for the attempt timeout, 95 for hedging.
    #[must_use]
    pub fn new(percentile: u32) -> Self {
        Self {
            percentile: percentile.clamp(1, 100),
            halves: [[0; BUCKETS]; 2],
            current: 0,
            turn_at: Tick::ZERO,
            cached: None,
            fresh_until: Tick::ZERO,
        }
    }

    /// Takes in one latency.
    #[inline]
    pub fn record(&mut self, now: Tick, latency: Duration) {
        if now >= self.turn_at {
            self.turn(now);
        }
        let count = &mut self.halves[self.current][bucket(nanos(latency))];
        *count = count.saturating_add(1);
    }

    /// The percentile; `None` with fewer than 20 samples in the window. Below 100 samples the 99th is the slowest one.
    ///
    /// Computed anew every 100 ms at the most; in between it costs one comparison.
    #[inline]
    pub fn get(&mut self, now: Tick) -> Option<Duration> {
        if now >= self.fresh_until {
            self.refresh(now);
        }
        self.cached
    }

    #[cold]
    fn refresh(&mut self, now: Tick) {
        if now >= self.turn_at {
            self.turn(now);
        }
        self.cached = self.compute();
        // Not beyond the next turn, which drops a half.
        self.fresh_until = now.after(REFRESH).min(self.turn_at);
    }

    fn compute(&self) -> Option<Duration> {
        let [one, two] = &self.halves;
        let counts = || one.iter().zip(two).map(|(a, b)| u64::from(*a) + u64::from(*b));
        let total: u64 = counts().sum();
        if total < u64::from(MIN_SAMPLES) {
            return None;
        }
        let rank = (total * u64::from(self.percentile)).div_ceil(100);
        let mut below = 0;
        let bucket = counts().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Duration::from_nanos(upper_end(bucket)))
    }

    /// Starts the next half, or over when the window has passed without a sample.
    #[cold]
    fn turn(&mut self, now: Tick) {
        let late = now.since(self.turn_at);
        if late >= HALF {
            self.halves[self.current].fill(0);
        }
        self.current = 1 - self.current;
        self.halves[self.current].fill(0);
        self.turn_at = if late >= HALF { now.after(HALF) } else { self.turn_at.after(HALF) };
        self.fresh_until = Tick::ZERO;
    }
}

/// The bucket of a value: the position of its highest bit, and the three bits below that.
#[inline]
pub(crate) fn bucket(nanos: u64) -> usize {
    if nanos < 1 << LOW_BITS {
        return 0;
    }
    let high = u64::BITS - 1 - nanos.leading_zeros();
    if high >= HIGH_BITS {
        return BUCKETS - 1;
    }
    let sub = (nanos >> (high - SUB_BITS)) as usize & ((1 << SUB_BITS) - 1);
    1 + ((high - LOW_BITS) << SUB_BITS) as usize + sub
}

/// The lowest value above a bucket, which for the last one is its lower end.
pub(crate) fn upper_end(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return 1 << HIGH_BITS;
    }
    // The upper end of a bucket is the lower end of the next one.
    let (high, sub) = (bucket as u64 >> SUB_BITS, bucket as u64 & ((1 << SUB_BITS) - 1));
    ((1 << SUB_BITS) + sub) << (u64::from(LOW_BITS - SUB_BITS) + high)
}

#[cfg(test)]
mod tests;
