//! One service as one worker sees it: its balancer, its endpoints with their connections, and the attempts in flight.
//!
//! A cluster lives as long as its service. When the mesh changes it is brought up to date in place, so that attempts
//! in flight end where they began, and endpoints that stay keep their estimates and connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::{Balancer, End, Ticket, Tried};
use bowline_core::breaker::Outcome;
use bowline_core::hash::xxh64;
use bowline_core::hedge::Hedging;
use bowline_core::quantile::RecentQuantile;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::{Fault, Reason};
use crate::guard;
use crate::limiter::{Grant, Kind, Limiter};
use crate::pool::{MAX_IDLE, Upstream};
use crate::snapshot::{Here, Policy, Service, SharedEndpoint, Shares};
use crate::telemetry::failures::{Failures, Note};
use crate::telemetry::metrics::{Class, ServiceCounters};

/// How often a worker looks after its idle connections.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One worker's live view of one service.
pub struct Cluster {
    /// This worker's counters of the service.
    pub counters: Arc<ServiceCounters>,
    /// How much of the service may be in use, on all workers.
    pub limiter: Arc<Limiter>,
    /// Where failures are noted.
    pub failures: Arc<Failures>,
    clock: Clock,
    here: Arc<Here>,
    state: RefCell<State>,
    /// Where the ejections stood when the balancer was last told of them.
    epoch: Cell<u64>,
    /// Where the endpoints' breakers stood then.
    breaker_epoch: Cell<u64>,
    /// When the next ejection ends, slow start has moved on, or the next breaker lets a probe through.
    next_return: Cell<Tick>,
}

struct State {
    service: Arc<Service>,
    balancer: Balancer,
    upstreams: Vec<Rc<Upstream>>,
    /// The 99th percentile of the service's recent latency, for the attempt timeout.
    recent: RecentQuantile,
    /// When second attempts go off, where there are any.
    hedging: Option<Hedging>,
    /// Who gets how much, as the balancer has been told.
    shares: Shares,
    /// Scratch for the next shares.
    scratch: Shares,
}

impl Cluster {
    /// The view of a service that this worker has not seen before.
    pub fn new(
        service: Arc<Service>,
        clock: Clock,
        bell: &Arc<Notify>,
        failures: &Arc<Failures>,
        here: &Arc<Here>,
        rng: &mut fastrand::Rng,
    ) -> Rc<Self> {
        service.shared.limiter.hang_bell(bell);
        let cluster = Rc::new(Cluster {
            counters: service.shared.counters.register(),
            limiter: service.shared.limiter.clone(),
            failures: failures.clone(),
            clock,
            here: here.clone(),
            state: RefCell::new(State {
                balancer: Balancer::new(service.policy.balancing),
                service: service.clone(),
                upstreams: Vec::new(),
                recent: RecentQuantile::new(99),
                hedging: None,
                shares: Shares::default(),
                scratch: Shares::default(),
            }),
            epoch: Cell::new(0),
            breaker_epoch: Cell::new(0),
            next_return: Cell::new(Tick::MAX),
        });
        cluster.update(service, rng);
        cluster
    }

    /// Takes over what has changed: endpoints that stay keep everything, new ones are opened up, removed ones retire.
    pub fn update(&self, service: Arc<Service>, rng: &mut fastrand::Rng) {
        let now = self.clock.now();
        let mut state = self.state.borrow_mut();
        let State { balancer, upstreams, .. } = &mut *state;
        let old = std::mem::take(upstreams);
        let known: HashMap<*const SharedEndpoint, usize> =
            old.iter().enumerate().map(|(index, upstream)| (Arc::as_ptr(&upstream.shared), index)).collect();
        let old_index: Vec<Option<usize>> =
            service.endpoints.iter().map(|e| known.get(&Arc::as_ptr(&e.shared)).copied()).collect();
        let weights: Vec<u32> = service.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        balancer.set_policy(service.policy.balancing);
        balancer.rebuild(&weights, |index| old_index[index], rng);
        state.shares.weights = weights;
        let State { upstreams, .. } = &mut *state;
        *upstreams = service
            .endpoints
            .iter()
            .zip(&old_index)
            .enumerate()
            .map(|(slot, (endpoint, known))| match known {
                Some(known) => {
                    old[*known].slot.set(Some(slot));
                    old[*known].clone()
                }
                None => Upstream::new(endpoint.shared.clone(), slot, &self.limiter),
            })
            .collect();
        let mut stays = vec![false; old.len()];
        old_index.iter().flatten().for_each(|index| stays[*index] = true);
        for (upstream, _) in old.iter().zip(stays).filter(|(_, stays)| !stays) {
            upstream.retire();
        }
        if state.service.policy.hedge_after != service.policy.hedge_after || state.hedging.is_none() {
            state.hedging = service.policy.hedge_after.map(Hedging::new);
        }
        state.service = service;
        self.refresh_active(&mut state, now, rng);
    }

    /// The service is gone from the mesh.
    pub fn retire(&self) {
        for upstream in &self.state.borrow().upstreams {
            upstream.retire();
        }
    }

    /// The service as of now. A request keeps to the one it began with.
    pub fn service(&self) -> Arc<Service> {
        self.state.borrow().service.clone()
    }

    /// The endpoint for the next attempt; `None` when there is none at all. `key`: the hash of the request's key, where it
    /// has one.
    pub fn pick(
        &self,
        now: Tick,
        rng: &mut fastrand::Rng,
        tried: &Tried,
        key: Option<u64>,
    ) -> Option<Picked> {
        let mut state = self.state.borrow_mut();
        self.look(&mut state, now, rng);
        let Some(breakers) = state.service.endpoint_breakers.clone() else {
            let index = state.index_for(now, rng, tried, key)?;
            return Some(Picked { upstream: state.upstreams[index].clone(), call: None });
        };
        // Whose probe is out by now leaves the list: each turn has fewer endpoints than the one before.
        for _ in 0..state.upstreams.len() {
            let index = state.index_for(now, rng, tried, key)?;
            match breakers.allow(index, now) {
                Ok(call) => return Some(Picked { upstream: state.upstreams[index].clone(), call }),
                Err(_) => self.refresh_active(&mut state, now, rng),
            }
        }
        None
    }

    /// Looks again who may be picked, if that may have changed.
    #[inline]
    fn look(&self, state: &mut State, now: Tick, rng: &mut fastrand::Rng) {
        let service = &state.service;
        let stale = service.outlier.epoch() != self.epoch.get()
            || now >= self.next_return.get()
            || service.endpoint_breakers.as_ref().is_some_and(|b| b.epoch() != self.breaker_epoch.get());
        if stale {
            self.refresh_active(state, now, rng);
        }
    }

    /// Whether there are endpoints, and the breakers of all of them are open.
    pub fn is_shut(&self, now: Tick, rng: &mut fastrand::Rng) -> bool {
        let mut state = self.state.borrow_mut();
        if state.service.endpoint_breakers.is_none() || state.upstreams.is_empty() {
            return false;
        }
        self.look(&mut state, now, rng);
        let State { service, .. } = &*state;
        let mut admitted = service
            .endpoint_breakers
            .iter()
            .flat_map(|breakers| (0..service.endpoints.len()).map(|index| breakers.admits(index, now)));
        !admitted.any(|admitted| admitted)
    }

    /// Tells the balancer who may be picked, and how often.
    #[cold]
    fn refresh_active(&self, state: &mut State, now: Tick, rng: &mut fastrand::Rng) {
        let State { service, balancer, shares, scratch, .. } = state;
        self.epoch.set(service.outlier.epoch());
        service.shares(self.here.zone.as_deref(), now, scratch);
        if scratch.weights != shares.weights {
            balancer.rebuild(&scratch.weights, Some, rng);
        }
        if let Some(breakers) = &service.endpoint_breakers {
            self.breaker_epoch.set(breakers.epoch());
            // In panic too: the probe finds out who is well again.
            scratch.active.retain(|index| breakers.admits(*index as usize, now));
        }
        balancer.set_active(scratch.active.iter().copied(), rng);
        std::mem::swap(shares, scratch);
        let returns = service.outlier.next_return(now).unwrap_or(Tick::MAX);
        let probe = match &service.endpoint_breakers {
            Some(breakers) => breakers.next_probe(now).unwrap_or(Tick::MAX),
            None => Tick::MAX,
        };
        self.next_return.set(shares.next.map_or(returns, |next| next.min(returns)).min(probe));
    }

    /// Whether a further attempt could go to an endpoint that has not been tried.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        let state = self.state.borrow();
        state.balancer.has_untried(tried) || state.spares(self.now(), tried).next().is_some()
    }

    /// The time.
    pub fn now(&self) -> Tick {
        self.clock.now()
    }

    /// The recent 99th percentile of the service's latency to the response head.
    pub fn recent_p99(&self, now: Tick) -> Option<Duration> {
        self.state.borrow_mut().recent.get(now)
    }

    /// An attempt at this endpoint begins.
    pub fn start(self: &Rc<Self>, picked: Picked, now: Tick) -> Flight {
        let Picked { upstream, call } = picked;
        // An endpoint removed between pick and start is still called, but no longer balanced.
        let ticket = upstream.slot.get().map(|slot| self.state.borrow_mut().balancer.started(slot));
        upstream.counters.in_flight.add(1);
        Flight {
            cluster: self.clone(),
            upstream,
            ticket,
            started: now,
            sent: UNSENT,
            answered_at: now,
            failed: false,
            permit: None,
            own_idle: OwnIdle::NONE,
            call: call.map(Box::new),
            stage: Stage::Waiting,
        }
    }

    /// How long after it was sent a request is sent a second time; `None`: it isn't.
    pub fn hedge_delay(&self, now: Tick) -> Option<Duration> {
        self.state.borrow_mut().hedging.as_mut()?.delay(now)
    }

    /// Counts a request as in flight if fewer than this are, and fewer than its limits say.
    ///
    /// # Errors
    /// There is no room.
    #[inline]
    pub fn try_enter_below(self: &Rc<Self>, learnt: u32) -> Result<Permit, Fault> {
        match self.limiter.try_enter_below(learnt) {
            true => Ok(Permit(self.clone())),
            false => Err(self.limiter.shed_by_latency(learnt)),
        }
    }

    /// Counts a request as in flight from here on if there is room for it; `Err`: it must queue.
    #[inline]
    pub fn try_enter(self: &Rc<Self>) -> Result<Option<Permit>, MustQueue> {
        if !self.limiter.counts_requests() {
            return Ok(None);
        }
        if self.limiter.try_enter() { Ok(Some(Permit(self.clone()))) } else { Err(MustQueue) }
    }

    /// Waits until there is room for a request, at most until `latest`.
    ///
    /// # Errors
    /// The queue is full, or it has waited for too long.
    pub async fn queue(self: &Rc<Self>, latest: Instant) -> Result<Permit, Fault> {
        let begun = self.clock.now();
        let granted = self.limiter.queue(Kind::Request, 0)?.until(latest).await;
        self.counters.waited.record(self.clock.now().since(begun));
        match granted? {
            Grant::Place(place) => place.keep(),
            Grant::Idle | Grant::Expired(_) => unreachable!("none of a request's"),
        }
        Ok(Permit(self.clone()))
    }

    /// Closes idle connections, as many as requests wait for one.
    pub fn make_room(&self) {
        for _ in 0..self.limiter.waiting(Kind::Connection) {
            if !self.state.borrow().upstreams.iter().any(|upstream| upstream.close_idle()) {
                return;
            }
        }
    }

    /// Looks after idle connections.
    pub fn sweep(&self) {
        let state = self.state.borrow();
        let idle = state.service.policy.idle.map_or(MAX_IDLE, |idle| idle.min(MAX_IDLE));
        let sweeps = u32::try_from(idle.as_secs() / SWEEP_EVERY.as_secs()).unwrap_or(u32::MAX).max(1);
        for upstream in &state.upstreams {
            upstream.sweep(sweeps);
        }
    }

    /// What the admin pages show of the balancer: by endpoint index, the latency estimate in nanoseconds.
    pub fn estimates(&self, now: Tick) -> Vec<Option<f64>> {
        let state = self.state.borrow();
        (0..state.upstreams.len()).map(|index| state.balancer.estimate(index, now)).collect()
    }
}

/// An endpoint for an attempt.
pub struct Picked {
    upstream: Rc<Upstream>,
    /// What its breaker is told in the end.
    call: Option<guard::Call>,
}

impl From<Rc<Upstream>> for Picked {
    fn from(upstream: Rc<Upstream>) -> Self {
        Picked { upstream, call: None }
    }
}

impl State {
    /// Endpoints that are well and get no requests for now, of those that this one has not tried.
    fn spares<'a>(&'a self, now: Tick, tried: &'a Tried) -> impl Iterator<Item = usize> + 'a {
        let service = &self.service;
        let idle =
            (0..service.endpoints.len()).filter(|index| !self.shares.active.contains(&(*index as u32)));
        idle.filter(move |index| {
            let admitted = service.endpoint_breakers.as_ref().is_none_or(|b| b.admits(*index, now));
            let well = service.endpoints[*index].weight > 0 && !service.is_out(*index, now);
            well && admitted && !self.balancer.was_tried(*index, tried)
        })
    }

    fn index_for(
        &mut self,
        now: Tick,
        rng: &mut fastrand::Rng,
        tried: &Tried,
        key: Option<u64>,
    ) -> Option<usize> {
        // All that requests go to now have been tried: then those that get none for now, in other zones or on the next level.
        if !tried.is_empty() && !self.balancer.has_untried(tried) {
            let least = self.spares(now, tried).map(|index| self.service.endpoints[index].priority).min();
            let best = |index: &usize| Some(self.service.endpoints[*index].priority) == least;
            let spares = self.spares(now, tried).filter(best).count();
            if spares > 0 {
                return self.spares(now, tried).filter(best).nth(rng.usize(..spares));
            }
        }
        match key.and_then(|key| self.pick_for(key, tried)) {
            Some(index) => Some(index),
            None => self.balancer.pick(now, rng, tried),
        }
    }

    /// The endpoint that a key with this hash belongs to, of those that may be picked.
    fn pick_for(&self, key: u64, tried: &Tried) -> Option<usize> {
        let hashing = self.service.hashing.as_ref()?;
        let level = self.level(key);
        let mut tables = hashing.tables.iter().filter(|(known, _)| *known == level);
        let (_, table) = tables.next().or(hashing.tables.first())?;
        self.balancer.pick_for(table, key, hashing.bound, tried)
    }

    /// The level of priority that a key belongs to: each gets its share of all keys.
    fn level(&self, key: u64) -> u32 {
        let levels = &self.shares.levels;
        if levels.len() > 1 {
            // Hashed anew: the tables use up what is in the key's own.
            let mut random = (xxh64(&key.to_le_bytes(), 1) % 100) as u32;
            for level in levels {
                match random.checked_sub(level.load.percent) {
                    Some(rest) => random = rest,
                    None => return level.priority,
                }
            }
        }
        levels.first().map_or(0, |level| level.priority)
    }
}

/// There is no room at the moment.
#[derive(Clone, Copy, Debug)]
pub struct MustQueue;

/// A request's place among those in flight; dropped, it is given back.
pub struct Permit(Rc<Cluster>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.limiter.give_back(Kind::Request);
    }
}

/// One attempt in flight, from the pick of its endpoint to the end of its response body. Dropped early it counts as
/// cancelled.
pub struct Flight {
    cluster: Rc<Cluster>,
    upstream: Rc<Upstream>,
    ticket: Option<Ticket>,
    started: Tick,
    /// When the request was complete, or [`UNSENT`].
    sent: Tick,
    answered_at: Tick,
    /// The answer told against the endpoint.
    failed: bool,
    /// Of the request, until its response has ended.
    permit: Option<Permit>,
    /// How long the request's route lets a stream stand still.
    own_idle: OwnIdle,
    /// Of the endpoint's breaker, until the response head.
    call: Option<Box<guard::Call>>,
    stage: Stage,
}

/// The request is not complete yet. As an `Option` it would make every response body 8 bytes larger.
const UNSENT: Tick = Tick::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Answered,
    Over,
}

/// An idle timeout other than the service's, in as little room as there is in a [`Flight`].
#[derive(Clone, Copy)]
struct OwnIdle(u32);

impl OwnIdle {
    const NONE: Self = OwnIdle(0);
    const NEVER: Self = OwnIdle(u32::MAX);

    /// To the millisecond, and 49 days at the most.
    fn new(idle: Option<Duration>) -> Self {
        let millis = |idle: Duration| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
        idle.map_or(Self::NEVER, |idle| OwnIdle(millis(idle).clamp(1, u32::MAX - 1)))
    }

    fn get(self) -> Option<Option<Duration>> {
        match self.0 {
            0 => None,
            u32::MAX => Some(None),
            millis => Some(Some(Duration::from_millis(millis.into()))),
        }
    }
}

impl Flight {
    /// The endpoint.
    pub fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    /// How long the service lets a stream stand still.
    pub fn idle(&self) -> Option<Duration> {
        self.own_idle.get().unwrap_or_else(|| self.cluster.state.borrow().service.policy.idle)
    }

    /// The service whose endpoint it is, as of now.
    pub fn service(&self) -> Arc<Service> {
        self.cluster.service()
    }

    /// When it began.
    pub fn started(&self) -> Tick {
        self.started
    }

    /// When the response head came; the start, before that.
    pub fn answered_at(&self) -> Tick {
        self.answered_at
    }

    /// From now on the request is in flight for as long as this.
    pub fn hold(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    /// The request's route has its own idle timeout.
    pub fn keep_to(&mut self, policy: &Policy) {
        self.own_idle = OwnIdle::new(policy.idle);
    }

    /// Remembers that this request has tried this endpoint.
    pub fn mark(&self, tried: &mut Tried) {
        if let Some(ticket) = &self.ticket {
            tried.insert(ticket);
        }
    }

    /// The request was at the endpoint whole at this moment: from then on it owes an answer. Only the first call counts.
    pub fn sent(&mut self, now: Tick) {
        if self.sent == UNSENT {
            self.sent = now;
        }
        if let Some(ticket) = &mut self.ticket {
            self.cluster.state.borrow_mut().balancer.sent(ticket, now);
        }
    }

    /// The response head came. `failed`: it is an answer that tells against the endpoint. Returns whether it has ejected it.
    pub fn answered(&mut self, now: Tick, class: Class, failed: bool, penalised: bool) -> bool {
        self.stage = Stage::Answered;
        self.answered_at = now;
        let latency = now.since(self.started);
        self.upstream.counters.attempts[class as usize].inc();
        self.upstream.counters.duration.record(latency);
        if let Some(ticket) = &mut self.ticket {
            let mut state = self.cluster.state.borrow_mut();
            state.balancer.answered(ticket, now, penalised);
            if let (Some(sent), false) = (self.sent_at(), failed) {
                state.recent.record(now, now.since(sent));
                if let Some(hedging) = &mut state.hedging {
                    hedging.record(now, now.since(sent));
                }
            }
        }
        self.tell_breaker(now, if failed { Outcome::Failure } else { Outcome::Success });
        // A success is one only when the body has come whole: see `complete`.
        self.failed = failed;
        failed && self.report(now, false)
    }

    /// The attempt got no answer. `blame`: that tells against the endpoint. `timed_out`: it took at least this long,
    /// which the recent latency must know, or the attempt timeout would shrink below what answers really take. Returns
    /// whether the endpoint was ejected for it.
    pub fn failed(mut self, now: Tick, blame: bool, timed_out: bool) -> bool {
        self.upstream.counters.attempts[Class::None as usize].inc();
        if let (Some(sent), true) = (self.sent_at(), timed_out) {
            let mut state = self.cluster.state.borrow_mut();
            state.recent.record(now, now.since(sent));
            if let Some(hedging) = &mut state.hedging {
                hedging.record(now, now.since(sent));
            }
        }
        match (timed_out, blame) {
            (true, _) => self.tell_breaker(now, Outcome::Timeout),
            (false, true) => self.tell_breaker(now, Outcome::Failure),
            (false, false) => {}
        }
        let ejected = blame && self.report(now, false);
        self.finish(now, if blame { End::Failure } else { End::Cancelled });
        ejected
    }

    /// The answer to the request's other attempt came first. `slow`: though that one set out later, which tells against this
    /// endpoint. How slow it is nobody has waited to see: without that it would look as quick as its rescuer.
    pub fn outrun(mut self, now: Tick, slow: bool) {
        if let Some(sent) = self.sent_at()
            && let Some(hedging) = &mut self.cluster.state.borrow_mut().hedging
        {
            hedging.record(now, now.since(sent));
        }
        self.upstream.counters.attempts[Class::Cancelled as usize].inc();
        self.finish(now, if slow { End::Failure } else { End::Cancelled });
    }

    /// When the request was complete.
    pub fn sent_at(&self) -> Option<Tick> {
        (self.sent != UNSENT).then_some(self.sent)
    }

    /// Tells the endpoint's breaker how the attempt ended.
    fn tell_breaker(&mut self, now: Tick, outcome: Outcome) {
        let Some(call) = self.call.take() else { return };
        let reset = call.reset();
        if let Some(change) = call.report(now, outcome) {
            let service = self.cluster.service();
            guard::log_change(&service.name, Some(self.upstream.addr), change, reset);
        }
    }

    /// The response body has ended.
    pub fn complete(mut self) {
        let now = self.cluster.clock.now();
        if !self.failed {
            self.report(now, true);
        }
        self.finish(now, End::Success);
    }

    /// The endpoint broke the response off after its head. Returns whether it was ejected for it.
    pub fn broken(mut self, error: &dyn std::error::Error) -> bool {
        let now = self.cluster.clock.now();
        self.cluster.counters.broken_bodies.inc();
        self.upstream.counters.broken.inc();
        tracing::debug!(endpoint = %self.upstream.addr, %error, "a response broke off");
        self.note("broken_body", true, error);
        let ejected = self.report(now, false);
        self.finish(now, End::Failure);
        ejected
    }

    /// The connection stands as a tunnel: that is the whole success, however long it lives.
    pub fn established(&self, now: Tick) {
        self.report(now, true);
    }

    /// The tunnel has ended, which says nothing more of the endpoint.
    pub fn closed(mut self) {
        let now = self.cluster.clock.now();
        self.finish(now, End::Success);
    }

    /// Takes note of a failure at this endpoint. `told`: the app gets it.
    pub fn note(&self, reason: &'static str, told: bool, detail: impl std::fmt::Display) {
        let service = &self.cluster.state.borrow().service.name;
        // Where the service's connections are all in use, the endpoint was not asked.
        let endpoint = (reason != Reason::Overloaded.as_str()).then_some(self.upstream.addr);
        let note = Note { service, endpoint, reason, told };
        self.cluster.failures.note(note, detail);
    }

    /// Whether it has ejected the endpoint.
    fn report(&self, now: Tick, ok: bool) -> bool {
        let Some(slot) = self.upstream.slot.get() else { return false };
        let state = self.cluster.state.borrow();
        let Some(ejection) = state.service.outlier.report(slot, now, ok) else { return false };
        self.upstream.shared.ejections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.cluster.failures.note_ejection(&state.service.name, self.upstream.addr, ejection.duration);
        tracing::warn!(
            service = state.service.name,
            endpoint = %self.upstream.addr,
            seconds = ejection.duration.as_secs_f64(),
            times = ejection.times,
            "endpoint ejected"
        );
        true
    }

    fn finish(&mut self, now: Tick, end: End) {
        self.upstream.counters.in_flight.add(-1);
        if let Some(ticket) = self.ticket.take() {
            self.cluster.state.borrow_mut().balancer.finished(ticket, now, end);
        }
        self.stage = Stage::Over;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        match self.stage {
            Stage::Over => return,
            Stage::Waiting => self.upstream.counters.attempts[Class::Cancelled as usize].inc(),
            Stage::Answered => {}
        }
        let now = self.cluster.clock.now();
        self.finish(now, End::Cancelled);
    }
}
