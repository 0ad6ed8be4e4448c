//! What the export has come to, for the proxy's own metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Dropped {
    /// More came than the collector took.
    QueueFull,
    /// The collector doesn't want it.
    Refused,
    /// The collector could not be reached, or had no time, for as long as it was tried.
    Failed,
    /// It was not sent when the proxy ended.
    Shutdown,
}

impl Dropped {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them.
    pub const ALL: [Dropped; Self::COUNT] =
        [Dropped::QueueFull, Dropped::Refused, Dropped::Failed, Dropped::Shutdown];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Dropped::QueueFull => "queue_full",
            Dropped::Refused => "refused",
            Dropped::Failed => "failed",
            Dropped::Shutdown => "shutdown",
        }
    }
}

/// Counts of one signal. Spans, for metrics data points, are counted, but for requests and failures.
#[derive(Debug, Default)]
pub struct ExportCounts {
    exported: AtomicU64,
    dropped: [AtomicU64; Dropped::COUNT],
    requests: AtomicU64,
    failures: AtomicU64,
    queued: AtomicU64,
}

impl ExportCounts {
    /// Those that the collector has taken.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// Those that were dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize].load(Relaxed)
    }

    /// Requests that were begun, each try counted.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Those of them that the collector did not take, or not wholly.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Those that are kept at the moment, those that are being sent included.
    pub fn queued(&self) -> u64 {
        self.queued.load(Relaxed)
    }

    pub(super) fn add_exported(&self, n: u64) {
        self.exported.fetch_add(n, Relaxed);
    }

    pub(super) fn add_dropped(&self, why: Dropped, n: u64) {
        self.dropped[why as usize].fetch_add(n, Relaxed);
    }

    pub(super) fn add_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn add_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn set_queued(&self, n: usize) {
        self.queued.store(n as u64, Relaxed);
    }
}
