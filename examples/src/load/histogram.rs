//! Latencies, counted in buckets that are at most a sixteenth wide, so that percentiles are right to about 6 %.

use std::time::Duration;

/// Sub-buckets of each power of two, as a power of two itself.
const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;
/// Up to 2^36 µs, which is 19 hours.
const BUCKETS: usize = (SUBS as usize) * 33;

/// How many requests took how long.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into(), total: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    /// Adds another one's counts.
    pub(crate) fn add(&mut self, other: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.total += other.total;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `percent` of the requests did not exceed, in milliseconds; `None` when there were none.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(middle(at) / 1000.0)
    }
}

/// Below 16 µs each has its own bucket; from there on each power of two has sixteen.
fn bucket(micros: u64) -> usize {
    if micros < SUBS {
        return micros as usize;
    }
    let power = micros.ilog2() - SUB_BITS;
    let at = u64::from(power) * SUBS + (micros >> power);
    (at as usize).min(BUCKETS - 1)
}

/// The middle of a bucket in microseconds.
fn middle(at: usize) -> f64 {
    let at = at as u64;
    if at < SUBS * 2 {
        return at as f64;
    }
    let power = at / SUBS - 1;
    let low = (at - power * SUBS) << power;
    low as f64 + (1_u64 << power) as f64 / 2.0
}

/// Latencies of the last while: the oldest part is forgotten at each turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    parts: [Histogram; 4],
    at: usize,
}

impl Recent {
    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.parts[self.at].record(latency);
    }

    /// Time has passed: the oldest part is forgotten.
    pub(crate) fn turn(&mut self) {
        self.at = (self.at + 1) % self.parts.len();
        self.parts[self.at].clear();
    }

    /// All that is remembered.
    pub(crate) fn all(&self) -> Histogram {
        let mut all = Histogram::default();
        for part in self.parts.iter().filter(|part| part.total() > 0) {
            all.add(part);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, Histogram, Recent, bucket, middle};

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_hold_their_own_middle() {
        let mut last = 0;
        for micros in 0..2_000_000 {
            let at = bucket(micros);
            assert!(at == last || at == last + 1, "{micros}");
            last = at;
            let error = (middle(at) - micros as f64).abs();
            assert!(error <= 1.0_f64.max(micros as f64 / 16.0), "{micros}: {}", middle(at));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), None);
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        for (percent, wanted) in [(0.0, 1.0), (50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let got = histogram.percentile(percent).expect("not empty");
            assert!((got - wanted).abs() <= wanted / 16.0, "p{percent}: {got}, want {wanted}");
        }
        assert_eq!(histogram.total(), 1000);
    }

    #[test]
    fn what_is_recent_is_forgotten_after_four_turns() {
        let mut recent = Recent::default();
        recent.record(Duration::from_millis(5));
        for left in [1, 1, 1, 0, 0] {
            recent.turn();
            assert_eq!(recent.all().total(), left);
        }
    }
}
