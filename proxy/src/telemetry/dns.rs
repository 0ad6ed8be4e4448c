//! How the look-ups of a service's DNS name go, for metrics, admin pages and error texts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use bowline_api::model::{DnsRecordType, DnsSource};
use bowline_core::Tick;

use super::metrics::ByReason;

/// What is known of a service's DNS name. Discovery writes it; it outlives snapshots.
#[derive(Debug)]
pub struct DnsStatus {
    /// The name and type that are looked up, as a person would write them.
    pub question: String,
    /// Look-ups by result.
    pub lookups: ByReason,
    /// When the last good answer came, in ticks; 0: never.
    last_good: AtomicU64,
    /// What is wrong with the last answer.
    trouble: Mutex<Option<String>>,
}

impl DnsStatus {
    /// Nothing is known yet.
    pub fn new(source: &DnsSource) -> Self {
        let record_type = match source.record_type {
            DnsRecordType::A => "A",
            DnsRecordType::Aaaa => "AAAA",
            DnsRecordType::Srv => "SRV",
        };
        DnsStatus {
            question: format!("{} {record_type}", source.name),
            lookups: ByReason::default(),
            last_good: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    /// A look-up has ended. `good`: it brought endpoints; `trouble`: what is wrong nevertheless, or altogether.
    pub fn looked_up(&self, result: &'static str, good: bool, trouble: Option<&str>, now: Tick) {
        self.lookups.inc(result);
        if good {
            self.last_good.store(now.0.max(1), Relaxed);
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble.map(str::to_owned);
    }

    /// Seconds since the last good answer; `None` when there has been none.
    pub fn age_seconds(&self, now: Tick) -> Option<f64> {
        match self.last_good.load(Relaxed) {
            0 => None,
            tick => Some(now.since(Tick(tick)).as_secs_f64()),
        }
    }

    /// What is wrong with the last answer; `None` when it was good, or there has been none yet.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a service with this name has no endpoint.
impl fmt::Display for DnsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trouble() {
            Some(why) => write!(f, "its DNS name {} did not resolve: {why}", self.question),
            None => write!(f, "its DNS name {} has not been resolved yet", self.question),
        }
    }
}
