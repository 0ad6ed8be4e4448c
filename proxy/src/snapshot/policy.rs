//! How requests to a service are handled: the mesh model's words, worked out once a snapshot.

use std::time::Duration;

use bowline_api::model::{self, AppProtocol};
use bowline_core::balance::{Policy as Balancing, SlowStart};
use bowline_core::budget::BudgetConfig;
use bowline_core::outlier::OutlierConfig;
use bowline_core::retry::{AttemptTimeout, RetryOn, RetryPolicy};

use super::hashing::plain;
use super::shares::Spread;

/// How long a connection to an endpoint of a bypassed service may take to open, at the least: without any limit a packet
/// that is dropped on its way would hold the app up for the two minutes that the kernel tries.
const BYPASSED_CONNECT: Duration = Duration::from_secs(5);

/// How requests to a service are handled, worked out from the mesh model.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// To open a connection.
    pub connect: Duration,
    /// From the end of the request to the response head; for gRPC see [`Policy::grpc_response_headers`].
    pub response_headers: Option<Duration>,
    /// The same for gRPC requests: only where the mesh file says so.
    pub grpc_response_headers: Option<Duration>,
    /// From the request's arrival to the end of its response.
    pub per_request: Option<Duration>,
    /// A connection without a request is closed after this long.
    pub idle: Option<Duration>,
    /// For one attempt.
    pub attempt: AttemptTimeout,
    /// What is tried again.
    pub retry: RetryPolicy,
    /// How the endpoint is chosen.
    pub balancing: Balancing,
    /// A second attempt goes off after this percentile of the recent latency; `None`: none does.
    pub hedge_after: Option<u32>,
    /// Ejections are ignored when fewer than this share of the endpoints is left.
    pub panic_percent: u32,
    /// How requests are spread over zones and new endpoints.
    pub spread: Spread,
    pub(super) outlier: OutlierConfig,
    pub(super) budget: BudgetConfig,
}

impl Policy {
    /// The policy of a service that is bypassed: nothing is tried again, timed (but the opening of a connection),
    /// ejected or preferred.
    pub(super) fn bypassed(service: &model::Service) -> Self {
        let policy = Self::new(service);
        Policy {
            connect: policy.connect.max(BYPASSED_CONNECT),
            response_headers: None,
            grpc_response_headers: None,
            per_request: None,
            idle: None,
            attempt: AttemptTimeout::Off,
            hedge_after: None,
            retry: RetryPolicy { retries: 0, ..policy.retry },
            balancing: Balancing::Random,
            spread: Spread::default(),
            // Whoever has been ejected is asked again.
            panic_percent: 100,
            outlier: OutlierConfig { consecutive_failures: 0, ..policy.outlier },
            ..policy
        }
    }

    /// The policy of the app behind this proxy. Its callers have timeouts and retries of their own; what they can't know
    /// is that a connection here had been idle, and was closed under their request.
    pub(super) fn of_app(service: &model::Service) -> Self {
        let policy = Self::bypassed(service);
        let on = RetryOn::NONE.with(RetryOn::CONNECT_FAILURE | RetryOn::REFUSED_STREAM | RetryOn::RESET);
        Policy {
            idle: Self::new(service).idle,
            retry: RetryPolicy { retries: 1, on, on_is_explicit: false, ..policy.retry },
            ..policy
        }
    }

    pub(super) fn new(service: &model::Service) -> Self {
        Self::with(service, &service.timeout, &service.retry)
    }

    /// The service's policy with other timeouts and retries.
    pub(super) fn with(service: &model::Service, timeout: &model::Timeout, retry: &model::Retry) -> Self {
        let lb = &service.load_balancing;
        let outlier = &service.outlier_detection;
        Policy {
            connect: timeout.connect(),
            response_headers: timeout.response_headers(AppProtocol::Http),
            grpc_response_headers: timeout.response_headers(AppProtocol::Grpc),
            per_request: timeout.per_request(),
            idle: timeout.idle(service.app_protocol.unwrap_or(AppProtocol::Http)),
            attempt: match timeout.per_attempt_seconds {
                model::AttemptTimeout::Auto => AttemptTimeout::Auto,
                model::AttemptTimeout::Fixed(seconds) => {
                    seconds.limit().map_or(AttemptTimeout::Off, AttemptTimeout::Fixed)
                }
            },
            retry: RetryPolicy {
                retries: retry.retries,
                on: retry.on.as_deref().map_or_else(RetryOn::default, retry_on),
                on_is_explicit: retry.on.is_some(),
                backoff_base: retry.backoff.base(),
                backoff_max: retry.backoff.max(),
                max_body_bytes: usize::try_from(retry.max_body_bytes).unwrap_or(usize::MAX),
            },
            balancing: plain(lb.policy),
            spread: spread(service),
            hedge_after: service.hedge.as_ref().map(|hedge| hedge.after_percentile),
            panic_percent: lb.panic_percent,
            outlier: OutlierConfig {
                consecutive_failures: outlier.consecutive_failures,
                base_ejection: outlier.base_ejection_seconds.get(),
                max_ejection: outlier.max_ejection_seconds.get(),
                max_ejection_percent: outlier.max_ejection_percent,
            },
            budget: BudgetConfig {
                percent: retry.budget.percent,
                min_per_second: retry.budget.min_per_second,
                window: retry.budget.window_seconds.get(),
            },
        }
    }
}

fn spread(service: &model::Service) -> Spread {
    let lb = &service.load_balancing;
    Spread {
        zone_aware: lb.zone_aware,
        zone_weights: lb.zone_weights.iter().map(|(zone, weight)| (zone.clone(), *weight)).collect(),
        slow_start: SlowStart { window: lb.slow_start_seconds.get(), ..SlowStart::default() },
        checked: service.health_check.is_some(),
        by_key: plain(lb.policy).is_by_key(),
    }
}

fn retry_on(named: &[model::RetryOn]) -> RetryOn {
    named.iter().fold(RetryOn::NONE, |on, what| match what {
        model::RetryOn::ConnectFailure => on.with(RetryOn::CONNECT_FAILURE),
        model::RetryOn::RefusedStream => on.with(RetryOn::REFUSED_STREAM),
        model::RetryOn::Reset => on.with(RetryOn::RESET),
        model::RetryOn::Timeout => on.with(RetryOn::TIMEOUT),
        model::RetryOn::Unavailable => on.with(RetryOn::UNAVAILABLE),
        model::RetryOn::Status(statuses) => statuses.iter().fold(on, |on, status| on.with_status(*status)),
    })
}
