//! One service as one worker sees it: its balancer, its endpoints with their connections, and the attempts in flight.
//!
//! A cluster lives as long as its service. When the mesh changes it is brought up to date in place, so that attempts
//! in flight end where they began, and endpoints that stay keep their estimates and connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::{Balancer, End, Ticket, Tried, active};
use bowline_core::quantile::RecentQuantile;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::{Fault, Reason};
use crate::limiter::{Grant, Kind, Limiter};
use crate::pool::{MAX_IDLE, Upstream};
use crate::snapshot::Service;
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
    state: RefCell<State>,
    /// Where the ejections stood when the balancer was last told of them.
    epoch: Cell<u64>,
    /// When the next ejection ends.
    next_return: Cell<Tick>,
}

struct State {
    service: Arc<Service>,
    balancer: Balancer,
    upstreams: Vec<Rc<Upstream>>,
    /// The 99th percentile of the service's recent latency, for the attempt timeout.
    recent: RecentQuantile,
    /// Scratch for the list of active endpoints.
    active: Vec<u32>,
}

impl Cluster {
    /// The view of a service that this worker has not seen before.
    pub fn new(
        service: Arc<Service>,
        clock: Clock,
        bell: &Arc<Notify>,
        failures: &Arc<Failures>,
        rng: &mut fastrand::Rng,
    ) -> Rc<Self> {
        service.shared.limiter.hang_bell(bell);
        let cluster = Rc::new(Cluster {
            counters: service.shared.counters.register(),
            limiter: service.shared.limiter.clone(),
            failures: failures.clone(),
            clock,
            state: RefCell::new(State {
                balancer: Balancer::new(service.policy.balancing),
                service: service.clone(),
                upstreams: Vec::new(),
                recent: RecentQuantile::new(99),
                active: Vec::new(),
            }),
            epoch: Cell::new(0),
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
        let old_index: Vec<Option<usize>> = service
            .endpoints
            .iter()
            .map(|endpoint| old.iter().position(|upstream| Arc::ptr_eq(&upstream.shared, &endpoint.shared)))
            .collect();
        let weights: Vec<u32> = service.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        balancer.set_policy(service.policy.balancing);
        balancer.rebuild(&weights, |index| old_index[index], rng);
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
        for (index, upstream) in old.iter().enumerate() {
            if !old_index.contains(&Some(index)) {
                upstream.retire();
            }
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

    /// The endpoint for the next attempt; `None` when there is none at all.
    pub fn pick(&self, now: Tick, rng: &mut fastrand::Rng, tried: &Tried) -> Option<Rc<Upstream>> {
        let mut state = self.state.borrow_mut();
        if state.service.outlier.epoch() != self.epoch.get() || now >= self.next_return.get() {
            self.refresh_active(&mut state, now, rng);
        }
        let index = state.balancer.pick(now, rng, tried)?;
        Some(state.upstreams[index].clone())
    }

    /// Tells the balancer who may be picked.
    #[cold]
    fn refresh_active(&self, state: &mut State, now: Tick, rng: &mut fastrand::Rng) {
        let State { service, balancer, active: list, .. } = state;
        self.epoch.set(service.outlier.epoch());
        let weights: Vec<u32> = service.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let out = |index: usize| service.outlier.is_ejected(index, now);
        active(&weights, out, service.policy.panic_percent, list);
        balancer.set_active(list.iter().copied(), rng);
        self.next_return.set(service.outlier.next_return(now).unwrap_or(Tick::MAX));
    }

    /// Whether a further attempt could go to an endpoint that has not been tried.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        self.state.borrow().balancer.has_untried(tried)
    }

    /// The recent 99th percentile of the service's latency to the response head.
    pub fn recent_p99(&self, now: Tick) -> Option<Duration> {
        self.state.borrow_mut().recent.get(now)
    }

    /// An attempt at this endpoint begins.
    pub fn start(self: &Rc<Self>, upstream: Rc<Upstream>, now: Tick) -> Flight {
        // An endpoint removed between pick and start is still called, but no longer balanced.
        let ticket = upstream.slot.get().map(|slot| self.state.borrow_mut().balancer.started(slot));
        upstream.counters.in_flight.add(1);
        Flight {
            cluster: self.clone(),
            upstream,
            ticket,
            started: now,
            sent: None,
            answered_at: now,
            failed: false,
            permit: None,
            stage: Stage::Waiting,
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
    /// When the request was complete.
    sent: Option<Tick>,
    answered_at: Tick,
    /// The answer told against the endpoint.
    failed: bool,
    /// Of the request, until its response has ended.
    permit: Option<Permit>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Answered,
    Over,
}

impl Flight {
    /// The endpoint.
    pub fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    /// How long the service lets a stream stand still.
    pub fn idle(&self) -> Option<Duration> {
        self.cluster.state.borrow().service.policy.idle
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

    /// Remembers that this request has tried this endpoint.
    pub fn mark(&self, tried: &mut Tried) {
        if let Some(ticket) = &self.ticket {
            tried.insert(ticket);
        }
    }

    /// The request was at the endpoint whole at this moment: from then on it owes an answer. Only the first call counts.
    pub fn sent(&mut self, now: Tick) {
        self.sent.get_or_insert(now);
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
            if let (Some(sent), false) = (self.sent, failed) {
                state.recent.record(now, now.since(sent));
            }
        }
        // A success is one only when the body has come whole: see `complete`.
        self.failed = failed;
        failed && self.report(now, false)
    }

    /// The attempt got no answer. `blame`: that tells against the endpoint. `timed_out`: it took at least this long,
    /// which the recent latency must know, or the attempt timeout would shrink below what answers really take. Returns
    /// whether the endpoint was ejected for it.
    pub fn failed(mut self, now: Tick, blame: bool, timed_out: bool) -> bool {
        self.upstream.counters.attempts[Class::None as usize].inc();
        if let (Some(sent), true) = (self.sent, timed_out) {
            self.cluster.state.borrow_mut().recent.record(now, now.since(sent));
        }
        let ejected = blame && self.report(now, false);
        self.finish(now, if blame { End::Failure } else { End::Cancelled });
        ejected
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
