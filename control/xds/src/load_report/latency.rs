//! Latencies by bucket.

/// Upper bounds of the buckets, in microseconds; one more has none. The same as those of the proxy's metrics.
pub const BOUNDS_MICROS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 15_000_000,
];

/// How many latencies fell into each bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// By bucket, not cumulated; the last one has no upper bound.
    pub buckets: [u64; BOUNDS_MICROS.len() + 1],
    /// The sum of all, in microseconds.
    pub sum_micros: u64,
}

impl Latency {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// More in the bucket with this upper bound in microseconds (`None`: the last), or in the first of ours that has
    /// room for all of it: another version may have other bounds.
    pub fn add(&mut self, bound: Option<u64>, count: u64) {
        let fits = |bound: u64| BOUNDS_MICROS.iter().position(|ours| bound <= *ours);
        let at = bound.and_then(fits).unwrap_or(BOUNDS_MICROS.len());
        self.buckets[at] = self.buckets[at].saturating_add(count);
    }
}
