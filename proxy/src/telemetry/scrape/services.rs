//! What is counted by service.

use std::collections::BTreeMap;

use super::{Sink, Sources, Tunnels, of, total, whole};
use crate::limiter::{Kind, Shed};
use crate::snapshot::{Origin, Service};
use crate::telemetry::catalogue::{self as m, Metric};
use crate::telemetry::metrics::{Class, ServiceCounters, TunnelEnd};

/// A service's counts by reason.
type ReasonCounts = fn(&Service) -> Vec<(&'static str, u64)>;

/// Requests, and what became of them.
pub(super) fn requests(sources: &Sources<'_>, sink: &mut impl Sink) {
    let all = || sources.snapshot.services.iter().map(AsRef::as_ref);
    sink.family(&m::REQUESTS);
    for service in all() {
        let mut counts = [0; Class::COUNT];
        service.shared.counters.each(|c| add(&mut counts, c));
        for class in Class::ALL {
            let count = counts[class as usize];
            if count > 0 || class == Class::Success {
                sink.int(&[&service.name, class.as_str("local")], whole(count));
            }
        }
    }
    for class in Class::ALL {
        let count: u64 = sources.downstream.iter().map(|c| c.outside[class as usize].get()).sum();
        if count > 0 {
            sink.int(&["", class.as_str("local")], whole(count));
        }
    }
    sink.family(&m::GRPC_REQUESTS);
    for service in all() {
        let count = service.shared.counters.sum(|c| c.grpc_requests.get());
        if count > 0 {
            sink.int(&[&service.name], whole(count));
        }
    }
    sink.family(&m::IN_FLIGHT);
    for service in all() {
        let attempts: i64 = service.all_endpoints().map(|e| e.shared.gauge(|c| &c.in_flight)).sum();
        let waiting = i64::from(service.shared.limiter.waiting(Kind::Request));
        sink.int(&[&service.name], attempts + waiting);
    }
    sink.family(&m::REQUEST_DURATION);
    for service in all() {
        let total = total(&service.shared.counters, |c| &c.duration);
        sink.histogram(&[&service.name], &total, service.shared.exemplars.get().as_deref());
    }
    sink.family(&m::LOCAL_RESPONSES);
    for service in all() {
        for (reason, count) in service.shared.local_responses.get() {
            sink.int(&[&service.name, reason], whole(count));
        }
    }
    for (reason, count) in unrouted(sources) {
        sink.int(&["", reason], whole(count));
    }
    let by_reason: [(&'static Metric, ReasonCounts); 3] = [
        (&m::ATTEMPT_FAILURES, |s| s.shared.attempt_failures.get()),
        (&m::RETRIES, |s| s.shared.retries.get()),
        (&m::RETRIES_REFUSED, |s| s.shared.retries_refused.get()),
    ];
    for (metric, counts) in by_reason {
        sink.family(metric);
        for service in all() {
            for (reason, count) in counts(service) {
                sink.int(&[&service.name, reason], whole(count));
            }
        }
    }
    sink.family(&m::BYPASSED);
    for service in all() {
        sink.int(&[&service.name], service.bypassed.into());
    }
    sink.family(&m::BROKEN_BODIES);
    for service in all() {
        sink.int(&[&service.name], whole(service.shared.counters.sum(|c| c.broken_bodies.get())));
    }
}

fn add(counts: &mut [u64; Class::COUNT], counters: &ServiceCounters) {
    for (sum, count) in counts.iter_mut().zip(&counters.requests) {
        *sum += count.get();
    }
}

/// What the proxy answered without a service, added up over the workers.
fn unrouted(sources: &Sources<'_>) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (reason, count) in sources.downstream.iter().flat_map(|counters| counters.unrouted.get()) {
        *sums.entry(reason).or_insert(0) += count;
    }
    sums
}

/// Only services with limits are shown.
pub(super) fn limits(sources: &Sources<'_>, sink: &mut impl Sink) {
    let all = || {
        let services = sources.snapshot.services.iter().map(|service| (&service.name, &service.shared));
        services.filter_map(|(name, shared)| shared.limiter.limits().map(|limits| (name, shared, limits)))
    };
    sink.family(&m::LIMIT_IN_USE);
    for (service, shared, _) in all() {
        sink.int(&[service, "requests"], shared.limiter.taken(Kind::Request).into());
        sink.int(&[service, "connections"], shared.limiter.taken(Kind::Connection).into());
    }
    sink.family(&m::LIMIT);
    for (service, _, limits) in all() {
        sink.int(&[service, "requests"], limits.requests.into());
        sink.int(&[service, "connections"], limits.connections.into());
        sink.int(&[service, "pending"], limits.pending.into());
    }
    for service in &sources.snapshot.services {
        let guards = service.guards.as_deref();
        if let Some(adaptive) = guards.and_then(|guards| guards.adaptive.as_ref()) {
            sink.int(&[&service.name, "adaptive"], adaptive.learnt.limit().into());
        }
    }
    sink.family(&m::WAITING);
    for (service, shared, _) in all() {
        sink.int(&[service, "request"], shared.limiter.waiting(Kind::Request).into());
        sink.int(&[service, "connection"], shared.limiter.waiting(Kind::Connection).into());
    }
    sink.family(&m::SHED);
    for (service, shared, _) in all() {
        let counts = shared.limiter.shed.get();
        for reason in Shed::ALL.map(Shed::as_str) {
            sink.int(&[service, reason], of(&counts, reason));
        }
    }
    sink.family(&m::QUEUE_DURATION);
    for (service, shared, _) in all() {
        sink.histogram(&[service], &total(&shared.counters, |c| &c.waited), None);
    }
}

/// Only services that have had a tunnel are shown: most never have one.
pub(super) fn tunnels(sources: &Sources<'_>, sink: &mut impl Sink) {
    let mut outside = Tunnels::default();
    sources.downstream.iter().for_each(|counters| outside.add(&counters.outside_tunnels));
    let of_services = sources.snapshot.services.iter().map(|service| {
        let mut sum = Tunnels::default();
        service.shared.counters.each(|counters| sum.add(&counters.tunnels));
        (service.name.as_str(), sum)
    });
    let all: Vec<_> = of_services.chain([("", outside)]).filter(|(_, tunnels)| tunnels.any()).collect();
    sink.family(&m::TUNNELS);
    for (service, tunnels) in &all {
        sink.int(&[service], tunnels.open);
    }
    sink.family(&m::TUNNELS_ENDED);
    for (service, tunnels) in &all {
        for end in TunnelEnd::ALL {
            sink.int(&[service, end.as_str()], whole(tunnels.ended[end as usize]));
        }
    }
    sink.family(&m::TUNNEL_BYTES);
    for (service, tunnels) in &all {
        sink.int(&[service, "sent"], whole(tunnels.sent));
        sink.int(&[service, "received"], whole(tunnels.received));
    }
}

/// Services whose endpoints come from DNS.
pub(super) fn dns(sources: &Sources<'_>, sink: &mut impl Sink) {
    let all = || {
        sources.snapshot.services.iter().filter_map(|service| match &service.origin {
            Origin::Dns(dns) => Some((&service.name, dns)),
            _ => None,
        })
    };
    sink.family(&m::DNS_LOOKUPS);
    for (service, dns) in all() {
        for (result, count) in dns.lookups.get() {
            sink.int(&[service, result], whole(count));
        }
    }
    sink.family(&m::DNS_LAST_GOOD);
    for (service, dns) in all() {
        if let Some(age) = dns.age_seconds(sources.now) {
            sink.float(&[service], age);
        }
    }
    sink.family(&m::DNS_TROUBLE);
    for (service, dns) in all() {
        sink.int(&[service], dns.trouble().is_some().into());
    }
}
