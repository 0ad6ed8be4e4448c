//! Who comes next.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Tick;
use crate::time::nanos;

/// A queue is watched for at least so long before it is judged (Facebook's and CoDel's 100 ms). It is also the least
/// that anyone may wait under lasting overload.
pub const STANDING: Duration = Duration::from_millis(100);
/// And until each place has changed hands so many times.
const ROUNDS: u64 = 8;
/// One lost for so many who are served is more than chance.
const LOST: u64 = 20;
/// Under lasting overload one may wait for so many turns: enough that a place that becomes free finds somebody.
const TURNS: u64 = 8;
/// After so long under overload order is given another try.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// One place in a queue; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Those who wait, oldest first.
///
/// That somebody always waits is no overload yet: a pool of forty clients at a service that takes five at a time is
/// served in order, and nobody is worse off. Nor is a burst, however large and slowly it is worked off. Overload is
/// when callers are lost: over [`STANDING`], and until each place has changed hands eight times, the queue was never
/// empty, and for twenty who were served at least one hung up, in the queue or soon after it, or was sent away because
/// the queue was full of others who had waited for longer than [`STANDING`].
///
/// Under overload the newest comes first, and nobody waits longer than eight turns (the mean time between two who are
/// served), or [`STANDING`] if that is longer. It is over when the queue has been empty, and order is tried again after
/// five seconds, if only to see.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    next: u64,
    /// How many are served at a time.
    places: u64,
    /// Since when it is watched, and has not been empty; who was served and who was lost since.
    begun: Tick,
    served: u64,
    lost: u64,
    overload: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: Ticket,
    since: Tick,
    item: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            waiting: VecDeque::new(),
            next: 0,
            places: 1,
            begun: Tick::ZERO,
            served: 0,
            lost: 0,
            overload: false,
        }
    }
}

impl<T> Queue<T> {
    /// How many are served at a time; 1 until told otherwise.
    pub fn set_places(&mut self, places: u32) {
        self.places = places.into();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there is lasting overload.
    pub fn is_overloaded(&self) -> bool {
        self.overload
    }

    /// One more.
    pub fn push(&mut self, now: Tick, item: T) -> Ticket {
        if self.waiting.is_empty() {
            self.watch(now, false);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting { ticket, since: now, item });
        ticket
    }

    /// One was sent away because too many wait.
    pub fn refused(&mut self, now: Tick) {
        // A short queue that is full is what its owner wanted.
        let long = |oldest: &Waiting<T>| now.since(oldest.since) > STANDING;
        self.lost += u64::from(self.waiting.front().is_some_and(long));
    }

    /// One who had waited hung up before the answer was there. Without these a queue could be just so long that
    /// everybody is served and nobody answered.
    pub fn served_in_vain(&mut self) {
        self.lost += u64::from(!self.waiting.is_empty());
    }

    /// Who is served next.
    pub fn pop(&mut self, now: Tick) -> Option<T> {
        self.judge(now);
        let next = if self.overload { self.waiting.pop_back() } else { self.waiting.pop_front() };
        self.served += u64::from(next.is_some());
        next.map(|waiting| waiting.item)
    }

    /// The first that this is of use to, where what has become free is not of use to everybody; `None` also when
    /// whoever comes next has waited for [`STANDING`] and can't use it, so that nobody is passed over for ever.
    pub fn pop_if(&mut self, now: Tick, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.judge(now);
        let next = if self.overload { self.waiting.back() } else { self.waiting.front() }?;
        if now.since(next.since) > STANDING && !fits(&next.item) {
            return None;
        }
        let at = match self.overload {
            true => self.waiting.iter().rposition(|waiting| fits(&waiting.item)),
            false => self.waiting.iter().position(|waiting| fits(&waiting.item)),
        }?;
        self.served += 1;
        self.waiting.remove(at).map(|waiting| waiting.item)
    }

    /// Somebody who has waited longer than there is hope, with how long it was. There may be more.
    pub fn expired(&mut self, now: Tick) -> Option<(T, Duration)> {
        self.judge(now);
        let waited = now.since(self.waiting.front()?.since);
        if !self.overload || waited <= self.longest(now) {
            return None;
        }
        self.waiting.pop_front().map(|waiting| (waiting.item, waited))
    }

    /// Takes one out who does not wait any more; `None` when it was served already. `lost`: it has hung up, or its time
    /// was over.
    pub fn remove(&mut self, ticket: Ticket, lost: bool) -> Option<T> {
        let at = self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        self.lost += u64::from(lost);
        self.waiting.remove(at).map(|waiting| waiting.item)
    }

    /// Those who wait, oldest first.
    #[cfg(test)]
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.item)
    }

    fn longest(&self, now: Tick) -> Duration {
        let turn = now.nanos_since(self.begun) / self.served.max(1);
        Duration::from_nanos(turn.saturating_mul(TURNS).max(nanos(STANDING)))
    }

    fn watch(&mut self, now: Tick, overload: bool) {
        (self.begun, self.served, self.lost, self.overload) = (now, 0, 0, overload);
    }

    fn judge(&mut self, now: Tick) {
        let watched = now.since(self.begun);
        if self.waiting.is_empty() || watched < STANDING || self.served < ROUNDS * self.places {
            return;
        }
        match self.overload {
            true if watched >= TRY_AGAIN => self.watch(now, false),
            true => {}
            false => self.watch(now, self.lost * LOST >= self.served),
        }
    }
}
