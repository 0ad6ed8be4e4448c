//! What a request has to pass before it is sent, in words, for `/explain`.

use std::time::Duration;

use bowline_api::model::Fallback;
use bowline_core::Tick;
use bowline_core::breaker::{Breaker, State};

use crate::guard::{AdaptiveLimit, CircuitBreaker, RateLimits};
use crate::limiter::Kind;
use crate::snapshot::Service;

/// What guards a service, a step each; nothing where nothing does.
pub(super) fn steps(service: &Service, now: Tick) -> Vec<String> {
    let mut steps = Vec::new();
    if let Some(access) = &service.access {
        steps.push(format!(
            "where requests come in, at an ingress or in front of the app, callers need {}",
            access.words()
        ));
    }
    if let Some(guards) = &service.guards {
        rates(&guards.outbound, "here, on the way out", &mut steps);
        rates(&guards.inbound, "where requests come in: at an ingress, or in front of the app", &mut steps);
        if let Some(breaker) = &guards.breaker {
            steps.extend(circuit_breaker(breaker, now));
        }
        if let Some(adaptive) = &guards.adaptive {
            steps.push(learnt(service, adaptive));
        }
    }
    if let Some(percentile) = service.policy.hedge_after {
        steps.push(format!(
            "a GET or the like that is slower than {percentile} % of the recent ones is sent to a second endpoint too"
        ));
    }
    steps
}

/// Why the breaker of an endpoint keeps requests from it; `None`: it doesn't.
pub(super) fn why_shut(service: &Service, index: usize, now: Tick) -> Option<String> {
    let breakers = service.endpoint_breakers.as_ref()?;
    let breaker = breakers.at(index).filter(|_| !breakers.admits(index, now))?;
    Some(format!("its circuit breaker is {}", state(breaker, now)))
}

fn rates(limits: &RateLimits, place: &str, steps: &mut Vec<String>) {
    for limit in limits.iter() {
        let (refused, waited) = limit.counts();
        steps.push(format!(
            "rate limit, {place}: {}; so far {refused} were refused and {waited} waited",
            limit.words()
        ));
    }
}

fn circuit_breaker(breaker: &CircuitBreaker, now: Tick) -> Option<String> {
    let model = &breaker.model;
    let of = breaker.breaker()?;
    let (calls, errors) = of.window(now);
    let counts = of.counts();
    let instead = match &model.fallback {
        Some(Fallback { service: Some(other), .. }) => format!("service {other} is called instead"),
        Some(Fallback { respond: Some(fixed), .. }) => format!("{} is answered instead", fixed.status),
        _ => "503 is answered".to_owned(),
    };
    Some(format!(
        "its circuit breaker is {}: {errors} of {calls} calls failed in the last {}; opened {} times so far. While it is \
         open, {instead}",
        state(of, now),
        model.window_seconds,
        counts.opened,
    ))
}

fn state(breaker: &Breaker, now: Tick) -> String {
    match breaker.state(now) {
        State::Closed => "closed".to_owned(),
        State::Open { until } => format!("open, a probe follows in {:.1} s", until.since(now).as_secs_f64()),
        State::HalfOpen => "half open, the next call or one under way is the probe".to_owned(),
    }
}

fn learnt(service: &Service, adaptive: &AdaptiveLimit) -> String {
    let least = match adaptive.learnt.least_latency() {
        Some(least) => format!("an answer takes {} when nothing waits", milliseconds(least)),
        None => "the latency when nothing waits is not known yet".to_owned(),
    };
    format!(
        "it bears {} requests in flight, and has {} (adaptiveConcurrency): {least}",
        adaptive.learnt.limit(),
        service.shared.limiter.taken(Kind::Request),
    )
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
