//! One service as one worker sees it: its balancer, its endpoints with their connections, and the attempts in flight.
//!
//! A cluster lives as long as its service. When the mesh changes it is brought up to date in place, so that attempts
//! in flight end where they began, and endpoints that stay keep their estimates and connections.

mod flight;
mod pick;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::{Balancer, Tried};
use bowline_core::hedge::Hedging;
use bowline_core::quantile::RecentQuantile;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::flight::Flight;
use crate::clock::Clock;
use crate::error::Fault;
use crate::guard;
use crate::limiter::{Grant, Kind, Limiter};
use crate::pool::{MAX_IDLE, Upstream};
use crate::snapshot::{Here, Service, SharedEndpoint, Shares};
use crate::telemetry::failures::Failures;
use crate::telemetry::metrics::ServiceCounters;

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
