//! Circuit breakers, of a service and of its endpoints.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_api::model;
use bowline_core::Tick;
use bowline_core::breaker::{Breaker, BreakerConfig, Change, Outcome, Permit, Rejected, State};

/// The breaker of a service as a whole.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    /// What the mesh says.
    pub model: model::CircuitBreaker,
    /// Its state; off where only endpoints have breakers.
    breaker: Option<Arc<Breaker>>,
}

impl CircuitBreaker {
    /// The breaker that the mesh asks for, with the state of the one before.
    pub fn new(model: &model::CircuitBreaker, before: Option<&CircuitBreaker>, now: Tick) -> Self {
        let config = config(&model.thresholds());
        let on = config.error_percent > 0 || config.consecutive_failures > 0;
        let before = before.and_then(|before| before.breaker.as_ref());
        CircuitBreaker { model: model.clone(), breaker: on.then(|| next(before, config, now)) }
    }

    /// The state machine; `None` where only endpoints have breakers.
    #[inline]
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_deref()
    }
}

/// The mesh's words in the algorithm's.
fn config(model: &model::EndpointBreaker) -> BreakerConfig {
    BreakerConfig {
        error_percent: model.error_percent,
        minimum_requests: model.minimum_requests,
        window: model.window_seconds.get(),
        consecutive_failures: model.consecutive_failures,
        reset: model.reset_seconds.get(),
        slow_call: model.slow_call_seconds.get(),
    }
}

/// The same one while its configuration is the same, or the one that takes its place.
fn next(before: Option<&Arc<Breaker>>, config: BreakerConfig, now: Tick) -> Arc<Breaker> {
    match before {
        Some(before) if *before.config() == config => before.clone(),
        Some(before) => Arc::new(before.next(config, now)),
        None => Arc::new(Breaker::new(config)),
    }
}

/// Where an endpoint keeps its breaker from one snapshot to the next.
#[derive(Debug, Default)]
pub struct Place(Mutex<Option<Arc<Breaker>>>);

impl Place {
    fn next(&self, config: BreakerConfig, now: Tick) -> Arc<Breaker> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = next(place.as_ref(), config, now);
        *place = Some(breaker.clone());
        breaker
    }
}

/// The breakers of a service's endpoints, by their index.
#[derive(Debug)]
pub struct EndpointBreakers {
    breakers: Vec<Arc<Breaker>>,
    /// Grows with each change of state, so that workers notice.
    epoch: Arc<AtomicU64>,
}

impl EndpointBreakers {
    /// The breakers that the mesh asks for, in the places that endpoints keep theirs in.
    pub fn new<'a>(
        model: &model::EndpointBreaker,
        places: impl Iterator<Item = &'a Place>,
        epoch: &Arc<AtomicU64>,
        now: Tick,
    ) -> Arc<Self> {
        let config = config(model);
        // What is kept may be open, or closed by other rules than before: all look again.
        epoch.fetch_add(1, Relaxed);
        Arc::new(EndpointBreakers {
            breakers: places.map(|place| place.next(config, now)).collect(),
            epoch: epoch.clone(),
        })
    }

    /// The breakers of some of the endpoints, by the order in which they come.
    pub fn of<'a>(&self, places: impl Iterator<Item = &'a Place>) -> Arc<Self> {
        let kept = |place: &Place| place.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Arc::new(EndpointBreakers {
            // All endpoints of the service have one.
            breakers: places.filter_map(kept).collect(),
            epoch: self.epoch.clone(),
        })
    }

    /// That of the endpoint with this index.
    pub fn at(&self, index: usize) -> Option<&Arc<Breaker>> {
        self.breakers.get(index)
    }

    /// A number that is another one after each change.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// Whether an endpoint may be picked now, with its next request as the probe perhaps.
    pub fn admits(&self, index: usize, now: Tick) -> bool {
        self.breakers.get(index).is_none_or(|breaker| breaker.admits(now))
    }

    /// When the first of those that are open lets a probe through.
    pub fn next_probe(&self, now: Tick) -> Option<Tick> {
        let until = |breaker: &Arc<Breaker>| match breaker.state(now) {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen => None,
        };
        self.breakers.iter().filter_map(until).min()
    }

    /// Asks whether an attempt may be made.
    ///
    /// # Errors
    /// It is open, or another one is the probe.
    pub fn allow(&self, index: usize, now: Tick) -> Result<Option<Call>, Rejected> {
        let Some(breaker) = self.breakers.get(index) else { return Ok(None) };
        let permit = breaker.allow(now)?;
        let mut call = Call::new(breaker, permit, now);
        if call.is_probe() {
            // No other one is to come: the endpoint is out again until the probe is back.
            self.epoch.fetch_add(1, Relaxed);
        }
        call.epoch = Some(self.epoch.clone());
        Ok(Some(call))
    }
}

/// A call that a breaker has let through. Dropped without a report it says nothing, but sets a probe free.
#[derive(Debug)]
pub struct Call {
    breaker: Arc<Breaker>,
    permit: Option<Permit>,
    began: Tick,
    epoch: Option<Arc<AtomicU64>>,
}

impl Call {
    fn new(breaker: &Arc<Breaker>, permit: Permit, now: Tick) -> Self {
        Call { breaker: breaker.clone(), permit: Some(permit), began: now, epoch: None }
    }

    /// Whether it decides if the breaker closes.
    pub fn is_probe(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_probe)
    }

    /// Reports how it ended.
    pub fn report(mut self, now: Tick, outcome: Outcome) -> Option<Change> {
        let permit = self.permit.take()?;
        let change = self.breaker.report(permit, now, outcome, now.since(self.began));
        if change.is_some() {
            self.changed();
        }
        change
    }

    /// How long the breaker stays open.
    pub fn reset(&self) -> Duration {
        self.breaker.config().reset
    }

    fn changed(&self) {
        if let Some(epoch) = &self.epoch {
            epoch.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let probe = permit.is_probe();
        // The time is of no matter to what says nothing, but for a probe: the next call is one from now on.
        self.breaker.report(permit, self.began, Outcome::Cancelled, Duration::ZERO);
        if probe {
            self.changed();
        }
    }
}
