//! What stands between a request and its service: rate limits, a circuit breaker, a learnt limit of requests in flight.
//!
//! The algorithms are bowline-core's. Here is what they need around them: the mesh's words worked out, state that stays when
//! the mesh changes, guards that report on drop. All state is one for all workers.

mod adaptive;
mod breaker;
mod rate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::model;
use bowline_core::Tick;
use bowline_core::breaker::Change;

pub use adaptive::AdaptiveLimit;
pub use breaker::{Call, CircuitBreaker, EndpointBreakers, Place as BreakerPlace};
pub use rate::{RateLimit, RateLimits, Refused};

/// All that guards one service; a service without any has none of it.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// In callers' proxies.
    pub outbound: RateLimits,
    /// Where requests come in.
    pub inbound: RateLimits,
    /// Of the service as a whole.
    pub breaker: Option<CircuitBreaker>,
    /// Learns how many requests may be in flight.
    pub adaptive: Option<Arc<AdaptiveLimit>>,
}

impl Guards {
    /// What the mesh says of a service; `before`: what guarded it until now, whose state goes on. `None`: nothing.
    pub fn new(service: &model::Service, before: Option<&Guards>, now: Tick) -> Option<Arc<Self>> {
        let limits = |side, before: Option<&RateLimits>| RateLimits::new(&service.rate_limit, side, before);
        let guards = Guards {
            outbound: limits(model::Side::Outbound, before.map(|before| &before.outbound)),
            inbound: limits(model::Side::Inbound, before.map(|before| &before.inbound)),
            breaker: service.circuit_breaker.as_ref().map(|model| {
                CircuitBreaker::new(model, before.and_then(|before| before.breaker.as_ref()), now)
            }),
            adaptive: service
                .limits
                .as_ref()
                .and_then(|limits| limits.adaptive_concurrency.as_ref())
                .map(|model| AdaptiveLimit::new(model, before.and_then(|before| before.adaptive.as_ref()))),
        };
        let any = !guards.outbound.is_empty()
            || !guards.inbound.is_empty()
            || guards.breaker.is_some()
            || guards.adaptive.is_some();
        any.then(|| Arc::new(guards))
    }

    /// Whether a request on its way out has to pass anything.
    pub fn concern_outbound(&self) -> bool {
        !self.outbound.is_empty() || self.breaker.is_some() || self.adaptive.is_some()
    }
}

/// Says in the log what a breaker does from now on: that of the service, or of one of its endpoints.
#[cold]
pub fn log_change(service: &str, endpoint: Option<SocketAddr>, change: Change, reset: Duration) {
    let of = endpoint.map_or_else(|| "the service".to_owned(), |endpoint| endpoint.to_string());
    let seconds = reset.as_secs_f64();
    match change {
        Change::Opened => tracing::warn!(service, of, seconds, "circuit breaker opened"),
        Change::Reopened => {
            tracing::warn!(service, of, seconds, "circuit breaker stays open: the probe failed");
        }
        Change::Closed => tracing::info!(service, of, "circuit breaker closed"),
    }
}
