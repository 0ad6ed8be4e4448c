//! How long to wait before something that has failed is tried again. Pure: chance is passed in.

use std::time::Duration;

/// Waits that double from failure to failure.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is `base` at most, and none is longer than `max`.
    pub const fn new(base: Duration, max: Duration) -> Self {
        Backoff { base, max, failures: 0 }
    }

    /// It has failed once more: how long to wait. `chance`, 0 to 1, keeps those apart who have failed together: the wait
    /// is between half and the whole of what is due.
    pub fn failed(&mut self, chance: f64) -> Duration {
        let whole = self.base.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }

    /// It went well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How often it has failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| backoff.failed(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!((backoff.failed(0.0).as_millis(), backoff.failures()), (500, 7));
        backoff.succeeded();
        assert_eq!(backoff.failed(0.5).as_millis(), 75);
        for _ in 0..100 {
            assert!(backoff.failed(2.0) <= Duration::from_secs(1));
        }
    }
}
