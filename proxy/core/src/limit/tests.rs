use std::collections::{BTreeSet, VecDeque};
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

/// Nor is it overload when they come one after the other and slowly, and for a while faster than they are served.
#[test]
fn a_burst_that_takes_its_time_is_served_in_order_too() {
    let mut queue = Queue::default();
    queue.set_places(8);
    let (mut next, mut served) = (0, 0);
    for ms in 0..20_000 {
        let now = at(ms);
        assert_eq!(queue.expired(now), None);
        // 16 a second for three seconds, while 8 a second are served.
        if ms % 62 == 0 && ms < 3_000 {
            queue.push(now, next);
            next += 1;
        }
        if ms % 125 == 124
            && let Some(first) = queue.pop(now)
        {
            assert_eq!(first, served);
            served += 1;
        }
    }
    assert_eq!((next, served), (49, 49));
}

/// Forty clients, each of which comes again as soon as it has been served, and places for five.
#[test]
fn a_queue_that_is_never_empty_is_no_overload_as_long_as_nobody_is_lost() {
    let mut queue = Queue::default();
    queue.set_places(5);
    for n in 0..35 {
        queue.push(at(0), n);
    }
    for ms in 1..10_000 {
        let first = queue.pop(at(ms)).expect("somebody waits");
        assert_eq!(
            (first, queue.expired(at(ms))),
            (ms as i32 % 35 - 1 + if ms % 35 == 0 { 35 } else { 0 }, None)
        );
        queue.push(at(ms), first);
    }
}

/// Callers with so much patience come for five seconds, `load` for each one that is served in its millisecond. Returns
/// which share of the turns went to callers who were still there.
fn goodput(load: u32, patience: Duration, room: usize) -> f64 {
    let mut queue = Queue::default();
    let (mut good, mut waiting) = (0, VecDeque::new());
    for ms in 0..5_000 {
        let now = at(ms);
        while queue.expired(now).is_some() {}
        while let Some((ticket, _)) =
            waiting.pop_front_if(|(_, since): &mut (_, Tick)| now.since(*since) > patience)
        {
            queue.remove(ticket, true);
        }
        for _ in 0..load {
            if queue.len() < room {
                waiting.push_back((queue.push(now, now), now));
            } else {
                queue.refused(now);
            }
        }
        // Serving takes a while too, and whoever hangs up meanwhile frees the place at once, for nothing.
        while let Some(since) = queue.pop(now) {
            if now.since(since) + 10 * MS <= patience {
                good += 1;
                break;
            }
            queue.served_in_vain();
        }
    }
    f64::from(good) / 5_000.0
}

#[test]
fn under_lasting_overload_the_work_goes_into_answers_that_are_wanted() {
    for (load, patience, room) in [
        (3, 300, 5_000),
        (3, 1_000, 10_000),
        (2, 100, 1_024),
        (10, 300, 1_024),
        (3, 300, 16),
        (3, 1_000, 1_024),
    ] {
        let goodput = goodput(load, Duration::from_millis(patience), room);
        assert!(goodput >= 0.93, "load {load}, patience {patience} ms, room for {room}: {goodput}");
    }
}

#[test]
fn under_overload_the_old_are_sent_away_and_it_ends_when_the_queue_is_empty() {
    let mut queue = Queue::default();
    let tickets: Vec<_> = (0..400).map(|ms| queue.push(at(ms), ms)).collect();
    for ms in 400..408 {
        assert_eq!(queue.pop(at(ms)), Some(ms - 400), "in order");
        queue.remove(tickets[ms as usize - 200], true);
    }
    assert_eq!(queue.pop(at(408)), Some(399), "the newest");
    assert!(queue.is_overloaded());
    // One was served at once, and so eight turns are next to nothing: the least is a hundred milliseconds.
    while let Some((_, waited)) = queue.expired(at(420)) {
        assert!(waited > STANDING);
    }
    assert_eq!(queue.items().next(), Some(&320));
    while queue.pop(at(502)).is_some() {}
    queue.push(at(503), 503);
    assert!(!queue.is_overloaded());
}

#[test]
fn who_leaves_is_out_and_the_order_stays() {
    let mut queue = Queue::default();
    let tickets: Vec<_> = (0..5).map(|n| queue.push(at(0), n)).collect();
    assert_eq!(queue.remove(tickets[0], true), Some(0));
    assert_eq!(queue.remove(tickets[3], true), Some(3));
    assert_eq!(queue.remove(tickets[3], true), None);
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
                        && let Some(gone) = all.queue.remove(*ticket, true)
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
