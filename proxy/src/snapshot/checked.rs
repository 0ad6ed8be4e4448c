//! What active health checks have found out of an endpoint, and since when it has had its share.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Mutex, PoisonError};

use bowline_core::Tick;
use bowline_core::health::{CheckCounts, Health};

/// Of one endpoint. The thread that checks writes, workers read one atomic.
#[derive(Debug, Default)]
pub struct Checked {
    health: AtomicU8,
    /// When it was added to its service, or was found to be well again, in nanoseconds; 0: there from the start.
    since: AtomicU64,
    last: Mutex<LastCheck>,
}

/// The last check of an endpoint, and all so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended; `None`: there has been none.
    pub at: Option<Tick>,
    /// Why it was bad; empty: it was good.
    pub why: String,
    /// How many there were.
    pub counts: CheckCounts,
}

impl Checked {
    /// What is known.
    #[inline]
    pub fn health(&self) -> Health {
        match self.health.load(Acquire) {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    /// The last check.
    pub fn last(&self) -> LastCheck {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has become this. Workers look again when the service's epoch has moved.
    pub fn become_now(&self, health: Health, now: Tick) {
        let before = self.health();
        if before == Health::Unhealthy && health == Health::Healthy {
            self.begin(now);
        }
        let number = match health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
        };
        self.health.store(number, Release);
    }

    /// A check has ended.
    pub fn note(&self, last: LastCheck) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// Its share grows from now on, where the service has a slow start.
    pub fn begin(&self, now: Tick) {
        self.since.store(now.0.max(1), Relaxed);
    }

    /// Since when its share grows; `None`: it has been there from the start.
    pub fn since(&self) -> Option<Tick> {
        Some(self.since.load(Relaxed)).filter(|since| *since > 0).map(Tick)
    }
}
