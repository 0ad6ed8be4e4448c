//! HTTP filters beside the router, which are in a chain only where a service needs them.

use std::collections::HashMap;
use std::time::Duration;

use bowline_api::Service;
use bowline_api::model::{AdaptiveConcurrency as Bounds, Fault, RateLimit, Route, Side};
use envoy_types::pb::envoy::config::core::v3::{RuntimeFeatureFlag, RuntimeFractionalPercent};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::XRateLimitHeadersRfcVersion;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::FaultDelay;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::http::adaptive_concurrency::v3::adaptive_concurrency::ConcurrencyControllerConfig;
use envoy_types::pb::envoy::extensions::filters::http::adaptive_concurrency::v3::gradient_controller_config::{
    ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
};
use envoy_types::pb::envoy::extensions::filters::http::adaptive_concurrency::v3::{
    AdaptiveConcurrency, GradientControllerConfig,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, Percent, TokenBucket};
use envoy_types::pb::google::protobuf::{Any, BoolValue};

use crate::encode::common::{duration, pack, router, uint};
use crate::encode::matching::header_present;

const FAULT: &str = "envoy.filters.http.fault";
const RATE: &str = "envoy.filters.http.local_ratelimit";
const ADAPTIVE: &str = "envoy.filters.http.adaptive_concurrency";
/// Envoy fills no bucket more often.
const FILL: Duration = Duration::from_millis(50);

/// The filters that a chain needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters {
    /// How many rate limits can hold for one request.
    rates: usize,
    /// Some route has faults.
    faults: bool,
}

impl Filters {
    /// Those that a service needs.
    pub(super) fn of(service: &Service) -> Self {
        let own = held(&service.rate_limit).count();
        let routes = service.routes.iter().map(|route| held(&route.rate_limit).count()).max().unwrap_or(0);
        Filters { rates: own + routes, faults: service.routes.iter().any(|route| route.fault.is_some()) }
    }

    /// Those that both need.
    pub(super) fn and(self, other: Self) -> Self {
        Filters { rates: self.rates.max(other.rates), faults: self.faults || other.faults }
    }

    /// The chain.
    pub(super) fn chain(self, adaptive: Option<&Bounds>) -> Vec<HttpFilter> {
        let mut chain = Vec::new();
        for index in 0..self.rates {
            let off = LocalRateLimit { stat_prefix: rate_name(index), ..LocalRateLimit::default() };
            chain.push(filter(&rate_name(index), pack(&off)));
        }
        if self.faults {
            chain.push(filter(FAULT, pack(&HttpFault::default())));
        }
        chain.extend(adaptive.map(|bounds| filter(ADAPTIVE, pack(&concurrency(bounds)))));
        chain.push(router());
        chain
    }
}

fn filter(name: &str, config: Any) -> HttpFilter {
    let config_type = Some(ConfigType::TypedConfig(config));
    HttpFilter { name: name.to_owned(), config_type, ..HttpFilter::default() }
}

/// A chain has the filter several times, one for each limit that holds for a request.
fn rate_name(index: usize) -> String {
    format!("{RATE}.{index}")
}

/// The limits that callers keep to, and that Envoy knows how to.
pub(crate) fn held(limits: &[RateLimit]) -> impl Iterator<Item = &RateLimit> {
    limits.iter().filter(|limit| limit.side == Side::Outbound && limit.key.is_none())
}

/// What the filters do for all requests to a service.
pub(super) fn of_service(service: &Service) -> HashMap<String, Any> {
    rates(&service.rate_limit, 0)
}

/// What they do for a route's requests beside that.
pub(super) fn of_route(service: &Service, route: &Route) -> HashMap<String, Any> {
    let mut filters = rates(&route.rate_limit, held(&service.rate_limit).count());
    filters.extend(route.fault.as_ref().map(|it| (FAULT.to_owned(), pack(&fault(it)))));
    filters
}

fn rates(limits: &[RateLimit], from: usize) -> HashMap<String, Any> {
    let limits = (from..).zip(held(limits));
    limits.map(|(index, limit)| (rate_name(index), pack(&rate(limit, index)))).collect()
}

fn always() -> Option<RuntimeFractionalPercent> {
    Some(RuntimeFractionalPercent {
        default_value: Some(percent(100)),
        ..RuntimeFractionalPercent::default()
    })
}

/// A share in percent.
pub(super) fn percent(numerator: u32) -> FractionalPercent {
    FractionalPercent { numerator, denominator: DenominatorType::Hundred.into() }
}

fn rate(limit: &RateLimit, index: usize) -> LocalRateLimit {
    LocalRateLimit {
        stat_prefix: rate_name(index),
        token_bucket: Some(bucket(limit)),
        filter_enabled: always(),
        filter_enforced: always(),
        enable_x_ratelimit_headers: XRateLimitHeadersRfcVersion::DraftVersion03.into(),
        rate_limited_as_resource_exhausted: true,
        enable_retry_after_header: true,
        ..LocalRateLimit::default()
    }
}

/// Filled as evenly as Envoy can.
fn bucket(limit: &RateLimit) -> TokenBucket {
    let (requests, period) = match (limit.requests_per_second, limit.requests_per_minute) {
        (Some(requests), _) => (requests, Duration::from_secs(1)),
        (None, requests) => (requests.unwrap_or(1), Duration::from_secs(60)),
    };
    let requests = requests.max(1);
    let fills = u32::try_from(period.as_millis() / FILL.as_millis()).unwrap_or(u32::MAX);
    let tokens = requests.div_ceil(fills);
    // 50 million and a minute are the most.
    let nanos = period.as_nanos() * u128::from(tokens) / u128::from(requests);
    let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(FILL);
    TokenBucket {
        max_tokens: limit.burst.unwrap_or(requests),
        tokens_per_fill: uint(tokens),
        fill_interval: Some(duration(interval)),
    }
}

fn fault(fault: &Fault) -> HttpFault {
    let delay = fault.delay.as_ref().and_then(|delay| {
        Some(FaultDelay {
            percentage: Some(percent(delay.percent)),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(delay.seconds.limit()?))),
        })
    });
    let abort = fault.abort.as_ref().map(|abort| FaultAbort {
        percentage: Some(percent(abort.percent)),
        error_type: Some(ErrorType::HttpStatus(abort.status.into())),
        ..FaultAbort::default()
    });
    let headers = fault.only_with_header.iter().map(|name| header_present(name)).collect();
    HttpFault { delay, abort, headers, ..HttpFault::default() }
}

fn concurrency(bounds: &Bounds) -> AdaptiveConcurrency {
    let limits = ConcurrencyLimitCalculationParams {
        max_concurrency_limit: uint(bounds.max_concurrency),
        concurrency_update_interval: Some(duration(Duration::from_millis(100))),
        min_concurrency_limit: uint(bounds.min_concurrency),
    };
    let probe = MinimumRttCalculationParams {
        interval: Some(duration(bounds.probe_interval_seconds.get())),
        min_concurrency: uint(bounds.min_concurrency),
        buffer: Some(Percent { value: bounds.buffer_percent.min(100).into() }),
        ..MinimumRttCalculationParams::default()
    };
    let gradient = GradientControllerConfig {
        concurrency_limit_params: Some(limits),
        min_rtt_calc_params: Some(probe),
        ..GradientControllerConfig::default()
    };
    AdaptiveConcurrency {
        enabled: Some(RuntimeFeatureFlag {
            default_value: Some(BoolValue { value: true }),
            // Envoy wants a name.
            runtime_key: "bowline.adaptive_concurrency".to_owned(),
        }),
        concurrency_controller_config: Some(ConcurrencyControllerConfig::GradientControllerConfig(gradient)),
        ..AdaptiveConcurrency::default()
    }
}
