//! Latencies by bucket, and percentiles out of them.

/// A histogram as it is scraped: for each bound, how many were not above it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Latencies(Vec<Bucket>);

/// One bound.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// In milliseconds; infinite: the last one.
    bound: f64,
    /// How many were not above it.
    count: f64,
}

/// A latency, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Latency {
    /// About this.
    Of(f64),
    /// More than the highest bound.
    Above(f64),
}

impl Latency {
    /// As a number: of what is above all bounds, the highest of them.
    pub(super) fn at_least(self) -> f64 {
        match self {
            Latency::Of(ms) | Latency::Above(ms) => ms,
        }
    }
}

impl Latencies {
    /// One bucket more. `le` is as it is written, in seconds. `false`: it is no bound, or not above the last one.
    #[must_use]
    pub(super) fn push(&mut self, le: &str, count: f64) -> bool {
        let bound = match le {
            "+Inf" => f64::INFINITY,
            le => le.parse().unwrap_or(f64::NAN) * 1e3,
        };
        let last = self.0.last().map_or((0.0, 0.0), |last| (last.bound, last.count));
        let right = bound > last.0 && count >= last.1;
        if right {
            self.0.push(Bucket { bound, count });
        }
        right
    }

    /// What has come since; all, where it has begun again.
    pub(super) fn since(&self, before: &Latencies) -> Latencies {
        let alike = self.0.len() == before.0.len()
            && self.0.iter().zip(&before.0).all(|(now, then)| now.bound == then.bound);
        let mut new = Latencies::default();
        let mut last = 0.0;
        for (at, now) in self.0.iter().enumerate() {
            let then = if alike { before.0[at].count } else { 0.0 };
            let count = now.count - then;
            if count < last {
                return self.clone();
            }
            last = count;
            new.0.push(Bucket { count, ..*now });
        }
        new
    }

    /// The latency that this share (0 to 1) of all did not exceed; `None`: there are none. Inside a bucket they are taken
    /// to lie evenly.
    pub(super) fn percentile(&self, share: f64) -> Option<Latency> {
        let all = self.0.last().map(|last| last.count).filter(|all| *all > 0.0)?;
        let wanted = all * share;
        let mut below = Bucket { bound: 0.0, count: 0.0 };
        for bucket in &self.0 {
            if bucket.count > below.count && bucket.count >= wanted {
                if bucket.bound.is_infinite() {
                    break;
                }
                let part = ((wanted - below.count) / (bucket.count - below.count)).clamp(0.0, 1.0);
                return Some(Latency::Of(below.bound + (bucket.bound - below.bound) * part));
            }
            below = *bucket;
        }
        let highest = self.0.iter().rev().find(|bucket| bucket.bound.is_finite());
        Some(Latency::Above(highest.map_or(0.0, |bucket| bucket.bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(buckets: &[(&str, f64)]) -> Latencies {
        let mut latencies = Latencies::default();
        for (le, count) in buckets {
            assert!(latencies.push(le, *count), "{le}");
        }
        latencies
    }

    #[test]
    fn a_percentile_lies_in_its_bucket() {
        let all =
            latencies(&[("0.001", 0.0), ("0.002", 50.0), ("0.004", 90.0), ("15.0", 90.0), ("+Inf", 100.0)]);
        assert_eq!(all.percentile(0.25), Some(Latency::Of(1.5)));
        assert_eq!(all.percentile(0.5), Some(Latency::Of(2.0)));
        assert_eq!(all.percentile(0.7), Some(Latency::Of(3.0)));
        assert_eq!(all.percentile(0.95), Some(Latency::Above(15_000.0)));
        assert_eq!(Latency::Above(15_000.0).at_least(), 15_000.0);
        assert_eq!(latencies(&[("1.0", 0.0), ("+Inf", 0.0)]).percentile(0.5), None);
        assert_eq!(Latencies::default().percentile(0.5), None);
    }

    #[test]
    fn only_what_is_new_counts_and_a_new_beginning_is_all_new() {
        let before = latencies(&[("0.001", 10.0), ("+Inf", 10.0)]);
        let after = latencies(&[("0.001", 10.0), ("+Inf", 14.0)]);
        assert_eq!(after.since(&before), latencies(&[("0.001", 0.0), ("+Inf", 4.0)]));
        let begun_again = latencies(&[("0.001", 3.0), ("+Inf", 12.0)]);
        assert_eq!(begun_again.since(&before), begun_again);
        assert_eq!(after.since(&Latencies::default()), after);
        let other_bounds = latencies(&[("0.002", 20.0), ("+Inf", 20.0)]);
        assert_eq!(other_bounds.since(&before), other_bounds);
    }

    #[test]
    fn buckets_that_do_not_rise_are_refused() {
        for buckets in [[("0.002", 1.0), ("0.001", 1.0)], [("0.001", 2.0), ("0.002", 1.0)]] {
            let mut latencies = Latencies::default();
            assert!(latencies.push(buckets[0].0, buckets[0].1));
            assert!(!latencies.push(buckets[1].0, buckets[1].1));
        }
        assert!(!Latencies::default().push("x", 1.0));
    }
}
