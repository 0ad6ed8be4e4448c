//! When Cloud Map is asked what about one service. Pure: the time and chance are passed in.

use std::time::Duration;

use crate::backoff::Backoff;

/// How often the revision is asked for.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// How often the instances are, whether the revision has moved or not.
pub(super) const LIST: Duration = Duration::from_secs(10);
/// How long after a failure the same is asked again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A time since some fixed moment, which is the caller's.
type Moment = Duration;

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Revision,
    Instances,
}

/// One service's questions.
#[derive(Debug)]
pub(super) struct Schedule {
    /// That of the instances which were listed last.
    known: Option<i64>,
    look: Moment,
    list: Moment,
    backoff: Backoff,
}

impl Schedule {
    /// The first question is for the instances, at once: `chance`, 0 to 1, moves what comes after it.
    pub(super) fn new(now: Moment, chance: f64) -> Self {
        let look = now + LOOK.mul_f64(0.5 + 0.5 * chance);
        Schedule { known: None, look, list: now, backoff: Backoff::new(AGAIN.0, AGAIN.1) }
    }

    /// What is asked next, and when.
    pub(super) fn next(&self) -> (Moment, Ask) {
        if self.list <= self.look { (self.list, Ask::Instances) } else { (self.look, Ask::Revision) }
    }

    /// The revision is this.
    pub(super) fn revision(&mut self, revision: Option<i64>, now: Moment) {
        self.backoff.succeeded();
        self.look = now + LOOK;
        // Where there is none, the list alone will tell.
        if revision.is_some() && revision != self.known {
            self.list = now;
        }
    }

    /// The instances have been listed. A list that is older than the revision, from a server that lags behind, is asked for
    /// again at the next look.
    pub(super) fn listed(&mut self, revision: Option<i64>, now: Moment) {
        self.backoff.succeeded();
        self.known = revision.or(self.known);
        self.look = self.look.max(now + LOOK / 2);
        self.list = now + LIST;
    }

    /// A question has failed; `chance`, 0 to 1.
    pub(super) fn failed(&mut self, now: Moment, chance: f64) {
        let again = now + self.backoff.failed(chance);
        // Afterwards the instances, since whatever has happened meanwhile is in them; and one question, not two.
        self.list = again;
        self.look = again + LOOK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_list_comes_first_then_looks_and_another_list_after_ten_seconds() {
        let mut schedule = Schedule::new(at(0.0), 1.0);
        assert_eq!(schedule.next(), (at(0.0), Ask::Instances));
        schedule.listed(Some(7), at(0.1));
        let mut asked = Vec::new();
        while asked.len() < 7 {
            let (due, ask) = schedule.next();
            match ask {
                Ask::Revision => schedule.revision(Some(7), due),
                Ask::Instances => schedule.listed(Some(7), due),
            }
            asked.push((due.as_secs_f64().round(), ask));
        }
        let look = |seconds| (seconds, Ask::Revision);
        let (list, looks) = ((10.0, Ask::Instances), [2.0, 4.0, 6.0, 8.0, 10.0].map(look));
        assert_eq!(asked[..5], looks);
        assert_eq!(asked[5], list);
    }

    #[test]
    fn a_revision_that_has_moved_asks_for_the_list_at_once() {
        let mut schedule = Schedule::new(at(0.0), 0.0);
        schedule.listed(Some(7), at(0.0));
        schedule.revision(Some(8), at(2.0));
        assert_eq!(schedule.next(), (at(2.0), Ask::Instances));
        // It may go down too; and a list that lags behind is no end of it.
        schedule.listed(Some(7), at(2.1));
        assert_eq!(schedule.next(), (at(4.0), Ask::Revision));
        schedule.revision(Some(8), at(4.0));
        assert_eq!(schedule.next(), (at(4.0), Ask::Instances));
        schedule.listed(Some(8), at(4.1));
        schedule.revision(Some(8), at(6.0));
        assert_eq!(schedule.next(), (at(8.0), Ask::Revision));
        // No revision: nothing is known by it.
        schedule.revision(None, at(8.0));
        assert_eq!(schedule.next().1, Ask::Revision);
    }

    #[test]
    fn failures_wait_longer_and_longer_and_ask_one_thing() {
        let mut schedule = Schedule::new(at(0.0), 0.0);
        let mut now = at(0.0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            schedule.failed(now, 1.0);
            let (due, ask) = schedule.next();
            assert_eq!(ask, Ask::Instances);
            waits.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        schedule.listed(Some(1), now);
        schedule.failed(now, 0.0);
        assert_eq!(schedule.next().0 - now, at(0.5));
    }
}
