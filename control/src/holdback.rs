//! When a new mesh that only some proxies have is given to all, and when it is not: pure, the figures passed in.

use std::time::Duration;

/// Fewer requests than this say nothing.
const LEAST_REQUESTS: u64 = 50;
/// Fewer failures than this say nothing: a single task that restarts makes some.
const LEAST_FAILURES: u64 = 10;
/// How much larger the share of failures must be where the new mesh is: 2 percentage points.
const WORSE_BY: f64 = 0.02;

/// Requests that ended, as proxies report them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With an answer that is no 5xx.
    pub good: u64,
    /// With a 5xx, or with none from an endpoint.
    pub failed: u64,
}

impl Counts {
    /// Both together.
    pub fn requests(self) -> u64 {
        self.good.saturating_add(self.failed)
    }

    /// The share of failures, 0 to 1; 0 where there were no requests.
    pub fn failure_share(self) -> f64 {
        match self.requests() {
            0 => 0.0,
            requests => self.failed as f64 / requests as f64,
        }
    }

    /// More of them.
    pub fn add(&mut self, more: Counts) {
        self.good = self.good.saturating_add(more.good);
        self.failed = self.failed.saturating_add(more.failed);
    }
}

/// What is to become of a new mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too early to say.
    Wait,
    /// All get it.
    Promote,
    /// Nobody keeps it: why, in words.
    Stop(String),
}

/// Judges a new mesh that has been tried for `elapsed`, of `tried_for` at most, by the requests of the proxies that have it, of the others in
/// the same time, and of all of them before it.
pub fn judge(
    elapsed: Duration,
    tried_for: Duration,
    trial: Counts,
    others: Counts,
    before: Counts,
) -> Verdict {
    // Where all proxies have failures, it is not the mesh.
    let usual = match others.requests() {
        0..LEAST_REQUESTS => before,
        _ => others,
    };
    let worse = trial.failure_share() > usual.failure_share() + WORSE_BY;
    if trial.requests() >= LEAST_REQUESTS && trial.failed >= LEAST_FAILURES && worse {
        return Verdict::Stop(format!(
            "{:.1} % of {} requests failed at the proxies that have it, {:.1} % of {} elsewhere",
            trial.failure_share() * 100.0,
            trial.requests(),
            usual.failure_share() * 100.0,
            usual.requests(),
        ));
    }
    if elapsed >= tried_for { Verdict::Promote } else { Verdict::Wait }
}

/// Where a client stands in the order in which clients get a new mesh: by its name, so that it is the same ones each
/// time.
pub fn order(id: &str) -> u64 {
    // FNV-1a, its upper bits first, which are mixed best.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.rotate_left(32)
}

/// The highest place in that order that still gets the new mesh: so many percent of these clients, one at least. `None`:
/// there are no clients.
pub fn threshold(percent: u8, ids: &[&str]) -> Option<u64> {
    let mut places: Vec<u64> = ids.iter().map(|id| order(id)).collect();
    places.sort_unstable();
    let first = (places.len() * usize::from(percent)).div_ceil(100).max(1);
    places.get(first.min(places.len()).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Counts = Counts { good: 0, failed: 0 };
    const WELL: Counts = Counts { good: 10_000, failed: 10 };
    const SOON: Duration = Duration::from_secs(3);
    const TRIED_FOR: Duration = Duration::from_secs(30);

    #[test]
    fn what_goes_well_is_given_to_all_after_a_while() {
        let trial = Counts { good: 1_000, failed: 3 };
        assert_eq!(judge(SOON, TRIED_FOR, trial, WELL, WELL), Verdict::Wait);
        assert_eq!(judge(TRIED_FOR, TRIED_FOR, trial, WELL, WELL), Verdict::Promote);
        // Nobody has asked for anything: there is nothing against it.
        assert_eq!(judge(TRIED_FOR, TRIED_FOR, NONE, NONE, NONE), Verdict::Promote);
    }

    #[test]
    fn what_goes_worse_than_elsewhere_is_stopped_at_once() {
        let trial = Counts { good: 90, failed: 10 };
        assert!(
            matches!(judge(SOON, TRIED_FOR, trial, WELL, WELL), Verdict::Stop(why) if why.starts_with("10.0 % of 100"))
        );
        // The others say nothing: how it was before decides.
        assert!(matches!(judge(SOON, TRIED_FOR, trial, NONE, WELL), Verdict::Stop(_)));
        // A handful of failures is none of its doing, and so is what all others have as well.
        assert_eq!(judge(SOON, TRIED_FOR, Counts { good: 0, failed: 9 }, WELL, WELL), Verdict::Wait);
        let bad = Counts { good: 900, failed: 100 };
        assert_eq!(judge(SOON, TRIED_FOR, trial, bad, WELL), Verdict::Wait);
    }

    #[test]
    fn a_share_of_the_clients_gets_it_and_one_at_least() {
        let ids: Vec<String> = (0..1000).map(|n| format!("task-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let first = |percent| {
            let at_most = threshold(percent, &ids).unwrap();
            ids.iter().filter(|id| order(id) <= at_most).count()
        };
        assert_eq!((first(1), first(10), first(99)), (10, 100, 990));
        assert_eq!(threshold(1, &ids[..3]), ids[..3].iter().map(|id| order(id)).min());
        assert_eq!(threshold(1, &[]), None);
    }
}
