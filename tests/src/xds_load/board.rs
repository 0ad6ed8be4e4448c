//! Which changes were made, and which subscribers have them: pure, the time passed in.
//!
//! A change adds or removes a *marked* endpoint, whose address tells its mark. The marks of one service grow, and the oldest
//! is removed first. So the lowest and the highest mark in a list of endpoints say how many of the service's changes are in
//! it, also when several came in one push.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The number of a marked endpoint, from 1; of one service's, a later one has a higher number.
pub type Mark = u32;
/// Marked addresses are in 10.128.0.0/9; the mesh has no others there.
const FIRST: u32 = u32::from_be_bytes([10, 128, 0, 0]);
/// Most marks.
pub const MOST: Mark = (1 << 23) - 1;
const PORT: u16 = 9001;

/// The address of a marked endpoint.
#[must_use]
pub fn address(mark: Mark) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(FIRST | (mark & MOST)), PORT))
}

/// The mark of an address; `None`: it has none.
#[must_use]
pub fn mark(ip: &str) -> Option<Mark> {
    let ip = u32::from(ip.parse::<Ipv4Addr>().ok()?);
    (ip & !MOST == FIRST).then_some(ip & MOST)
}

/// What a change does to a marked endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It comes.
    Add,
    /// It goes.
    Remove,
}

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it did.
    pub kind: Kind,
    /// To which endpoint.
    pub mark: Mark,
    /// When, since the start.
    pub made: Duration,
    /// How many subscribers do not have it yet.
    pub missing: usize,
    /// When the last one got it; `None`: not all have.
    pub all: Option<Duration>,
}

/// One service's changes, in order.
#[derive(Debug, Default)]
struct Service {
    subscribers: usize,
    adds: Vec<Change>,
    removes: Vec<Change>,
}

/// All changes.
#[derive(Debug)]
pub struct Board {
    services: Vec<Service>,
    unfinished: usize,
}

/// How many changes of a service one subscriber has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    adds: usize,
    removes: usize,
}

impl Board {
    /// For so many services, without changes.
    #[must_use]
    pub fn new(services: usize) -> Self {
        Board { services: std::iter::repeat_with(Service::default).take(services).collect(), unfinished: 0 }
    }

    /// One more subscriber of a service. It has to come before the first change.
    pub fn subscribe(&mut self, service: usize) {
        self.services[service].subscribers += 1;
    }

    /// A change is made now.
    pub fn made(&mut self, service: usize, kind: Kind, mark: Mark, now: Duration) {
        let of = &mut self.services[service];
        let change = Change { kind, mark, made: now, missing: of.subscribers, all: None };
        if change.missing == 0 {
            return;
        }
        self.unfinished += 1;
        match kind {
            Kind::Add => of.adds.push(change),
            Kind::Remove => of.removes.push(change),
        }
    }

    /// A subscriber has a list of endpoints with these marks in it.
    pub fn received(
        &mut self,
        service: usize,
        marks: impl Iterator<Item = Mark>,
        seen: &mut Seen,
        now: Duration,
    ) {
        let (lowest, highest) =
            marks.fold((Mark::MAX, 0), |(lowest, highest), mark| (lowest.min(mark), highest.max(mark)));
        let of = &mut self.services[service];
        let unfinished = &mut self.unfinished;
        let mut has = |changes: &mut [Change], seen: &mut usize, done: &dyn Fn(Mark) -> bool| {
            while let Some(change) = changes.get_mut(*seen).filter(|change| done(change.mark)) {
                *seen += 1;
                change.missing -= 1;
                if change.missing == 0 {
                    change.all = Some(now);
                    *unfinished -= 1;
                }
            }
        };
        has(&mut of.adds, &mut seen.adds, &|mark| mark <= highest);
        // A list without any mark is from before the first one came.
        has(&mut of.removes, &mut seen.removes, &|mark| highest > 0 && mark < lowest);
    }

    /// How many changes have not reached all.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// All changes made at or after a time.
    pub fn since(&self, from: Duration) -> impl Iterator<Item = &Change> {
        let all = self.services.iter().flat_map(|service| service.adds.iter().chain(&service.removes));
        all.filter(move |change| change.made >= from)
    }
}

#[cfg(test)]
mod tests;
