//! What has been counted of each service up to one moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bowline_api::model::AppProtocol;
use bowline_core::Tick;
use bowline_xds::load_report::{BOUNDS_MICROS, EndpointLoad, Latency, ServiceLoad};

use crate::snapshot::{Endpoint, Service, Snapshot};
use crate::telemetry::metrics::{self, Class, Histogram, HistogramTotal, TunnelEnd};

// The buckets of both are the same, so that nothing has to be sorted anew.
const _: () = {
    let mut at = 0;
    while at < BOUNDS_MICROS.len() {
        assert!(BOUNDS_MICROS[at] == metrics::BOUNDS_MICROS[at]);
        at += 1;
    }
};

/// Of all services that have been called. Others cost nothing here.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// When they were read.
    pub(super) at: Tick,
    pub(super) services: BTreeMap<String, ServiceCounts>,
}

/// Of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceCounts {
    /// Differs when the service has gone and come back: its counters begin at nothing then.
    pub(super) identity: usize,
    /// All that was counted. Its endpoints are below.
    pub(super) load: ServiceLoad,
    pub(super) endpoints: BTreeMap<SocketAddr, EndpointCounts>,
}

/// Of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct EndpointCounts {
    /// As that of a service.
    pub(super) identity: usize,
    /// All that was counted. `good` has in it what was `broken` later, and `ejected` is not in it.
    pub(super) load: EndpointLoad,
    /// Answers that broke off.
    pub(super) broken: u64,
    /// When it comes back; `Tick::ZERO`: it was never ejected.
    pub(super) ejected_until: Tick,
}

impl Counts {
    /// Reads all counters.
    pub(super) fn read(snapshot: &Snapshot, at: Tick) -> Self {
        let services = snapshot.services.iter().map(|service| (service.name.clone(), of_service(service)));
        Counts { at, services: services.filter(|(_, counts)| counts.has_any()).collect() }
    }

    /// What stood at some level is taken for nothing, so that it is told again where it is not.
    pub(super) fn forget_levels(&mut self) {
        for service in self.services.values_mut() {
            service.load.in_flight = 0;
            for endpoint in service.endpoints.values_mut() {
                endpoint.load.in_flight = 0;
                endpoint.load.failures_in_a_row = 0;
                endpoint.ejected_until = Tick::ZERO;
            }
        }
    }

    /// When the next endpoint that is ejected comes back.
    pub(super) fn next_return(&self) -> Option<Tick> {
        let endpoints = self.services.values().flat_map(|service| service.endpoints.values());
        endpoints.map(|endpoint| endpoint.ejected_until).filter(|until| *until > self.at).min()
    }
}

impl ServiceCounts {
    fn has_any(&self) -> bool {
        !self.endpoints.is_empty() || self.load.requests.iter().any(|count| *count > 0)
    }
}

fn of_service(service: &Service) -> ServiceCounts {
    let shared = &service.shared;
    let mut requests = Class::ALL.map(|class| shared.counters.sum(|c| c.requests[class as usize].get()));
    if service.protocol == Some(AppProtocol::Tcp) {
        // A connection is a request: it goes well when it stands.
        let ended = |end: TunnelEnd| shared.counters.sum(|c| c.tunnels.ended[end as usize].get());
        let well = TunnelEnd::ALL.into_iter().filter(|end| *end != TunnelEnd::Failed).map(ended).sum::<u64>();
        let mut open = 0;
        shared.counters.each(|c| open += c.tunnels.open.get());
        requests[Class::Success as usize] += well + u64::try_from(open).unwrap_or(0);
        requests[Class::None as usize] += ended(TunnelEnd::Failed);
    }
    let mut latency = Latency::default();
    shared.counters.each(|c| add(&mut latency, &c.duration));
    let endpoints: BTreeMap<_, _> = service
        .all_endpoints()
        .map(|endpoint| (endpoint.shared.addr, of_endpoint(endpoint)))
        .filter(|(_, counts)| counts.has_any())
        .collect();
    let load = ServiceLoad {
        service: service.name.clone(),
        requests,
        latency,
        retries: shared.retries.get().into_iter().map(|(_, count)| count).sum(),
        refused: shared.local_responses.get().into_iter().map(|(why, n)| (why.to_owned(), n)).collect(),
        in_flight: endpoints.values().map(|endpoint| endpoint.load.in_flight).sum(),
        endpoints: Vec::new(),
    };
    ServiceCounts { identity: Arc::as_ptr(shared).addr(), load, endpoints }
}

fn of_endpoint(endpoint: &Endpoint) -> EndpointCounts {
    let shared = &endpoint.shared;
    let mut load = EndpointLoad::new(shared.addr);
    let (mut broken, mut in_flight) = (0, 0);
    shared.counters.each(|counters| {
        let of = |class: Class| counters.attempts[class as usize].get();
        load.failed += of(Class::ServerError) + of(Class::None);
        load.good += [Class::Other, Class::Success, Class::Redirect, Class::ClientError, Class::GrpcError]
            .map(of)
            .iter()
            .sum::<u64>();
        broken += counters.broken.get();
        in_flight += counters.in_flight.get();
        add(&mut load.latency, &counters.duration);
    });
    load.in_flight = u64::try_from(in_flight).unwrap_or(0);
    load.failures_in_a_row = shared.health.consecutive_failures();
    let ejected_until = shared.health.ejected_until(Tick::ZERO).unwrap_or(Tick::ZERO);
    EndpointCounts { identity: Arc::as_ptr(shared).addr(), load, broken, ejected_until }
}

impl EndpointCounts {
    fn has_any(&self) -> bool {
        self.load.good + self.load.failed + self.load.in_flight > 0
    }
}

fn add(latency: &mut Latency, histogram: &Histogram) {
    let mut total = HistogramTotal::default();
    histogram.add_to(&mut total);
    for (sum, bucket) in latency.buckets.iter_mut().zip(total.buckets) {
        *sum += bucket;
    }
    latency.sum_micros += total.sum_nanos / 1_000;
}
