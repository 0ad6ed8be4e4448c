//! What stands between requests and services.

use std::sync::atomic::Ordering::Relaxed;

use bowline_core::breaker::{Breaker, State};

use super::{Sink, Sources, of, whole};
use crate::access::Denied;
use crate::guard::RateLimits;
use crate::snapshot::Service;
use crate::telemetry::catalogue as m;

/// Rate limits, circuit breakers, learnt limits, hedging: of services that have them.
pub(super) fn guards(sources: &Sources<'_>, sink: &mut impl Sink) {
    let all = || {
        let services = sources.snapshot.services.iter();
        services.filter_map(|service| service.guards.as_deref().map(|guards| (&service.name, guards)))
    };
    sink.family(&m::LEAST_LATENCY);
    for (service, guards) in all() {
        let least = guards.adaptive.as_ref().and_then(|adaptive| adaptive.learnt.least_latency());
        if let Some(least) = least {
            sink.float(&[service], least.as_secs_f64());
        }
    }
    sink.family(&m::ACCESS_REFUSED);
    for service in sources.snapshot.services.iter().filter(|service| service.access.is_some()) {
        let counts = service.shared.access_refused.get();
        for why in Denied::WHYS {
            sink.int(&[&service.name, why], of(&counts, why));
        }
    }
    sink.family(&m::RATE_LIMIT);
    for (service, guards) in all() {
        for (side, limits) in [("inbound", &guards.inbound), ("outbound", &guards.outbound)] {
            rate_limits(service, side, limits, sink);
        }
    }
    for service in &sources.snapshot.services {
        for route in service.rules.iter().flat_map(|rules| rules.routes()) {
            let name = route.name.as_deref().unwrap_or_default();
            rate_limits(&service.name, &format!("{name}/inbound"), &route.inbound, sink);
            rate_limits(&service.name, &format!("{name}/outbound"), &route.outbound, sink);
        }
    }
    let breakers: Vec<(&str, String, &Breaker)> =
        sources.snapshot.services.iter().flat_map(|s| breakers(s)).collect();
    sink.family(&m::BREAKER_STATE);
    for (service, endpoint, breaker) in &breakers {
        let state = match breaker.state(sources.now) {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        };
        sink.int(&[service, endpoint], state);
    }
    sink.family(&m::BREAKER_CALLS);
    for (service, endpoint, breaker) in &breakers {
        let counts = breaker.counts();
        for (result, count) in [
            ("fire", counts.fires),
            ("success", counts.successes),
            ("failure", counts.failures),
            ("timeout", counts.timeouts),
            ("slow", counts.slow),
            ("reject", counts.rejects),
        ] {
            sink.int(&[service, endpoint, result], whole(count));
        }
    }
    sink.family(&m::BREAKER_OPENED);
    for (service, endpoint, breaker) in &breakers {
        sink.int(&[service, endpoint], whole(breaker.counts().opened));
    }
    sink.family(&m::HEDGES);
    for service in sources.snapshot.services.iter().filter(|service| service.policy.hedge_after.is_some()) {
        let hedges = &service.shared.hedges;
        sink.int(&[&service.name, "sent"], whole(hedges.sent.load(Relaxed)));
        sink.int(&[&service.name, "won"], whole(hedges.won.load(Relaxed)));
    }
}

fn rate_limits(service: &str, whose: &str, limits: &RateLimits, sink: &mut impl Sink) {
    for (index, limit) in limits.iter().enumerate() {
        let (refused, waited) = limit.counts();
        let name = format!("{whose} {index}");
        sink.int(&[service, &name, "refused"], whole(refused));
        sink.int(&[service, &name, "waited"], whole(waited));
    }
}

/// That of the service, and those of its endpoints.
fn breakers(service: &Service) -> impl Iterator<Item = (&str, String, &Breaker)> {
    let own = service.guards.as_deref().and_then(|guards| guards.breaker.as_ref()?.breaker());
    let of_endpoints = service.endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        let breaker = service.endpoint_breakers.as_ref()?.at(index)?;
        Some((service.name.as_str(), endpoint.shared.addr.to_string(), &**breaker))
    });
    own.into_iter().map(|breaker| (service.name.as_str(), String::new(), breaker)).chain(of_endpoints)
}
