//! Circuit breaker: while most calls fail, callers are told so at once, and what fails is left alone to recover.
//!
//! The pattern is Michael Nygard's ("Release It!", 2007). The terms are those of its usual clients (Hystrix, opossum):
//! a share of errors in a rolling window, a least number of calls, and a reset time after which one probe decides.
//!
//! ```text
//!            too many errors                reset time over, somebody calls
//!   closed ──────────────────► open ──────────────────────────────────────► half-open: one probe is out
//!     ▲                         ▲                                                │          │
//!     │                         └─────────────── the probe failed ───────────────┘          │
//!     └────────────────────────────── the probe succeeded ──────────────────────────────────┘
//! ```

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::Tick;
use crate::slots::{self, RING, SLOTS};
use crate::time::nanos;

mod word;

use word::{Phase, Word};

/// When a breaker opens, and for how long.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// The percentage of errors in the window at which it opens, 1 to 100; 0 never opens it. Default 50.
    pub error_percent: u32,
    /// Calls that the window must have seen before the percentage counts. Default 20 (Hystrix).
    pub minimum_requests: u32,
    /// How far back calls count, in tenths of it. Default 10 s.
    pub window: Duration,
    /// Errors in a row that open it, whatever the percentage; 0 never. Default 0.
    pub consecutive_failures: u32,
    /// How long it stays open before one probe is let through, to the millisecond. Default 30 s.
    pub reset: Duration,
    /// A call that takes longer is an error, even if it succeeds; zero is off. Default zero.
    pub slow_call: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            error_percent: 50,
            minimum_requests: 20,
            window: Duration::from_secs(10),
            consecutive_failures: 0,
            reset: Duration::from_secs(30),
            slow_call: Duration::ZERO,
        }
    }
}

/// How a call ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered well.
    Success,
    /// It failed.
    Failure,
    /// It was not answered in time, which is a failure too.
    Timeout,
    /// The caller gave up, or the call was never made: it says nothing.
    Cancelled,
}

/// A call that may be made. Give it back with [`Breaker::report`]: a probe that's dropped keeps the breaker half-open
/// for ever.
#[derive(Debug)]
#[must_use = "a probe that is never reported keeps the breaker half-open for ever"]
pub struct Permit {
    generation: u64,
    probe: bool,
}

impl Permit {
    /// Whether this call decides if the breaker closes.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

/// The breaker is open: the call must not be made.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When a probe will be let through; zero while one is out.
    pub retry_after: Duration,
}

/// What the breaker does with calls.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All pass.
    Closed,
    /// None passes.
    Open {
        /// The moment from which one may pass as a probe.
        until: Tick,
    },
    /// A probe is out, or the next call will be one.
    HalfOpen,
}

/// What a report led to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was closed and has opened.
    Opened,
    /// The probe failed: it is open again.
    Reopened,
    /// The probe succeeded: it is closed.
    Closed,
}

/// What a breaker has seen since it was made. The terms are opossum's.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls asked for.
    pub fires: u64,
    /// Calls that were answered well, slow ones included.
    pub successes: u64,
    /// Calls that failed, timeouts included.
    pub failures: u64,
    /// Calls that were not answered in time.
    pub timeouts: u64,
    /// Calls that were answered well, but so slowly that they counted as errors.
    pub slow: u64,
    /// Calls that were refused because it was open.
    pub rejects: u64,
    /// How often it opened, failed probes included.
    pub opened: u64,
}

/// A circuit breaker for a service or an endpoint, shared by all workers: atomics alone, and nobody ever waits.
///
/// The state is one word that changes by compare-and-swap, so one probe means one over all workers. Each change starts
/// a new generation, and reports of calls from an earlier one only count in [`Counts`]: what was sent before it opened
/// says nothing about the service after it closed.
///
/// The percentage is looked at when an error is reported, never at a success. Calls count over the running slot and
/// the nine before it: 9 to 10 tenths of the window. A thread that is held up between two instructions while the
/// breaker closes may leave one call of before in the new window.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    slot_nanos: u64,
    word: AtomicU64,
    consecutive: AtomicU32,
    calls: [AtomicU64; RING],
    errors: [AtomicU64; RING],
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    fires: AtomicU64,
    successes: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    slow: AtomicU64,
    rejects: AtomicU64,
    opened: AtomicU64,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            slot_nanos: nanos(config.window).max(SLOTS) / SLOTS,
            word: AtomicU64::new(Word::closed(0).0),
            consecutive: AtomicU32::new(0),
            calls: Default::default(),
            errors: Default::default(),
            counters: Counters::default(),
        }
    }

    /// The breaker that takes this one's place when its configuration changes. Counts go on, an open one stays open
    /// for as long as it would have. The window starts anew. A probe that is out is reported to the old one, so that
    /// the new one sends its own.
    #[must_use]
    pub fn next(&self, config: BreakerConfig, now: Tick) -> Self {
        let new = Self::new(config);
        let word = Word(self.word.load(Acquire));
        if word.phase() != Phase::Closed {
            let until = if word.phase() == Phase::Open { word.until() } else { now };
            new.word.store(Word::open(word.generation() + 1, until).0, Relaxed);
        }
        let counts = self.counts();
        for (counter, count) in [
            (&new.counters.fires, counts.fires),
            (&new.counters.successes, counts.successes),
            (&new.counters.failures, counts.failures),
            (&new.counters.timeouts, counts.timeouts),
            (&new.counters.slow, counts.slow),
            (&new.counters.rejects, counts.rejects),
            (&new.counters.opened, counts.opened),
        ] {
            counter.store(count, Relaxed);
        }
        new
    }

    /// Asks whether a call may be made.
    ///
    /// # Errors
    /// [`Rejected`] while it is open, or half-open with the probe out.
    #[inline]
    pub fn allow(&self, now: Tick) -> Result<Permit, Rejected> {
        self.counters.fires.fetch_add(1, Relaxed);
        let word = Word(self.word.load(Acquire));
        if word.phase() == Phase::Closed {
            return Ok(Permit { generation: word.generation(), probe: false });
        }
        self.allow_probe(word, now)
    }

    #[cold]
    fn allow_probe(&self, word: Word, now: Tick) -> Result<Permit, Rejected> {
        if word.phase() == Phase::Open && now >= word.until() {
            let probing = word.probing();
            // Whoever loses this race was outrun by the one that is the probe, or by a change of state since.
            if self.word.compare_exchange(word.0, probing.0, AcqRel, Relaxed).is_ok() {
                return Ok(Permit { generation: probing.generation(), probe: true });
            }
        }
        self.counters.rejects.fetch_add(1, Relaxed);
        let retry_after = if word.phase() == Phase::Open { word.until().since(now) } else { Duration::ZERO };
        Err(Rejected { retry_after })
    }

    /// Takes in how a call ended, `took` after it was made. Returns the change of state if this is what it led to.
    ///
    /// Report when the outcome is known: for an answer that streams, at its headers.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "a call ends once: the permit is used up")]
    pub fn report(&self, permit: Permit, now: Tick, outcome: Outcome, took: Duration) -> Option<Change> {
        let error = match outcome {
            Outcome::Success => {
                self.counters.successes.fetch_add(1, Relaxed);
                let slow = !self.config.slow_call.is_zero() && took > self.config.slow_call;
                if slow {
                    self.counters.slow.fetch_add(1, Relaxed);
                }
                slow
            }
            Outcome::Failure | Outcome::Timeout => {
                self.counters.failures.fetch_add(1, Relaxed);
                if outcome == Outcome::Timeout {
                    self.counters.timeouts.fetch_add(1, Relaxed);
                }
                true
            }
            Outcome::Cancelled => {
                if permit.probe {
                    self.give_up(permit.generation, now);
                }
                return None;
            }
        };
        if permit.probe {
            return self.probed(permit.generation, now, error);
        }
        let word = Word(self.word.load(Acquire));
        if word.phase() != Phase::Closed || word.generation() != permit.generation {
            return None;
        }
        slots::add(&self.calls, self.slot(now));
        if error {
            return self.failed(word, now);
        }
        if self.consecutive.load(Relaxed) != 0 {
            self.consecutive.store(0, Relaxed);
        }
        None
    }

    #[cold]
    fn failed(&self, word: Word, now: Tick) -> Option<Change> {
        let slot = self.slot(now);
        slots::add(&self.errors, slot);
        let row = self.consecutive.fetch_add(1, Relaxed).saturating_add(1);
        let in_a_row = self.config.consecutive_failures > 0 && row >= self.config.consecutive_failures;
        if !in_a_row && !self.is_over(slot) {
            return None;
        }
        let open = Word::open(word.generation() + 1, now.after(self.config.reset));
        self.word.compare_exchange(word.0, open.0, AcqRel, Relaxed).ok()?;
        self.counters.opened.fetch_add(1, Relaxed);
        Some(Change::Opened)
    }

    /// Whether the window has calls enough, and too many errors among them.
    fn is_over(&self, slot: u64) -> bool {
        // In this order: every error was counted as a call before.
        let errors = slots::sum(&self.errors, slot, SLOTS);
        let calls = slots::sum(&self.calls, slot, SLOTS);
        self.config.error_percent > 0
            && calls >= u64::from(self.config.minimum_requests)
            && errors.saturating_mul(100) >= calls.saturating_mul(u64::from(self.config.error_percent))
    }

    /// The probe has ended. It alone may change the state until then, so plain stores do.
    #[cold]
    fn probed(&self, generation: u64, now: Tick, error: bool) -> Option<Change> {
        let word = Word(self.word.load(Acquire));
        if word.phase() != Phase::Probing || word.generation() != generation & Word::GENERATIONS {
            return None;
        }
        let next = if error {
            self.counters.opened.fetch_add(1, Relaxed);
            Word::open(generation + 1, now.after(self.config.reset))
        } else {
            self.consecutive.store(0, Relaxed);
            self.calls.iter().chain(&self.errors).for_each(|cell| cell.store(0, Relaxed));
            Word::closed(generation + 1)
        };
        self.word.store(next.0, std::sync::atomic::Ordering::Release);
        Some(if error { Change::Reopened } else { Change::Closed })
    }

    /// The probe said nothing: the next call is one.
    #[cold]
    fn give_up(&self, generation: u64, now: Tick) {
        let word = Word(self.word.load(Acquire));
        if word.phase() == Phase::Probing && word.generation() == generation & Word::GENERATIONS {
            let open = Word::open_at_once(generation + 1, now);
            let _outrun = self.word.compare_exchange(word.0, open.0, AcqRel, Relaxed);
        }
    }

    /// What it does with calls now.
    #[must_use]
    pub fn state(&self, now: Tick) -> State {
        let word = Word(self.word.load(Acquire));
        match word.phase() {
            Phase::Closed => State::Closed,
            Phase::Open if now < word.until() => State::Open { until: word.until() },
            Phase::Open | Phase::Probing => State::HalfOpen,
        }
    }

    /// Whether [`Breaker::allow`] would let a call through now. Nothing is counted.
    #[must_use]
    pub fn admits(&self, now: Tick) -> bool {
        let word = Word(self.word.load(Acquire));
        match word.phase() {
            Phase::Closed => true,
            Phase::Open => now >= word.until(),
            Phase::Probing => false,
        }
    }

    /// What it has seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counters { fires, successes, failures, timeouts, slow, rejects, opened } = &self.counters;
        Counts {
            fires: fires.load(Relaxed),
            successes: successes.load(Relaxed),
            failures: failures.load(Relaxed),
            timeouts: timeouts.load(Relaxed),
            slow: slow.load(Relaxed),
            rejects: rejects.load(Relaxed),
            opened: opened.load(Relaxed),
        }
    }

    /// Calls and errors in the window.
    #[must_use]
    pub fn window(&self, now: Tick) -> (u64, u64) {
        let slot = self.slot(now);
        (slots::sum(&self.calls, slot, SLOTS), slots::sum(&self.errors, slot, SLOTS))
    }

    /// The configuration that it was made with.
    #[must_use]
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    #[inline]
    fn slot(&self, now: Tick) -> u64 {
        now.0 / self.slot_nanos
    }
}

#[cfg(test)]
mod tests;
