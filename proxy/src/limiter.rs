//! The limits of a service: what all workers together may have open to it, and who waits for what.
//!
//! While there is room, taking a place and giving it back are an atomic operation each. Only when all places are taken
//! does anyone lock the queue; who waits is woken through a channel of its own, from whichever thread a place comes.
//! A place is a guard, on its way through such a channel too: whatever becomes of the one who waited, it is given back.

mod place;
mod wait;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_api::model::Limits;
use bowline_core::Tick;
use bowline_core::limit::{Joined, Left, Level, Queue, Ticket};
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::error::{Fault, Reason};
use crate::telemetry::metrics::ByReason;

pub use place::Place;
pub use wait::{Grant, Wait};

/// Without a limit.
const NONE: u32 = u32::MAX;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests in flight.
    Request,
    /// Connections to endpoints.
    Connection,
}

/// Why a request, or a tunnel, was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// As many wait as may.
    QueueFull,
    /// It has waited for too long.
    WaitedTooLong,
    /// All connections are taken, and it is none that waits: a tunnel.
    NoConnection,
    /// As many are in flight as the service was found to bear.
    Adaptive,
}

impl Shed {
    /// All of them.
    pub const ALL: [Shed; 4] = [Shed::QueueFull, Shed::WaitedTooLong, Shed::NoConnection, Shed::Adaptive];

    /// The label's value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Shed::QueueFull => "queue_full",
            Shed::WaitedTooLong => "waited_too_long",
            Shed::NoConnection => "no_connection",
            Shed::Adaptive => "adaptive",
        }
    }
}

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// `maxRequests`
    pub requests: u32,
    /// `maxConnections`
    pub connections: u32,
    /// `maxPendingRequests`
    pub pending: u32,
}

/// Limits as numbers; `u32::MAX`: none.
#[derive(Debug)]
struct Most {
    requests: AtomicU32,
    connections: AtomicU32,
    pending: AtomicU32,
}

/// The limits of one service, and what is in use: one for all workers, and for all snapshots.
#[derive(Debug)]
pub struct Limiter {
    most: Most,
    requests: Level,
    connections: Level,
    queues: Mutex<Queues>,
    /// Each worker's bell: rung when somebody waits for a connection and idle ones may be in the way.
    bells: Mutex<Vec<Arc<Notify>>>,
    /// What was turned away, by why.
    pub shed: ByReason,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Queues {
    requests: Queue<Waiting>,
    connections: Queue<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    grant: oneshot::Sender<Grant>,
    /// Whose idle connections would do; see [`Limiter::offer_idle`].
    home: usize,
}

impl Default for Limiter {
    fn default() -> Self {
        let none = || AtomicU32::new(NONE);
        Limiter {
            most: Most { requests: none(), connections: none(), pending: none() },
            requests: Level::default(),
            connections: Level::default(),
            queues: Mutex::default(),
            bells: Mutex::default(),
            shed: ByReason::default(),
            clock: Clock::new(),
        }
    }
}

impl Limiter {
    /// From now on these limits hold. What is beyond them runs on to its end; those for whom there is room now come in.
    pub fn set(self: &Arc<Self>, limits: Option<&Limits>) {
        let of = |most: fn(&Limits) -> u32| limits.map_or(NONE, most);
        self.most.requests.store(of(|l| l.max_requests), Relaxed);
        self.most.connections.store(of(|l| l.max_connections), Relaxed);
        self.most.pending.store(of(|l| l.max_pending_requests), Relaxed);
        for kind in [Kind::Request, Kind::Connection] {
            let now = self.clock.now();
            let mut admitted = Vec::new();
            {
                let mut queues = self.queues();
                queues.of(kind).set_places(self.limit(kind));
                while self.level(kind).admit(self.limit(kind)) {
                    admitted.extend(queues.of(kind).pop(now));
                }
            }
            for waiting in admitted {
                self.grant(waiting, kind);
            }
        }
    }

    /// The limits in force, if there are any.
    pub fn limits(&self) -> Option<InForce> {
        let requests = self.most.requests.load(Relaxed);
        (requests != NONE).then(|| InForce {
            requests,
            connections: self.most.connections.load(Relaxed),
            pending: self.most.pending.load(Relaxed),
        })
    }

    /// Whether requests are counted.
    #[inline]
    pub fn counts_requests(&self) -> bool {
        self.most.requests.load(Relaxed) != NONE
    }

    /// A place for a request, if there is one; whoever gets it gives it back with [`Limiter::give_back`].
    #[inline]
    pub fn try_enter(&self) -> bool {
        self.requests.try_take(self.most.requests.load(Relaxed))
    }

    /// The same where no more than this many requests may be in flight.
    #[inline]
    pub fn try_enter_below(&self, learnt: u32) -> bool {
        self.requests.try_take(learnt.min(self.most.requests.load(Relaxed)))
    }

    /// Counts a request that was turned away because the service was found not to bear more.
    #[cold]
    pub fn shed_by_latency(&self, learnt: u32) -> Fault {
        self.shed.inc(Shed::Adaptive.as_str());
        let text = format_args!(
            "it bears {learnt} requests in flight (adaptiveConcurrency), by its latency, and has them: call it less, or give \
             it more endpoints"
        );
        Fault::unsent(Reason::Overloaded, text)
    }

    /// The right to open a connection, if there is one.
    pub fn try_connect(self: &Arc<Self>) -> Option<Place> {
        self.connections.try_take(self.limit(Kind::Connection)).then(|| Place::new(self, Kind::Connection))
    }

    /// The right to open a connection for a tunnel, which does not wait: an app that dials sees at once that it can't.
    ///
    /// # Errors
    /// All connections are in use.
    pub fn try_tunnel(self: &Arc<Self>) -> Result<Place, Fault> {
        self.try_connect().ok_or_else(|| {
            self.ring();
            self.refusal(Shed::NoConnection, Kind::Connection, Duration::ZERO)
        })
    }

    /// Queues for a place, from which [`Wait::until`] returns with it. `home`: see [`Limiter::offer_idle`].
    ///
    /// # Errors
    /// As many wait already as may.
    pub fn queue(self: &Arc<Self>, kind: Kind, home: usize) -> Result<Wait, Fault> {
        let now = self.clock.now();
        let mut queues = self.queues();
        let expired = self.expire(&mut queues, kind, now);
        let (grant, granted) = oneshot::channel();
        let full = queues.len() >= self.most.pending.load(Relaxed) as usize;
        let joined = match full {
            true if self.level(kind).try_take(self.limit(kind)) => Some(Joined::Taken),
            true => None,
            false => Some(self.level(kind).join(self.limit(kind))),
        };
        let ticket =
            (joined == Some(Joined::Waiting)).then(|| queues.of(kind).push(now, Waiting { grant, home }));
        if joined.is_none() {
            queues.of(kind).refused(now);
        }
        drop(queues);
        self.dismiss(expired);
        match joined {
            Some(Joined::Taken) => Ok(Wait::over(self, Place::new(self, kind))),
            Some(Joined::Waiting) => {
                if kind == Kind::Connection {
                    self.ring();
                }
                Ok(Wait::new(self, kind, ticket, granted, now))
            }
            None => Err(self.refusal(Shed::QueueFull, kind, Duration::ZERO)),
        }
    }

    /// A connection has become idle that whoever waits at `home` (one worker's pool of one endpoint) could use as it
    /// is. True: one of them has been told, and it is kept for that one. False: nobody is there who could use it before
    /// it is somebody else's turn.
    pub fn offer_idle(&self, home: usize) -> bool {
        while self.connections.waiting() > 0 {
            let now = self.clock.now();
            let next = {
                let mut queues = self.queues();
                let next = queues.connections.pop_if(now, |waiting| waiting.home == home);
                if next.is_some() {
                    self.connections.give_up();
                }
                next
            };
            match next.map(|waiting| waiting.grant.send(Grant::Idle)) {
                Some(Ok(())) => return true,
                // Gone in this moment.
                Some(Err(_)) => {}
                None => return false,
            }
        }
        false
    }

    /// A place is free again.
    #[inline]
    pub fn give_back(self: &Arc<Self>, kind: Kind) {
        if self.level(kind).leave() == Left::Wanted {
            self.pass_on(kind);
        }
    }

    #[cold]
    fn pass_on(self: &Arc<Self>, kind: Kind) {
        let now = self.clock.now();
        let mut queues = self.queues();
        let expired = self.expire(&mut queues, kind, now);
        let next =
            if self.level(kind).may_pass_on(self.limit(kind)) { queues.of(kind).pop(now) } else { None };
        drop(queues);
        self.dismiss(expired);
        if let Some(waiting) = next {
            self.grant(waiting, kind);
        }
    }

    /// A request that had waited was called off by its caller before the answer was there.
    #[cold]
    pub fn served_in_vain(&self) {
        if self.requests.waiting() > 0 {
            self.queues().requests.served_in_vain();
        }
    }

    /// Takes those out who have waited longer than there is hope.
    fn expire(&self, queues: &mut Queues, kind: Kind, now: Tick) -> Vec<(Waiting, Duration)> {
        let queue = queues.of(kind);
        let expired: Vec<_> = std::iter::from_fn(|| queue.expired(now)).collect();
        for _ in &expired {
            self.level(kind).give_up();
        }
        expired
    }

    /// Never under the lock: what a channel does not take is dropped, which gives it back, which may lock.
    fn grant(self: &Arc<Self>, waiting: Waiting, kind: Kind) {
        drop(waiting.grant.send(Grant::Place(Place::new(self, kind))));
    }

    fn dismiss(&self, expired: Vec<(Waiting, Duration)>) {
        for (waiting, waited) in expired {
            drop(waiting.grant.send(Grant::Expired(waited)));
        }
    }

    fn withdraw(&self, kind: Kind, ticket: Ticket, lost: bool) {
        let mut queues = self.queues();
        if queues.of(kind).remove(ticket, lost).is_some() {
            self.level(kind).give_up();
        }
    }

    /// A worker's bell, rung when somebody waits for a connection.
    pub fn hang_bell(&self, bell: &Arc<Notify>) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(bell.clone());
    }

    /// Has all workers look for idle connections that are in the way.
    #[cold]
    pub fn ring(&self) {
        for bell in &*self.bells.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.notify_one();
        }
    }

    /// Places in use.
    pub fn taken(&self, kind: Kind) -> u32 {
        self.level(kind).taken()
    }

    /// Requests that wait for such a place.
    #[inline]
    pub fn waiting(&self, kind: Kind) -> u32 {
        self.level(kind).waiting()
    }

    /// Counts one that was turned away, and says why.
    #[cold]
    fn refusal(&self, why: Shed, kind: Kind, waited: Duration) -> Fault {
        self.shed.inc(why.as_str());
        let (limit, pending) = (self.limit(kind), self.most.pending.load(Relaxed));
        let full = match kind {
            Kind::Request => format!("its limit of {limit} requests in flight (maxRequests) is reached"),
            Kind::Connection => format!("its limit of {limit} connections (maxConnections) is reached"),
        };
        let more = match why {
            Shed::QueueFull => format!(", and {pending} wait (maxPendingRequests)"),
            Shed::WaitedTooLong => format!(", and this one has waited for {:.3} s", waited.as_secs_f64()),
            Shed::NoConnection | Shed::Adaptive => String::new(),
        };
        let todo = "call it less, give it more endpoints, or raise its limits";
        Fault::unsent(Reason::Overloaded, format_args!("{full}{more}: {todo}"))
    }

    fn level(&self, kind: Kind) -> &Level {
        match kind {
            Kind::Request => &self.requests,
            Kind::Connection => &self.connections,
        }
    }

    fn limit(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Request => self.most.requests.load(Relaxed),
            Kind::Connection => self.most.connections.load(Relaxed),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn of(&mut self, kind: Kind) -> &mut Queue<Waiting> {
        match kind {
            Kind::Request => &mut self.requests,
            Kind::Connection => &mut self.connections,
        }
    }

    fn len(&self) -> usize {
        self.requests.len() + self.connections.len()
    }
}

#[cfg(test)]
mod tests;
