//! What is counted of routes. Any worker adds to it: one atomic addition a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::Route;
use crate::telemetry::metrics::Class;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Mirrored {
    /// It was answered.
    Answered,
    /// There was no answer, or nobody to send it to.
    Failed,
    /// There was no room for it: too many copies are under way, or the service has reached its limits.
    Busy,
    /// Its body was not kept: larger than `maxBodyBytes`, or not complete when the response came.
    NoBody,
}

impl Mirrored {
    /// All of them.
    pub const ALL: [Mirrored; 4] = [Mirrored::Answered, Mirrored::Failed, Mirrored::Busy, Mirrored::NoBody];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Mirrored::Answered => "answered",
            Mirrored::Failed => "failed",
            Mirrored::Busy => "busy",
            Mirrored::NoBody => "no_body",
        }
    }
}

/// What is counted of one route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Requests by class of the response.
    requests: [AtomicU64; Class::COUNT],
    /// Copies, by what became of them.
    mirrored: [AtomicU64; Mirrored::ALL.len()],
    /// Requests that were held up on purpose.
    delayed: AtomicU64,
    /// Requests that were answered with an error on purpose.
    aborted: AtomicU64,
}

impl RouteCounters {
    /// One more request.
    #[inline]
    pub fn count(&self, class: Class) {
        self.requests[class as usize].fetch_add(1, Relaxed);
    }

    /// Requests of this class so far.
    pub fn requests(&self, class: Class) -> u64 {
        self.requests[class as usize].load(Relaxed)
    }

    /// One more copy.
    pub fn mirror(&self, result: Mirrored) {
        self.mirrored[result as usize].fetch_add(1, Relaxed);
    }

    /// Copies so far of which this became.
    pub fn mirrored(&self, result: Mirrored) -> u64 {
        self.mirrored[result as usize].load(Relaxed)
    }

    /// One more request that is held up.
    pub fn delay(&self) {
        self.delayed.fetch_add(1, Relaxed);
    }

    /// One more request that is answered with an error.
    pub fn abort(&self) {
        self.aborted.fetch_add(1, Relaxed);
    }

    /// What was done on purpose so far, by the word for it.
    pub fn faults(&self) -> [(&'static str, u64); 2] {
        [("delay", self.delayed.load(Relaxed)), ("abort", self.aborted.load(Relaxed))]
    }
}

/// The counters of a service's routes by name: they outlive snapshots.
#[derive(Debug, Default)]
pub struct RouteCounts(Mutex<BTreeMap<Arc<str>, Arc<RouteCounters>>>);

impl RouteCounts {
    /// Those of the route with this name.
    pub(super) fn of(&self, name: &Arc<str>) -> Arc<RouteCounters> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.clone()).or_default().clone()
    }

    /// Forgets those of routes that have gone.
    pub(super) fn keep(&self, routes: &[Arc<Route>]) {
        let stays = |name: &Arc<str>| routes.iter().any(|route| route.name.as_ref() == Some(name));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| stays(name));
    }
}
