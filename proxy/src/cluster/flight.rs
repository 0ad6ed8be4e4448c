//! One attempt at an endpoint, and what its end tells the balancer, the breaker, the outlier detection and the counters.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::{End, Ticket, Tried};
use bowline_core::breaker::Outcome;

use super::{Cluster, Permit, Picked};
use crate::error::Reason;
use crate::guard;
use crate::pool::Upstream;
use crate::snapshot::{Policy, Service};
use crate::telemetry::failures::Note;
use crate::telemetry::metrics::Class;

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

impl Cluster {
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
