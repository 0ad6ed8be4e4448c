use std::collections::BTreeSet;
use std::time::Duration;

use super::{Joined, Left, Level, Queue, STANDING};
use crate::Tick;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Tick {
    Tick(ms * 1_000_000)
}

#[test]
fn a_level_counts_to_its_limit_and_no_further() {
    let level = Level::default();
    assert!(level.try_take(2) && level.try_take(2) && !level.try_take(2));
    assert_eq!(level.leave(), Left::Free);
    assert!(level.try_take(2));
    assert_eq!((level.taken(), level.waiting()), (2, 0));
}

#[test]
fn while_somebody_waits_nobody_gets_past() {
    let level = Level::default();
    assert!(level.try_take(1));
    assert_eq!(level.join(1), Joined::Waiting);
    assert_eq!(level.leave(), Left::Wanted);
    // The place is still taken, and newcomers don't get it.
    assert!(!level.try_take(1));
    assert!(level.may_pass_on(1));
    assert_eq!((level.taken(), level.waiting()), (1, 0));
    assert_eq!(level.leave(), Left::Free);
    assert_eq!(level.join(1), Joined::Taken);
}

#[test]
fn a_lowered_limit_takes_places_as_they_come_back() {
    let level = Level::default();
    assert!((0..3).all(|_| level.try_take(3)));
    assert_eq!(level.join(3), Joined::Waiting);
    for left in [2, 1] {
        assert_eq!(level.leave(), Left::Wanted);
        assert!(!level.may_pass_on(1));
        assert_eq!(level.taken(), left);
    }
    assert_eq!(level.leave(), Left::Wanted);
    assert!(level.may_pass_on(1));
}

#[test]
fn a_raised_limit_lets_in_as_many_as_there_is_room_for() {
    let level = Level::default();
    assert!(level.try_take(1));
    for _ in 0..3 {
        assert_eq!(level.join(1), Joined::Waiting);
    }
    assert!(!level.admit(1));
    assert!(level.admit(3) && level.admit(3) && !level.admit(3));
    assert_eq!((level.taken(), level.waiting()), (3, 1));
    level.give_up();
    assert!(!level.admit(10));
}

#[test]
fn a_burst_is_served_in_order_however_slowly() {
    let mut queue = Queue::default();
    for n in 0..50 {
        queue.push(at(0), n);
    }
    for n in 0..50 {
        let now = at(n * 1_000);
        assert_eq!(queue.expired(now), None);
        assert_eq!(queue.pop(now), Some(n));
    }
    assert!(queue.is_empty() && !queue.is_overloaded());
}

#[test]
fn lasting_overload_serves_the_newest_and_sends_the_old_away() {
    let mut queue = Queue::default();
    let mut lasting = None;
    // Three come for each one that is served, a millisecond a turn, into a queue of twenty.
    for ms in 0..1_000 {
        let now = at(ms);
        while queue.expired(now).is_some() {}
        for _ in 0..3 {
            if queue.len() < 20 {
                queue.push(now, now);
            }
        }
        let waited = now.since(queue.pop(now).expect("somebody waits"));
        if queue.is_overloaded() {
            let begun = *lasting.get_or_insert(now);
            // Those of this very millisecond, or of the one before.
            assert!(now == begun || waited <= MS, "{waited:?} at {ms} ms");
        } else {
            assert!(lasting.is_none() && waited <= 25 * MS, "{waited:?} at {ms} ms");
        }
    }
    let lasting = lasting.expect("it was seen");
    assert!((100..150).contains(&(lasting.0 / 1_000_000)), "{lasting:?}");
    // Nobody is left in there from long ago.
    assert!(queue.expired(at(1_000)).is_none());
    let waited = queue.expired(at(2_000)).expect("overload, still").1;
    assert!(waited <= Duration::from_secs(1) + STANDING + MS, "{waited:?}");
    // Over when it is empty.
    while queue.pop(at(2_000)).is_some() {}
    queue.push(at(2_001), at(2_001));
    assert!(!queue.is_overloaded());
}

#[test]
fn who_leaves_is_out_and_the_order_stays() {
    let mut queue = Queue::default();
    let tickets: Vec<_> = (0..5).map(|n| queue.push(at(0), n)).collect();
    assert_eq!(queue.remove(tickets[0]), Some(0));
    assert_eq!(queue.remove(tickets[3]), Some(3));
    assert_eq!(queue.remove(tickets[3]), None);
    assert_eq!(
        [queue.pop(at(1)), queue.pop(at(1)), queue.pop(at(1)), queue.pop(at(1))],
        [Some(1), Some(2), Some(4), None]
    );
}

#[test]
fn what_fits_only_some_goes_to_the_first_of_them_but_passes_nobody_over_for_ever() {
    let mut queue = Queue::default();
    for n in [1, 2, 4, 6] {
        queue.push(at(0), n);
    }
    let even = |n: &i32| n % 2 == 0;
    assert_eq!(queue.pop_if(at(1), even), Some(2));
    assert_eq!(queue.pop_if(at(101), even), None);
    assert_eq!(queue.pop(at(101)), Some(1));
    assert_eq!(queue.pop_if(at(102), even), Some(4));
}

/// Somebody in the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Caller(u32);

/// A level and a queue as the proxy puts them together.
#[derive(Default)]
struct Limited {
    level: Level,
    queue: Queue<Caller>,
    served: BTreeSet<Caller>,
    limit: u32,
}

impl Limited {
    fn leave(&mut self, now: Tick, caller: Caller) -> Option<Caller> {
        assert!(self.served.remove(&caller));
        if self.level.leave() == Left::Free || !self.level.may_pass_on(self.limit) {
            return None;
        }
        let next = self.queue.pop(now).expect("who is counted is in the queue");
        self.served.insert(next);
        Some(next)
    }

    fn check(&self) {
        assert_eq!(self.level.taken() as usize, self.served.len());
        assert_eq!(self.level.waiting() as usize, self.queue.len());
        // Nobody waits while there is room: that would be a wake-up lost.
        assert!(self.queue.is_empty() || self.level.taken() >= self.limit);
    }
}

#[test]
fn whatever_happens_the_limit_holds_and_no_wake_up_is_lost() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut all = Limited { limit: rng.u32(1..10), ..Limited::default() };
        let mut tickets = Vec::new();
        let mut now = at(0);
        for n in 0..2_000 {
            now = Tick(now.0 + rng.u64(0..2_000_000));
            let before = all.level.taken();
            match rng.u32(0..20) {
                0..9 => {
                    let caller = Caller(n);
                    if all.level.try_take(all.limit) || all.level.join(all.limit) == Joined::Taken {
                        all.served.insert(caller);
                        assert!(all.level.taken() <= all.limit, "seed {seed}");
                    } else {
                        tickets.push((all.queue.push(now, caller), caller));
                    }
                }
                9..17 => {
                    let served: Vec<_> = all.served.iter().copied().collect();
                    if let Some(caller) = rng.choice(&served) {
                        let waited = all.queue.waiting_in_order();
                        let next = all.leave(now, *caller);
                        // First come, first served, unless it is overload.
                        if let (Some(next), false) = (next, all.queue.is_overloaded()) {
                            assert_eq!(Some(&next), waited.first(), "seed {seed}");
                        }
                    }
                }
                17 => {
                    if let Some((ticket, caller)) = rng.choice(&tickets)
                        && let Some(gone) = all.queue.remove(*ticket)
                    {
                        assert_eq!(gone, *caller);
                        all.level.give_up();
                    }
                }
                18 => {
                    if all.queue.expired(now).is_some() {
                        all.level.give_up();
                    }
                }
                _ => {
                    all.limit = rng.u32(1..10);
                    while all.level.admit(all.limit) {
                        let next = all.queue.pop(now).expect("who is counted is in the queue");
                        all.served.insert(next);
                    }
                }
            }
            assert!(all.level.taken() <= before.max(all.limit), "seed {seed}");
            all.check();
        }
        // All go home.
        while let Some(caller) = all.served.first().copied() {
            all.leave(now, caller);
            all.check();
        }
        assert_eq!((all.level.taken(), all.level.waiting()), (0, 0));
    }
}

impl Queue<Caller> {
    fn waiting_in_order(&self) -> Vec<Caller> {
        self.items().copied().collect()
    }
}
