//! Percentiles out of a histogram.

use bowline_xds::load_report::BOUNDS_MICROS;

use super::window::BUCKETS;

/// The latency, in milliseconds, that this share (0 to 1) of all did not exceed; `None`: there are none. Inside a bucket
/// they are taken to lie evenly; of what is in the last one, which has no upper bound, the lower bound is said.
pub(super) fn percentile(buckets: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
    if all == 0 {
        return None;
    }
    let wanted = all as f64 * share;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, upper) in buckets.iter().zip(BOUNDS_MICROS) {
        let (count, upper) = (*count as f64, upper as f64);
        if count > 0.0 && below + count >= wanted {
            let part = ((wanted - below) / count).clamp(0.0, 1.0);
            return Some((lower + (upper - lower) * part) / 1e3);
        }
        below += count;
        lower = upper;
    }
    Some(lower / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_in_its_bucket() {
        let mut buckets = [0; BUCKETS];
        assert_eq!(percentile(&buckets, 0.5), None);
        // Two milliseconds and a half to five.
        buckets[3] = 100;
        assert_eq!(percentile(&buckets, 0.5), Some(3.75));
        assert_eq!(percentile(&buckets, 1.0), Some(5.0));
        buckets[0] = 900;
        assert_eq!(percentile(&buckets, 0.45), Some(0.25));
        assert_eq!(percentile(&buckets, 0.95), Some(3.75));
        buckets[BUCKETS - 1] = 9_000;
        assert_eq!(percentile(&buckets, 0.99), Some(15_000.0));
    }

    #[test]
    fn more_is_never_less() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let mut buckets = [0; BUCKETS];
            for bucket in &mut buckets {
                *bucket = if rng.bool() { rng.u64(0..100) } else { 0 };
            }
            let all = [0.0, 0.5, 0.9, 0.95, 0.99, 1.0].map(|share| percentile(&buckets, share));
            assert!(all.is_sorted(), "{all:?} of {buckets:?}");
        }
    }
}
