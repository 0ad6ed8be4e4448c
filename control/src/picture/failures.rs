//! The last failures of all proxies.

use std::collections::VecDeque;

use bowline_api::picture::Failure;
use bowline_xds::load_report;

/// How many are kept.
pub(super) const KEPT: usize = 200;
/// Among so many of the last ones the same failure is looked for,
const LOOKED_AT: usize = 32;
/// if it is not older than this, in seconds.
const SAME_WITHIN: f64 = 10.0;

/// The last ones, in the order in which they were reported.
#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<Failure>);

impl Failures {
    /// One more, of a proxy. `now`: seconds since 1970.
    pub(super) fn add(&mut self, proxy: &str, caller: &str, failure: &load_report::Failure, now: f64) {
        // Its clock may run ahead of ours.
        let at = (failure.at_micros as f64 / 1e6).min(now);
        let is_same = |known: &Failure| {
            at - known.at <= SAME_WITHIN
                && known.proxy == proxy
                && known.reason == failure.reason
                && known.endpoint == failure.endpoint
                && known.told == failure.told
                && known.service == failure.service
                && known.detail == failure.detail
        };
        let from = self.0.len().saturating_sub(LOOKED_AT);
        let known = self.0.range(from..).rposition(is_same);
        if let Some(mut known) = known.and_then(|at| self.0.remove(from + at)) {
            known.times = known.times.saturating_add(failure.times);
            known.at = known.at.max(at);
            self.0.push_back(known);
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Failure {
            at,
            proxy: proxy.to_owned(),
            caller: caller.to_owned(),
            service: failure.service.clone(),
            endpoint: failure.endpoint,
            reason: failure.reason.clone(),
            detail: failure.detail.clone(),
            told: failure.told,
            times: failure.times,
        });
    }

    /// All of them, the latest first.
    pub(super) fn latest_first(&self) -> Vec<Failure> {
        let mut list: Vec<Failure> = self.0.iter().rev().cloned().collect();
        list.sort_by(|a, b| b.at.total_cmp(&a.at));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(second: u64, detail: &str) -> load_report::Failure {
        load_report::Failure {
            at_micros: second * 1_000_000,
            detail: detail.to_owned(),
            times: 2,
            ..load_report::Failure::default()
        }
    }

    #[test]
    fn the_same_failures_are_one_line() {
        let mut failures = Failures::default();
        for (second, detail) in [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (30, "a")] {
            failures.add("p", "c", &failure(second, detail), 1000.0);
        }
        failures.add("q", "c", &failure(2000, "a"), 1000.0);
        let list: Vec<_> =
            failures.latest_first().into_iter().map(|f| (f.at, f.proxy, f.detail, f.times)).collect();
        let line = |at, proxy: &str, detail: &str, times| (at, proxy.to_owned(), detail.to_owned(), times);
        assert_eq!(
            list,
            [
                line(1000.0, "q", "a", 2),
                line(30.0, "p", "a", 2),
                line(4.0, "p", "a", 6),
                line(2.0, "p", "b", 2)
            ]
        );
    }

    #[test]
    fn the_last_ones_stay() {
        let mut failures = Failures::default();
        for n in 0..300 {
            failures.add("p", "c", &failure(n, &n.to_string()), 1000.0);
        }
        let list = failures.latest_first();
        assert_eq!((list.len(), list[0].detail.as_str(), list[199].detail.as_str()), (200, "299", "100"));
    }
}
