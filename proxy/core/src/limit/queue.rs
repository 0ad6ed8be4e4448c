//! Who comes next.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Tick;
use crate::time::nanos;

/// A queue that was not empty for less than this is a burst (Facebook's and CoDel's 100 ms). It is also the least that
/// anyone may wait under lasting overload.
pub const STANDING: Duration = Duration::from_millis(100);
/// Under lasting overload one may wait for so many turns: enough that a place that becomes free finds somebody.
const TURNS: u64 = 8;

/// One place in a queue; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Those who wait, oldest first.
///
/// Overload counts as lasting when the queue has not been empty for [`STANDING`], and after that everybody who was in
/// it at that moment has been served or has gone, and still others wait. A burst that is worked off, however slowly,
/// is served in order to its end. It is over when the queue has been empty.
///
/// Under lasting overload the newest comes first, and nobody waits longer than eight turns (the mean time between two
/// who were served), or [`STANDING`] if that is longer.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    next: u64,
    /// Since when it has not been empty, and how many have been served since.
    busy: Tick,
    served: u64,
    phase: Phase,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: Ticket,
    since: Tick,
    item: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Empty not long ago.
    Burst,
    /// Not empty for a while; all up to this ticket must have left before it counts as lasting.
    Standing(Ticket),
    Overload,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { waiting: VecDeque::new(), next: 0, busy: Tick::ZERO, served: 0, phase: Phase::Burst }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the overload is a lasting one.
    pub fn is_overloaded(&self) -> bool {
        self.phase == Phase::Overload
    }

    /// One more.
    pub fn push(&mut self, now: Tick, item: T) -> Ticket {
        if self.waiting.is_empty() {
            (self.busy, self.served, self.phase) = (now, 0, Phase::Burst);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting { ticket, since: now, item });
        self.look(now);
        ticket
    }

    /// Who is served next.
    pub fn pop(&mut self, now: Tick) -> Option<T> {
        self.look(now);
        let next = match self.phase {
            Phase::Overload => self.waiting.pop_back(),
            Phase::Burst | Phase::Standing(_) => self.waiting.pop_front(),
        };
        self.served += u64::from(next.is_some());
        next.map(|waiting| waiting.item)
    }

    /// The first that this is of use to, where what has become free is not of use to everybody; `None` also when
    /// whoever comes next has waited for [`STANDING`] and can't use it, so that nobody is passed over for ever.
    pub fn pop_if(&mut self, now: Tick, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.look(now);
        let overload = self.phase == Phase::Overload;
        let next = if overload { self.waiting.back() } else { self.waiting.front() }?;
        if now.since(next.since) > STANDING && !fits(&next.item) {
            return None;
        }
        let at = match overload {
            true => self.waiting.iter().rposition(|waiting| fits(&waiting.item)),
            false => self.waiting.iter().position(|waiting| fits(&waiting.item)),
        }?;
        self.served += 1;
        self.waiting.remove(at).map(|waiting| waiting.item)
    }

    /// Somebody who has waited longer than there is hope, with how long it was.
    pub fn expired(&mut self, now: Tick) -> Option<(T, Duration)> {
        self.look(now);
        let oldest = self.waiting.front()?.since;
        let waited = now.since(oldest);
        if self.phase != Phase::Overload || waited <= self.longest(now) {
            return None;
        }
        self.waiting.pop_front().map(|waiting| (waiting.item, waited))
    }

    /// Takes one out who does not wait any more; `None` when it was served already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let at = self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        self.waiting.remove(at).map(|waiting| waiting.item)
    }

    /// Those who wait, oldest first.
    #[cfg(test)]
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.item)
    }

    fn longest(&self, now: Tick) -> Duration {
        let turn = now.nanos_since(self.busy) / self.served.max(1);
        Duration::from_nanos(turn.saturating_mul(TURNS).max(nanos(STANDING)))
    }

    /// Whether it is still a burst.
    fn look(&mut self, now: Tick) {
        let (Some(oldest), Some(newest)) = (self.waiting.front(), self.waiting.back()) else { return };
        match self.phase {
            Phase::Burst if now.since(self.busy) >= STANDING => self.phase = Phase::Standing(newest.ticket),
            Phase::Standing(last) if oldest.ticket > last => self.phase = Phase::Overload,
            Phase::Burst | Phase::Standing(_) | Phase::Overload => {}
        }
    }
}
