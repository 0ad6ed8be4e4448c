//! A limit on requests in flight that is learnt from latency.
//!
//! The gradient algorithm of Netflix' concurrency-limits and of Envoy's adaptive concurrency filter. A service that
//! has more in flight than it works on lets the rest wait, so latency tells how much is too much:
//!
//! ```text
//! gradient = least latency × (1 + buffer) ÷ latency now, between 0.5 and 2
//! limit    = limit × gradient + √limit, moved half of the way
//! ```
//!
//! The square root is headroom: it lets a small limit find out that more would do. A service that works on C requests
//! at a time comes to rest at about 1.25 × C + √C in flight.
//!
//! # The least latency
//! It's what an answer takes when nothing waits. Now and then a probe lowers the limit to a third, at which a service
//! that was kept near its limit has no queue, and measures again. Envoy lowers it to 3, which costs a service that works
//! on a hundred at a time nearly all its throughput for as long as fifty answers take, one after the other. A third takes
//! two answers' time, and costs nothing at all while less than that is in use. If a probe finds something new, the next
//! one comes early.
//!
//! # Windows
//! Latency is the median of a window of 100 ms or more, of as many answers as the limit is, and fifty at the least (ten
//! when that takes over five seconds): where work varies, a median of few would move a large limit far for no reason.
//! For the same reason a probe moves the least latency half of the way, as long as it differs by less than a quarter.
//! Only requests count that began in it, so that a window shows what its own limit leads to, and a slow service isn't
//! punished ten times for the same queue.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use crate::Tick;
use crate::quantile::{BUCKETS, bucket, upper_end};
use crate::time::nanos;

/// The bounds of a learnt limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AdaptiveConfig {
    /// The least it goes down to, 1 or more. Default 3 (Envoy).
    pub min_concurrency: u32,
    /// The most it goes up to. Default 1000 (Envoy).
    pub max_concurrency: u32,
    /// The limit to begin with, inside those bounds. Default 20 (Netflix).
    pub initial: u32,
    /// The time between two probes, up to 15 % more by chance, so that proxies don't probe together. Default 60 s
    /// (Envoy).
    pub probe_interval: Duration,
    /// How much over the least latency is no sign of a queue, in percent. Default 25 (Envoy).
    pub buffer_percent: u32,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            min_concurrency: 3,
            max_concurrency: 1000,
            initial: 20,
            probe_interval: Duration::from_secs(60),
            buffer_percent: 25,
        }
    }
}

/// Who is turned away first.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Turned away first: when three quarters of the limit are in use.
    Low,
    /// Has the limit.
    #[default]
    Normal,
    /// Turned away last: has a quarter of the limit, and one at the least, on top of it.
    High,
}

/// A window is at least so long.
const WINDOW: Duration = Duration::from_millis(100);
/// Answers in a window, unless the limit is higher.
const SAMPLES: u32 = 50;
/// After so long a few must do.
const LONG: Duration = Duration::from_secs(5);
const FEW: u32 = 10;
/// The most that chance adds to the time between probes, in percent (Envoy).
const JITTER_PERCENT: u64 = 15;
/// An early probe comes after this part of the interval.
const EARLY: u32 = 10;

/// A learnt limit, shared by all workers: atomics alone, and nobody ever waits.
///
/// It goes with a [`Level`](super::Level), which counts what is in flight: take a place with the limit of the request's
/// priority, and record the answer here.
#[derive(Debug)]
pub struct Adaptive {
    config: AdaptiveConfig,
    limit: AtomicU32,
    /// Answers in this window by latency, and how many.
    counts: [AtomicU32; BUCKETS],
    samples: AtomicU32,
    /// The most in flight in this window.
    peak: AtomicU32,
    window_start: AtomicU64,
    /// True while a thread ends a window. Who finds it taken leaves that to it.
    ending: AtomicBool,
    // Only written by the thread that ends a window.
    /// The limit to go back to after the probe; 0 when there's none.
    probing_for: AtomicU32,
    /// In nanoseconds; 0 while nothing is known.
    least: AtomicU64,
    next_probe: AtomicU64,
    last_probe: AtomicU64,
    /// The highest limit since the last probe.
    highest: AtomicU32,
}

impl Adaptive {
    /// A limit that has learnt nothing yet.
    #[must_use]
    pub fn new(config: AdaptiveConfig) -> Self {
        let min_concurrency = config.min_concurrency.max(1);
        let max_concurrency = config.max_concurrency.max(min_concurrency);
        let initial = config.initial.clamp(min_concurrency, max_concurrency);
        Self {
            config: AdaptiveConfig { min_concurrency, max_concurrency, initial, ..config },
            limit: AtomicU32::new(initial),
            counts: [const { AtomicU32::new(0) }; BUCKETS],
            samples: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            window_start: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            probing_for: AtomicU32::new(0),
            least: AtomicU64::new(0),
            next_probe: AtomicU64::new(0),
            last_probe: AtomicU64::new(0),
            highest: AtomicU32::new(initial),
        }
    }

    /// How many requests may be in flight now.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// How many may be in flight for a request of this priority to be let in.
    #[inline]
    #[must_use]
    pub fn limit_for(&self, priority: Priority) -> u32 {
        let limit = self.limit();
        match priority {
            Priority::Low => (limit - limit / 4).max(1),
            Priority::Normal => limit,
            Priority::High => limit + (limit / 4).max(1),
        }
    }

    /// Takes in that a request which was sent at `began` was answered `now`, while so many were in flight, itself
    /// included.
    ///
    /// Record answers that took work, and requests that timed out. Leave out failures that come quickly: they would
    /// look like a service that has become fast.
    #[inline]
    pub fn record(&self, began: Tick, now: Tick, in_flight: u32, rng: &mut fastrand::Rng) {
        let start = Tick(self.window_start.load(Relaxed));
        if began < start || start == Tick::ZERO {
            self.begin(start, now);
            return;
        }
        self.counts[bucket(now.nanos_since(began))].fetch_add(1, Relaxed);
        if self.peak.load(Relaxed) < in_flight {
            self.peak.fetch_max(in_flight, Relaxed);
        }
        let samples = self.samples.fetch_add(1, Relaxed) + 1;
        if samples >= FEW {
            let age = now.since(start);
            if age >= LONG || (samples >= self.wanted() && age >= WINDOW) {
                self.end_window(now, rng);
            }
        }
    }

    /// The first window begins with the first answer.
    #[cold]
    fn begin(&self, start: Tick, now: Tick) {
        if start == Tick::ZERO {
            let _outrun = self.window_start.compare_exchange(0, now.0.max(1), Relaxed, Relaxed);
        }
    }

    /// How many answers make a window.
    #[inline]
    fn wanted(&self) -> u32 {
        self.limit().max(self.probing_for.load(Relaxed)).max(SAMPLES)
    }

    #[cold]
    fn end_window(&self, now: Tick, rng: &mut fastrand::Rng) {
        if self.ending.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            return;
        }
        // Another thread may have ended it just before.
        if self.samples.load(Relaxed) >= FEW {
            self.window_start.store(now.0, Relaxed);
            self.samples.store(0, Relaxed);
            let peak = self.peak.swap(0, Relaxed);
            if let Some(median) = self.take_median() {
                self.learn(median, peak, now, rng);
            }
        }
        self.ending.store(false, Release);
    }

    /// The median of the window, in nanoseconds, with its counts set back. Inside a bucket values are taken to lie
    /// evenly, so that the width of buckets doesn't show.
    fn take_median(&self) -> Option<u64> {
        let mut counts = [0_u64; BUCKETS];
        for (count, cell) in counts.iter_mut().zip(&self.counts) {
            *count = u64::from(cell.swap(0, Relaxed));
        }
        let half = counts.iter().sum::<u64>() as f64 / 2.0;
        let mut below = 0.0;
        for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= half {
                let lower = if index == 0 { 0 } else { upper_end(index - 1) };
                let width = upper_end(index).saturating_sub(lower) as f64;
                return Some((lower as f64 + width * (half - below) / count) as u64);
            }
            below += count;
        }
        None
    }

    fn learn(&self, median: u64, peak: u32, now: Tick, rng: &mut fastrand::Rng) {
        let saved = self.probing_for.load(Relaxed);
        let least = self.least.load(Relaxed);
        if saved > 0 || least == 0 {
            let is_new = median > least + least / 4 || median < least - least / 4;
            let known = if is_new { median } else { least.midpoint(median) };
            self.least.store(known.max(1), Relaxed);
            self.schedule(if is_new { EARLY } else { 1 }, now, rng);
            if saved > 0 {
                self.probing_for.store(0, Relaxed);
                self.limit.store(saved, Relaxed);
            }
            return;
        }
        let limit = self.limit();
        let next = self.next_limit(limit, median, least, peak);
        self.limit.store(next, Relaxed);
        let highest = self.highest.load(Relaxed).max(next);
        self.highest.store(highest, Relaxed);
        // When the limit has fallen to half, perhaps the service has become slower by itself.
        let early = self.last_probe.load(Relaxed) + nanos(self.config.probe_interval) / u64::from(EARLY);
        let fallen = next <= highest / 2 && now.0 >= early;
        if fallen || now.0 >= self.next_probe.load(Relaxed) {
            self.probing_for.store(next, Relaxed);
            self.limit.store((next / 3).max(self.config.min_concurrency), Relaxed);
        }
    }

    fn next_limit(&self, limit: u32, median: u64, least: u64, peak: u32) -> u32 {
        let allowed = least as f64 * (1.0 + f64::from(self.config.buffer_percent) / 100.0);
        let gradient = (allowed / median.max(1) as f64).clamp(0.5, 2.0);
        let now = f64::from(limit);
        let goal = now * gradient + now.sqrt();
        let next = now + (goal - now) / 2.0;
        // A limit that isn't in use says nothing by not being felt.
        let next = if next > now && peak < limit.div_ceil(2) { now } else { next };
        let next = if next > now { next.ceil() } else { next.floor() };
        (next as u32).clamp(self.config.min_concurrency, self.config.max_concurrency)
    }

    /// The time of the next probe: the interval ÷ `part`, and a bit more by chance.
    fn schedule(&self, part: u32, now: Tick, rng: &mut fastrand::Rng) {
        let interval = nanos(self.config.probe_interval / part);
        let jitter = rng.u64(0..=interval / 100 * JITTER_PERCENT);
        self.next_probe.store(now.0.saturating_add(interval).saturating_add(jitter), Relaxed);
        self.last_probe.store(now.0, Relaxed);
        self.highest.store(0, Relaxed);
    }

    /// The latency of an answer when nothing waits, as far as is known.
    #[must_use]
    pub fn least_latency(&self) -> Option<Duration> {
        Some(self.least.load(Relaxed)).filter(|least| *least > 0).map(Duration::from_nanos)
    }

    /// Whether the limit is lowered now to measure that latency.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.probing_for.load(Relaxed) > 0
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
