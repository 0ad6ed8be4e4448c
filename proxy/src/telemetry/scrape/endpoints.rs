//! What is counted by endpoint: most of what there is in a large mesh.

use std::sync::atomic::Ordering::Relaxed;

use bowline_core::health::Health;

use super::{Sink, Sources, total, whole};
use crate::snapshot::{Endpoint, Service, SharedEndpoint};
use crate::telemetry::catalogue::{self as m, Metric};
use crate::telemetry::metrics::{Class, Counter, EndpointCounters, Gauge};

/// A level of an endpoint.
type Level = fn(&EndpointCounters) -> &Gauge;
/// Two counts of an endpoint, and what they are called.
type Pair = [(&'static str, fn(&EndpointCounters) -> &Counter); 2];

impl SharedEndpoint {
    /// A level, added up over the workers.
    pub(super) fn gauge(&self, level: Level) -> i64 {
        let mut sum = 0;
        self.counters.each(|counters| sum += level(counters).get());
        sum
    }
}

pub(super) fn endpoints(sources: &Sources<'_>, sink: &mut impl Sink) {
    // A label value each, made once for all families.
    let all: Vec<(&Service, &Endpoint, String)> = sources
        .snapshot
        .services
        .iter()
        .flat_map(|service| service.all_endpoints().map(move |e| (&**service, e, e.shared.addr.to_string())))
        .collect();
    sink.family(&m::ENDPOINT_ATTEMPTS);
    for (service, endpoint, addr) in &all {
        let mut counts = [0; Class::COUNT];
        endpoint.shared.counters.each(|c| {
            counts.iter_mut().zip(&c.attempts).for_each(|(sum, count)| *sum += count.get());
        });
        for class in Class::ALL {
            let count = counts[class as usize];
            if count > 0 || class == Class::Success {
                sink.int(&[&service.name, addr, class.as_str("failed")], whole(count));
            }
        }
    }
    sink.family(&m::ENDPOINT_DURATION);
    for (service, endpoint, addr) in &all {
        let total = total(&endpoint.shared.counters, |c| &c.duration);
        // In a large mesh a proxy calls few of all endpoints, and each would be eighteen lines of zeros.
        if total.count() > 0 {
            sink.histogram(&[&service.name, addr], &total, None);
        }
    }
    let gauges: [(&'static Metric, Level); 2] =
        [(&m::ENDPOINT_IN_FLIGHT, |c| &c.in_flight), (&m::ENDPOINT_CONNECTIONS, |c| &c.connections)];
    for (metric, level) in gauges {
        sink.family(metric);
        for (service, endpoint, addr) in &all {
            sink.int(&[&service.name, addr], endpoint.shared.gauge(level));
        }
    }
    let pairs: [(&'static Metric, Pair); 2] = [
        (&m::ENDPOINT_CONNECTS, [("ok", |c| &c.connects), ("failed", |c| &c.connect_failures)]),
        (&m::ENDPOINT_BYTES, [("sent", |c| &c.bytes_sent), ("received", |c| &c.bytes_received)]),
    ];
    for (metric, pair) in pairs {
        sink.family(metric);
        for (service, endpoint, addr) in &all {
            let mut counts = [0; 2];
            endpoint.shared.counters.each(|c| {
                counts.iter_mut().zip(pair).for_each(|(sum, (_, count))| *sum += count(c).get());
            });
            for (count, (word, _)) in counts.into_iter().zip(pair) {
                sink.int(&[&service.name, addr, word], whole(count));
            }
        }
    }
    sink.family(&m::ENDPOINT_EJECTED);
    for (service, endpoint, addr) in &all {
        sink.int(&[&service.name, addr], endpoint.shared.health.is_ejected(sources.now).into());
    }
    sink.family(&m::ENDPOINT_HEALTHY);
    for (service, endpoint, addr) in all.iter().filter(|(service, ..)| service.policy.spread.checked) {
        match endpoint.shared.checked.health() {
            Health::Unknown => {}
            health => sink.int(&[&service.name, addr], (health == Health::Healthy).into()),
        }
    }
    sink.family(&m::HEALTH_CHECKS);
    for service in sources.snapshot.services.iter().filter(|service| service.policy.spread.checked) {
        let counts = service.shared.health_checks.get();
        for result in ["ok", "timeout", "failed"] {
            let count = counts.iter().find(|(known, _)| *known == result).map_or(0, |(_, count)| *count);
            sink.int(&[&service.name, result], whole(count));
        }
    }
    sink.family(&m::EJECTIONS);
    for (service, endpoint, addr) in &all {
        sink.int(&[&service.name, addr], whole(endpoint.shared.ejections.load(Relaxed)));
    }
}
