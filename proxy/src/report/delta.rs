//! What has changed between two readings of the counters.

use std::collections::BTreeMap;

use bowline_core::Tick;
use bowline_xds::load_report::{EndpointLoad, Latency, ServiceLoad};

use super::counts::{Counts, EndpointCounts, ServiceCounts};
use super::left;

/// The services of which there is anything new: something has ended, or another number is under way, or an endpoint was
/// ejected or has come back.
pub(super) fn since(before: &Counts, now: &Counts) -> Vec<ServiceLoad> {
    let nothing = ServiceCounts::default();
    let times = (before.at, now.at);
    let changed = now.services.iter().filter_map(|(name, now)| {
        let before = before.services.get(name).filter(|before| before.identity == now.identity);
        service(before.unwrap_or(&nothing), now, times)
    });
    changed.collect()
}

fn service(before: &ServiceCounts, now: &ServiceCounts, times: (Tick, Tick)) -> Option<ServiceLoad> {
    let changed = now.endpoints.iter().filter_map(|(addr, now)| {
        let before = before.endpoints.get(addr).filter(|before| before.identity == now.identity);
        endpoint(before, now, times)
    });
    let (old, new) = (&before.load, &now.load);
    let mut requests = new.requests;
    requests.iter_mut().zip(old.requests).for_each(|(new, old)| *new = new.saturating_sub(old));
    let load = ServiceLoad {
        service: new.service.clone(),
        requests,
        latency: latency(&old.latency, &new.latency),
        retries: new.retries.saturating_sub(old.retries),
        refused: refused(&old.refused, &new.refused),
        in_flight: new.in_flight,
        endpoints: changed.collect(),
    };
    let is_new = requests.iter().any(|count| *count > 0)
        || load.retries > 0
        || load.in_flight != old.in_flight
        || !load.endpoints.is_empty();
    is_new.then_some(load)
}

fn endpoint(
    before: Option<&EndpointCounts>,
    now: &EndpointCounts,
    (then, at): (Tick, Tick),
) -> Option<EndpointLoad> {
    let nothing = EndpointLoad::new(now.load.address);
    let (old, broken, until) = match before {
        Some(before) => (&before.load, before.broken, before.ejected_until),
        None => (&nothing, 0, Tick::ZERO),
    };
    let new = &now.load;
    let broken = now.broken.saturating_sub(broken);
    let load = EndpointLoad {
        address: new.address,
        // What has broken off was counted as good when its head came.
        good: new.good.saturating_sub(old.good).saturating_sub(broken),
        failed: new.failed.saturating_sub(old.failed) + broken,
        latency: latency(&old.latency, &new.latency),
        in_flight: new.in_flight,
        failures_in_a_row: new.failures_in_a_row,
        ejected: (now.ejected_until > at).then(|| left(now.ejected_until, at)),
    };
    let (was_out, is_out) = (until > then, now.ejected_until > at);
    let fails = |load: &EndpointLoad| load.failures_in_a_row > 0;
    let state_is_new =
        was_out != is_out || (is_out && until != now.ejected_until) || fails(old) != fails(new);
    let is_new = load.good + load.failed > 0 || load.in_flight != old.in_flight || state_is_new;
    is_new.then_some(load)
}

fn latency(old: &Latency, new: &Latency) -> Latency {
    let mut delta = Latency { sum_micros: new.sum_micros.saturating_sub(old.sum_micros), ..new.clone() };
    delta.buckets.iter_mut().zip(old.buckets).for_each(|(new, old)| *new = new.saturating_sub(old));
    delta
}

fn refused(old: &BTreeMap<String, u64>, new: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = |(reason, count): (&String, &u64)| {
        let before = old.get(reason).copied().unwrap_or(0);
        (reason.clone(), count.saturating_sub(before))
    };
    new.iter().map(since).filter(|(_, count)| *count > 0).collect()
}
