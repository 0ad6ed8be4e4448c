//! What is counted of the zone that `--publish-zone` keeps. Without one the metrics have no samples.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A call of Route 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Which zone is it?
    Get,
    /// A page of its records.
    List,
    /// A batch of changes.
    Change,
}

/// What has come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went well.
    Ok,
    /// Too much was asked.
    Throttled,
    /// It failed in another way.
    Failed,
}

const CALLS: [(Call, &str); 3] = [(Call::Get, "get"), (Call::List, "list"), (Call::Change, "change")];
const OUTCOMES: [(Outcome, &str); 3] =
    [(Outcome::Ok, "ok"), (Outcome::Throttled, "throttled"), (Outcome::Failed, "failed")];
const STATES: [&str; 5] = ["published", "pending", "taken", "outside", "leaving"];
const ACTIONS: [&str; 3] = ["created", "replaced", "deleted"];

/// How many names are how in the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// There, as they should be.
    pub published: usize,
    /// Soon to be.
    pub pending: usize,
    /// Somebody else has a record there.
    pub taken: usize,
    /// Outside of the zone.
    pub outside: usize,
    /// Not in the mesh any more, and taken out soon.
    pub leaving: usize,
}

/// The counters of one zone.
#[derive(Debug, Default)]
pub struct ZoneMetrics {
    kept: AtomicBool,
    calls: [[AtomicU64; OUTCOMES.len()]; CALLS.len()],
    changes: [AtomicU64; ACTIONS.len()],
    disturbed: AtomicU64,
    names: [AtomicU64; STATES.len()],
}

impl ZoneMetrics {
    /// There is a zone.
    pub fn kept(&self) {
        self.kept.store(true, Relaxed);
    }

    /// Route 53 was asked.
    pub fn called(&self, call: Call, outcome: Outcome) {
        self.calls[call as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    /// The records of so many names were made, put right, and taken away.
    pub fn changed(&self, created: usize, replaced: usize, deleted: usize) {
        for (counter, more) in self.changes.iter().zip([created, replaced, deleted]) {
            counter.fetch_add(more as u64, Relaxed);
        }
    }

    /// Somebody else has changed the records of so many names.
    pub fn disturbed(&self, names: usize) {
        self.disturbed.fetch_add(names as u64, Relaxed);
    }

    /// How the names are, as far as they were planned last.
    pub fn names(&self, now: NameCounts) {
        let NameCounts { published, pending, taken, outside, leaving } = now;
        let counts = [published, pending, taken, outside, leaving];
        for (gauge, now) in self.names.iter().zip(counts) {
            gauge.store(now as u64, Relaxed);
        }
    }

    /// The samples of a metric.
    pub(super) fn samples(&self, name: &str, page: &mut String) {
        if !self.kept.load(Relaxed) {
            return;
        }
        let mut line = |labels: &str, value: &AtomicU64| {
            let _ = writeln!(page, "{name}{labels} {}", value.load(Relaxed));
        };
        match name {
            "bowline_control_zone_names" => {
                for (state, value) in STATES.iter().zip(&self.names) {
                    line(&format!("{{state=\"{state}\"}}"), value);
                }
            }
            "bowline_control_zone_requests_total" => {
                for ((_, call), outcomes) in CALLS.iter().zip(&self.calls) {
                    for ((_, result), value) in OUTCOMES.iter().zip(outcomes) {
                        line(&format!("{{call=\"{call}\",result=\"{result}\"}}"), value);
                    }
                }
            }
            "bowline_control_zone_changes_total" => {
                for (action, value) in ACTIONS.iter().zip(&self.changes) {
                    line(&format!("{{action=\"{action}\"}}"), value);
                }
            }
            "bowline_control_zone_disturbed_total" => line("", &self.disturbed),
            _ => unreachable!("{name} is in the catalogue and nowhere else"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_belong_to_what_is_counted() {
        let zone = ZoneMetrics::default();
        let sample = |zone: &ZoneMetrics, name: &str| {
            let mut page = String::new();
            zone.samples(name, &mut page);
            page
        };
        assert_eq!(sample(&zone, "bowline_control_zone_names"), "", "without a zone there are none");
        zone.kept();
        for (at, (call, _)) in CALLS.iter().enumerate() {
            assert_eq!(*call as usize, at);
        }
        for (at, (outcome, _)) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, at);
        }
        zone.called(Call::Change, Outcome::Throttled);
        let page = sample(&zone, "bowline_control_zone_requests_total");
        assert!(page.contains("{call=\"change\",result=\"throttled\"} 1\n"), "{page}");
        assert_eq!(page.matches(" 0\n").count(), 8, "{page}");
        zone.changed(3, 2, 1);
        let page = sample(&zone, "bowline_control_zone_changes_total");
        assert!(page.contains("\"created\"} 3\n") && page.contains("\"deleted\"} 1\n"), "{page}");
        zone.names(NameCounts { published: 7, leaving: 4, ..NameCounts::default() });
        let page = sample(&zone, "bowline_control_zone_names");
        assert!(page.contains("\"published\"} 7\n") && page.contains("\"leaving\"} 4\n"), "{page}");
    }
}
