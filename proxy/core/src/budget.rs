//! How many retries a service may bear: a share of its recent requests.
//!
//! The retry budget of Finagle and Linkerd: retries are for the odd failure. When much fails at once they multiply
//! the load on what is failing already, so they're held to `percent` of the requests, plus a few per second for
//! services that are hardly called.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Tick;
use crate::slots::{self, RING, SLOTS, cell, is_of, place, sum};
use crate::time::nanos;

/// The limits of a budget.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Retries allowed per hundred requests in the window. Default 20 (Finagle, Linkerd, Envoy).
    pub percent: u32,
    /// Retries allowed per second of the window on top of it. Default 3 (Envoy's `min_retry_concurrency`, Istio).
    pub min_per_second: u32,
    /// How far back requests and retries count. Default 10 s (Finagle, Linkerd).
    pub window: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 3, window: Duration::from_secs(10) }
    }
}

/// A service's retry budget, shared by all workers: atomics alone.
///
/// # Precision
/// At each grant: retries in the last window, this one included ≤ `percent` × requests in the last window +
/// `min_per_second` × window. To stay on the safe side of slots that lie partly in the window, requests are counted
/// over ten slots (9 to 10 tenths of the window) and retries over eleven (10 to 11 tenths).
///
/// Grants of one slot go through one compare-and-swap after the sum was taken, so two workers can't both take the
/// last one. What may go wrong is small: threads whose `now` lies on two sides of a slot's border can grant one retry
/// too many per thread; and a deposit by a thread that was held up for a whole window between two instructions counts
/// for a later slot. A cell that nobody touched for exactly 2²⁴ slots (194 days) would be taken for a current one.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u64,
    /// In hundredths of a retry, as all sums here.
    reserve: u64,
    slot_nanos: u64,
    requests: [AtomicU64; RING],
    retries: [AtomicU64; RING],
}

impl RetryBudget {
    /// An empty budget.
    #[must_use]
    pub fn new(config: BudgetConfig) -> Self {
        let window = nanos(config.window).max(SLOTS);
        let reserve = u128::from(config.min_per_second) * u128::from(window) / 10_000_000;
        Self {
            percent: u64::from(config.percent),
            reserve: u64::try_from(reserve).unwrap_or(u64::MAX),
            slot_nanos: window / SLOTS,
            requests: Default::default(),
            retries: Default::default(),
        }
    }

    /// A request came in. Once per request, not per attempt.
    #[inline]
    pub fn deposit(&self, now: Tick) {
        slots::add(&self.requests, self.slot(now));
    }

    /// Asks for one retry: true grants and books it.
    pub fn withdraw(&self, now: Tick) -> bool {
        let slot = self.slot(now);
        let place = &self.retries[place(slot)];
        // Each failed round means that another thread got its grant, so this ends; eight rounds without luck mean
        // that there are plenty of retries already.
        for _ in 0..8 {
            let seen = place.load(Relaxed);
            let requests = sum(&self.requests, slot, SLOTS);
            let retries = sum(&self.retries, slot, SLOTS + 1);
            let allowed = requests.saturating_mul(self.percent).saturating_add(self.reserve);
            if (retries + 1).saturating_mul(100) > allowed {
                return false;
            }
            let next = if is_of(seen, slot) { seen + 1 } else { cell(slot, 1) };
            if place.compare_exchange(seen, next, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
        false
    }

    #[inline]
    fn slot(&self, now: Tick) -> u64 {
        now.0 / self.slot_nanos
    }
}

#[cfg(test)]
mod tests;
