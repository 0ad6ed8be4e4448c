//! What outlives a snapshot: counts, ejections, breakers, of services and their endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bowline_core::outlier::EndpointHealth;

use super::rules::RouteCounts;
use super::{Checked, Labels};
use crate::guard::BreakerPlace;
use crate::limiter::Limiter;
use crate::telemetry::exemplars::Exemplars;
use crate::telemetry::metrics::{ByReason, EndpointCounters, PerWorker, ServiceCounters};

/// One endpoint in a snapshot.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What outlives this snapshot.
    pub shared: Arc<SharedEndpoint>,
    /// Its share of the traffic; 0: no new requests.
    pub weight: u32,
    /// Its zone.
    pub zone: Option<String>,
    /// Its level; the lowest number is used first.
    pub priority: u32,
    /// Its labels.
    pub metadata: Arc<Labels>,
}

/// What all workers and all snapshots share of a service.
#[derive(Debug, Default)]
pub struct SharedService {
    /// Its name.
    pub name: String,
    /// What the workers count.
    pub counters: PerWorker<ServiceCounters>,
    /// Attempts without an answer, by what went wrong.
    pub attempt_failures: ByReason,
    /// Retries by what had gone wrong.
    pub retries: ByReason,
    /// Failed attempts that were not tried again, by why not.
    pub retries_refused: ByReason,
    /// Requests answered by the proxy itself, by reason.
    pub local_responses: ByReason,
    /// Callers who were turned away, by why.
    pub access_refused: ByReason,
    /// Active health checks by what came of them: ok, failed or timeout.
    pub health_checks: ByReason,
    /// Of its latencies, those whose traces can be looked up.
    pub exemplars: Exemplars,
    /// How much of it may be in use at a time, and who waits.
    pub limiter: Arc<Limiter>,
    /// What is counted of its routes.
    pub routes: RouteCounts,
    /// Another number after each change of a breaker of its endpoints.
    pub breaker_epoch: Arc<AtomicU64>,
    /// Second attempts that were sent beside a slow first one, and how many of them answered first.
    pub hedges: Hedges,
}

/// What all workers and all snapshots share of an endpoint.
#[derive(Debug)]
pub struct SharedEndpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Failures in a row, ejection.
    pub health: Arc<EndpointHealth>,
    /// What active health checks say.
    pub checked: Checked,
    /// What the workers count.
    pub counters: PerWorker<EndpointCounters>,
    /// Times it was ejected.
    pub ejections: AtomicU64,
    /// Its circuit breaker, if it has one.
    pub breaker: BreakerPlace,
}

/// Counts of hedging.
#[derive(Debug, Default)]
pub struct Hedges {
    /// Second attempts.
    pub sent: AtomicU64,
    /// Those whose answer came first.
    pub won: AtomicU64,
}

impl SharedEndpoint {
    /// One that nothing is known of.
    pub fn new(addr: SocketAddr) -> Arc<Self> {
        Arc::new(SharedEndpoint {
            addr,
            health: Arc::default(),
            checked: Checked::default(),
            counters: PerWorker::default(),
            ejections: AtomicU64::new(0),
            breaker: BreakerPlace::default(),
        })
    }
}
