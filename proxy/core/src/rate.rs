//! How many requests a second: token buckets, one for all or one per key.
//!
//! A bucket is the generic cell rate algorithm (GCRA, ITU-T I.371): instead of tokens it keeps one moment, the
//! theoretical arrival time of the next request if all came evenly. It fits into one atomic word, needs no refill, and
//! is the same as a leaky bucket of `burst` places that is emptied evenly, nginx's `limit_req`.
//!
//! [`Bucket`] is one of them, [`Keyed`] a bounded table of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Tick;
use crate::time::nanos;

mod keyed;

pub use keyed::{Hasher, Keyed};

/// A rate, made ready for use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds from one request to the next.
    interval: u64,
    /// Requests that a full bucket has room for.
    burst: u64,
    /// Of those, how many needn't wait.
    at_once: u64,
}

impl Rate {
    /// `requests` in each `per`, of which `burst` may come at once after a quiet time. Both are 1 at the least. nginx's
    /// `burst=N nodelay` is a burst of N + 1 here, for nginx doesn't count the one that is served.
    ///
    /// The time between two requests is rounded up to a nanosecond: the rate is never exceeded, and at a million
    /// requests a second at most 0.1 % below.
    #[must_use]
    pub fn new(requests: u32, per: Duration, burst: u32) -> Self {
        let interval = nanos(per).div_ceil(u64::from(requests.max(1))).max(1);
        let burst = u64::from(burst.max(1));
        Self { interval, burst, at_once: burst }
    }

    /// `requests` a second.
    #[must_use]
    pub fn per_second(requests: u32, burst: u32) -> Self {
        Self::new(requests, Duration::from_secs(1), burst)
    }

    /// The same rate, but only `at_once` requests of a burst go through at once. The others wait for their turn, so
    /// that a burst is spread out. With 1 no two requests come closer than the rate says: nginx's `limit_req` without
    /// `nodelay`. Nobody waits for longer than the burst takes at this rate.
    #[must_use]
    pub fn queued(self, at_once: u32) -> Self {
        Self { at_once: u64::from(at_once).clamp(1, self.burst), ..self }
    }

    /// Requests that may come at once after a quiet time: the limit in rate-limit headers.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst as u32
    }

    /// The longest that a request is told to wait.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        Duration::from_nanos(self.interval.saturating_mul(self.burst - self.at_once))
    }
}

/// What a bucket says to one request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on now.
    Go,
    /// It may go on after this time. Its token is taken.
    Wait(Duration),
    /// It is refused. After this time one would pass, if nobody else took it: `Retry-After`.
    Refused(Duration),
}

/// A verdict, and what rate-limit headers tell the caller.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What to do.
    pub verdict: Verdict,
    /// Requests that would pass now, after this one.
    pub remaining: u32,
    /// How long until the bucket is full, if nobody takes anything more.
    pub reset: Duration,
}

/// One token bucket, shared by all workers: one atomic word.
///
/// A bucket says nothing about its rate, so that a new rate holds at once for what the old one has seen.
#[derive(Debug, Default)]
pub struct Bucket {
    /// The theoretical arrival time: when the bucket is full again.
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn new() -> Self {
        Self { full_at: AtomicU64::new(0) }
    }

    /// Takes a token for one request, if there is one.
    #[inline]
    pub fn take(&self, rate: &Rate, now: Tick) -> Taken {
        take(&self.full_at, rate, now)
    }
}

#[inline]
fn take(full_at: &AtomicU64, rate: &Rate, now: Tick) -> Taken {
    let room = rate.interval.saturating_mul(rate.burst);
    let mut seen = full_at.load(Relaxed);
    loop {
        // How long the bucket takes to fill. A lower rate than before may find more in it than it can hold.
        let owed = seen.saturating_sub(now.0).min(room);
        let next = owed.saturating_add(rate.interval);
        if next > room {
            return Taken {
                verdict: Verdict::Refused(Duration::from_nanos(next - room)),
                remaining: 0,
                reset: Duration::from_nanos(owed),
            };
        }
        match full_at.compare_exchange_weak(seen, now.0.saturating_add(next), Relaxed, Relaxed) {
            Ok(_) => {
                let wait = next.saturating_sub(rate.interval.saturating_mul(rate.at_once));
                return Taken {
                    verdict: if wait == 0 { Verdict::Go } else { Verdict::Wait(Duration::from_nanos(wait)) },
                    remaining: ((room - next) / rate.interval) as u32,
                    reset: Duration::from_nanos(next),
                };
            }
            Err(other) => seen = other,
        }
    }
}

#[cfg(test)]
mod tests;
