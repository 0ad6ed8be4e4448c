//! Clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_api::Service;
use bowline_api::model::{AppProtocol, BalancingPolicy, HealthCheck as Check, Limits};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy;
use envoy_types::pb::envoy::config::cluster::v3::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetSelector,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LbSubsetConfig, LeastRequestLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, OutlierDetection};
use envoy_types::pb::envoy::config::core::v3::health_check::payload::Payload as PayloadKind;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck,
};
use envoy_types::pb::envoy::config::core::v3::{
    HealthCheck, Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions as UpstreamOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Int64Range, Percent};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, UInt64Value, Value};

use crate::encode::around::Around;
use crate::encode::common::{duration, eds_cluster, pack, uint};

/// Envoy's own limits are 1024 where nothing is said; ours are none.
const UNLIMITED: u32 = 1_000_000_000;
/// How much of a body a health check looks at, in bytes.
const CHECKED_BODY: u64 = 65_536;

/// The cluster of a service.
pub(super) fn cluster(service: &Service, around: &Around) -> Cluster {
    let mut cluster = eds_cluster(service);
    let balancing = &service.load_balancing;
    cluster.lb_policy = match balancing.policy {
        BalancingPolicy::PeakEwma | BalancingPolicy::LeastRequest => LbPolicy::LeastRequest,
        BalancingPolicy::RoundRobin => LbPolicy::RoundRobin,
        BalancingPolicy::Random => LbPolicy::Random,
        BalancingPolicy::RingHash => LbPolicy::RingHash,
        BalancingPolicy::Maglev => LbPolicy::Maglev,
    }
    .into();
    cluster.lb_config = slow_start(service);
    cluster.lb_subset_config = subsets(service, around);
    cluster.outlier_detection = outlier_detection(service);
    cluster.circuit_breakers = Some(circuit_breakers(service));
    cluster.health_checks =
        service.health_check.iter().filter_map(|check| health_check(service, check)).collect();
    // Else an endpoint that is gone would serve on for as long as it looks well.
    cluster.ignore_health_on_host_removal = true;
    let bound = balancing.bounded_load_percent;
    let by_zone = LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {});
    cluster.common_lb_config = Some(CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: balancing.panic_percent.into() }),
        consistent_hashing_lb_config: (hashes(service) && bound > 0).then(|| ConsistentHashingLbConfig {
            hash_balance_factor: uint(bound),
            ..ConsistentHashingLbConfig::default()
        }),
        // Maglev and the ring can't go by zones.
        locality_config_specifier: (!balancing.zone_weights.is_empty() && !hashes(service))
            .then_some(by_zone),
        ..CommonLbConfig::default()
    });
    if service.app_protocol != Some(AppProtocol::Tcp) {
        let options = pack(&upstream_options(service));
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        cluster.typed_extension_protocol_options.insert(key, options);
    }
    cluster
}

fn hashes(service: &Service) -> bool {
    matches!(service.load_balancing.policy, BalancingPolicy::RingHash | BalancingPolicy::Maglev)
}

fn slow_start(service: &Service) -> Option<LbConfig> {
    let window = service.load_balancing.slow_start_seconds.limit()?;
    let slow_start_config =
        Some(SlowStartConfig { slow_start_window: Some(duration(window)), ..SlowStartConfig::default() });
    match service.load_balancing.policy {
        BalancingPolicy::PeakEwma | BalancingPolicy::LeastRequest => {
            Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                slow_start_config,
                ..LeastRequestLbConfig::default()
            }))
        }
        BalancingPolicy::RoundRobin => {
            Some(LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config }))
        }
        BalancingPolicy::Random | BalancingPolicy::RingHash | BalancingPolicy::Maglev => None,
    }
}

/// Labels as routes and clusters name them.
pub(super) fn labels(subset: &BTreeMap<String, String>) -> Struct {
    let value = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
    Struct { fields: subset.iter().map(|(label, text)| (label.clone(), value(text))).collect() }
}

/// The parts that routes of any service ask for. Whoever asks for no part gets all, or what the service says.
fn subsets(service: &Service, around: &Around) -> Option<LbSubsetConfig> {
    if around.parts.is_empty() {
        return None;
    }
    let own = &service.load_balancing.subset;
    let (fallback, default_subset) = match own.is_empty() {
        true => (LbSubsetFallbackPolicy::AnyEndpoint, None),
        false => (LbSubsetFallbackPolicy::DefaultSubset, Some(labels(own))),
    };
    let selector = |keys: &crate::encode::around::Labels| LbSubsetSelector {
        keys: keys.iter().cloned().collect(),
        fallback_policy: LbSubsetSelectorFallbackPolicy::NoFallback.into(),
        ..LbSubsetSelector::default()
    };
    Some(LbSubsetConfig {
        fallback_policy: fallback.into(),
        default_subset,
        subset_selectors: around.parts.iter().map(selector).collect(),
        locality_weight_aware: !service.load_balancing.zone_weights.is_empty(),
        ..LbSubsetConfig::default()
    })
}

/// `None`: nothing is said of how to ask.
fn health_check(service: &Service, check: &Check) -> Option<HealthCheck> {
    let checker = if let Some(http) = &check.http {
        let codec = match service.app_protocol {
            Some(AppProtocol::Http2 | AppProtocol::Grpc) => CodecClientType::Http2,
            Some(AppProtocol::Http | AppProtocol::Tcp) | None => CodecClientType::Http1,
        };
        let status = |status: &u16| Int64Range { start: (*status).into(), end: i64::from(*status) + 1 };
        let body = |text: &String| Payload { payload: Some(PayloadKind::Binary(text.clone().into_bytes())) };
        HealthChecker::HttpHealthCheck(HttpHealthCheck {
            // Where it is empty Envoy asks by the cluster's name.
            host: http.host.clone().unwrap_or_default(),
            path: http.path.clone(),
            expected_statuses: http.status.iter().map(status).collect(),
            codec_client_type: codec.into(),
            receive: http.body.iter().map(body).collect(),
            response_buffer_size: http.body.is_some().then_some(UInt64Value { value: CHECKED_BODY }),
            ..HttpHealthCheck::default()
        })
    } else if let Some(grpc) = &check.grpc {
        let service_name = grpc.service.clone();
        HealthChecker::GrpcHealthCheck(GrpcHealthCheck { service_name, ..GrpcHealthCheck::default() })
    } else {
        check.tcp.as_ref()?;
        HealthChecker::TcpHealthCheck(TcpHealthCheck::default())
    };
    let interval = Some(duration(check.interval_seconds.get()));
    Some(HealthCheck {
        timeout: Some(duration(check.timeout_seconds.get())),
        interval,
        // Else a minute, for as long as nothing is sent there.
        no_traffic_interval: interval,
        interval_jitter_percent: check.jitter_percent,
        healthy_threshold: uint(check.healthy_threshold),
        unhealthy_threshold: uint(check.unhealthy_threshold),
        health_checker: Some(checker),
        ..HealthCheck::default()
    })
}

fn upstream_options(service: &Service) -> UpstreamOptions {
    let (http1, http2) = (Http1ProtocolOptions::default(), Http2ProtocolOptions::default());
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
    };
    let protocol = match service.app_protocol {
        Some(AppProtocol::Http2 | AppProtocol::Grpc) => explicit(ProtocolConfig::Http2ProtocolOptions(http2)),
        Some(AppProtocol::Http | AppProtocol::Tcp) => explicit(ProtocolConfig::HttpProtocolOptions(http1)),
        None => UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(http1),
            http2_protocol_options: Some(http2),
            ..UseDownstreamHttpConfig::default()
        }),
    };
    let idle = service.timeout.idle(AppProtocol::Http).unwrap_or_default();
    UpstreamOptions {
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(duration(idle)),
            ..HttpProtocolOptions::default()
        }),
        upstream_protocol_options: Some(protocol),
        ..UpstreamOptions::default()
    }
}

/// Only what we have: Envoy's other detectors are off.
pub(crate) fn outlier_detection(service: &Service) -> Option<OutlierDetection> {
    let outlier = &service.outlier_detection;
    outlier.is_on().then(|| OutlierDetection {
        consecutive_5xx: uint(outlier.consecutive_failures),
        interval: Some(duration(Duration::from_secs(1))),
        base_ejection_time: Some(duration(outlier.base_ejection_seconds.get())),
        max_ejection_time: Some(duration(outlier.max_ejection_seconds.get())),
        max_ejection_percent: uint(outlier.max_ejection_percent),
        enforcing_consecutive_5xx: uint(100),
        enforcing_success_rate: uint(0),
        enforcing_consecutive_gateway_failure: uint(0),
        ..OutlierDetection::default()
    })
}

pub(crate) fn circuit_breakers(service: &Service) -> CircuitBreakers {
    let none = Limits {
        max_connections: UNLIMITED,
        max_pending_requests: UNLIMITED,
        max_requests: UNLIMITED,
        adaptive_concurrency: None,
    };
    let limits = service.limits.as_ref().unwrap_or(&none);
    let thresholds = Thresholds {
        max_connections: uint(limits.max_connections),
        max_pending_requests: uint(limits.max_pending_requests),
        max_requests: uint(limits.max_requests),
        // Envoy's own is 3 at a time: an endpoint that dies with more requests on it would lose some. And its budget is
        // a share of what is in flight, so nothing where little is.
        max_retries: uint(UNLIMITED),
        ..Thresholds::default()
    };
    CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() }
}
