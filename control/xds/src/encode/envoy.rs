//! For Envoy: the nearest standard resources. A listener on each VIP and port, and one HTTP forward proxy for all.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bowline_api::Service;
use bowline_api::model::{AppProtocol, BalancingPolicy, HashOn, Limits, RetryConditions};
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{CommonLbConfig, LbPolicy};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, OutlierDetection};
use envoy_types::pb::envoy::config::core::v3::{Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType as PredicateConfig;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate};
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{HttpConnectionManager, Rds};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier as TcpCluster;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions as UpstreamOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{BoolValue, Duration as PbDuration};

use super::common::{address, by_ads, duration, eds_cluster, host_port, pack, route_all, router, uint};
use super::{Host, load};
use crate::resource::Resource;
use crate::world::ServiceState;

/// The listener of the HTTP forward proxy, and its routes.
pub(crate) const OUTBOUND: &str = "outbound";
/// Where it listens, as our own proxies do.
const OUTBOUND_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15_001);
/// Envoy's own limits are 1024 where nothing is said; ours are none.
const UNLIMITED: u32 = 1_000_000_000;
const IDEMPOTENT: &str = "GET|HEAD|PUT|DELETE|OPTIONS|TRACE";

/// A cluster, the endpoints, and for each alias that has a VIP a listener.
pub(crate) fn resources(state: &ServiceState) -> Vec<Resource> {
    let service = &state.service;
    let name: Arc<str> = service.discovery_name.as_str().into();
    let mut resources = vec![Resource::new(name, &cluster(service)), load::resource(state, false)];
    for alias in &service.client_aliases {
        let Some(vip) = state.vips.get(&alias.dns_name) else { continue };
        let dialled = host_port(&alias.dns_name, alias.port);
        let filter = if service.app_protocol == Some(AppProtocol::Tcp) {
            tcp_proxy(service)
        } else {
            let by_address = host_port(&vip.to_string(), alias.port);
            let host = VirtualHost {
                name: dialled.clone(),
                domains: vec![alias.dns_name.clone(), dialled.clone(), by_address, "*".to_owned()],
                routes: routes(service),
                ..VirtualHost::default()
            };
            let config = RouteConfiguration {
                name: dialled.clone(),
                virtual_hosts: vec![host],
                // Envoy refuses a listener whose cluster comes a moment later, else.
                validate_clusters: Some(BoolValue { value: false }),
                ..RouteConfiguration::default()
            };
            let idle = service.timeout.idle(AppProtocol::Http);
            http_filter(&service.discovery_name, RouteSpecifier::RouteConfig(config), idle)
        };
        let listener = listener(dialled, SocketAddr::new((*vip).into(), alias.port), filter);
        resources.push(Resource::new(listener.name.as_str().into(), &listener));
    }
    resources
}

/// The names by which requests at the forward proxy can mean the service.
pub(crate) fn hosts(state: &ServiceState) -> Vec<Host> {
    let service = &state.service;
    if service.app_protocol == Some(AppProtocol::Tcp) {
        return Vec::new();
    }
    let host = |alias: &bowline_api::model::ClientAlias| Host {
        dns_name: alias.dns_name.clone(),
        port: alias.port,
        vip: state.vips.get(&alias.dns_name).copied(),
        routes: routes(service),
    };
    service.client_aliases.iter().map(host).collect()
}

/// The forward proxy: its listener and its routes.
pub(crate) fn outbound<'a>(hosts: impl Iterator<Item = &'a Host> + Clone) -> Vec<Resource> {
    // A name without a port means port 80; where nothing is there, the lowest port is the best guess.
    let mut bare: BTreeMap<&str, u16> = BTreeMap::new();
    for host in hosts.clone() {
        let rank = |port: u16| (port != 80, port);
        let port = bare.entry(&host.dns_name).or_insert(host.port);
        if rank(host.port) < rank(*port) {
            *port = host.port;
        }
    }
    // By address and port two names can't clash; by name and port neither, as they are unique in a mesh.
    let mut virtual_hosts: Vec<VirtualHost> = hosts
        .map(|host| {
            let name = host_port(&host.dns_name, host.port);
            let mut domains = vec![name.clone()];
            domains.extend(host.vip.map(|vip| host_port(&vip.to_string(), host.port)));
            domains.extend(
                (bare.get(host.dns_name.as_str()) == Some(&host.port)).then(|| host.dns_name.clone()),
            );
            VirtualHost { name, domains, routes: host.routes.clone(), ..VirtualHost::default() }
        })
        .collect();
    virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
    virtual_hosts.dedup_by(|a, b| a.name == b.name);
    let routes = RouteConfiguration {
        name: OUTBOUND.to_owned(),
        virtual_hosts,
        validate_clusters: Some(BoolValue { value: false }),
        ..RouteConfiguration::default()
    };
    let rds = Rds { config_source: Some(by_ads()), route_config_name: OUTBOUND.to_owned() };
    let filter = http_filter(OUTBOUND, RouteSpecifier::Rds(rds), None);
    let listener = listener(OUTBOUND.to_owned(), OUTBOUND_ADDRESS, filter);
    vec![Resource::new(OUTBOUND.into(), &listener), Resource::new(OUTBOUND.into(), &routes)]
}

fn listener(name: String, at: SocketAddr, filter: Filter) -> Listener {
    let chain = FilterChain { filters: vec![filter], ..FilterChain::default() };
    Listener { name, address: Some(address(at)), filter_chains: vec![chain], ..Listener::default() }
}

fn http_filter(stat_prefix: &str, routes: RouteSpecifier, idle: Option<Duration>) -> Filter {
    let websocket = UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() };
    let absolute = Http1ProtocolOptions {
        allow_absolute_url: Some(BoolValue { value: true }),
        ..Http1ProtocolOptions::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        http_filters: vec![router()],
        http_protocol_options: Some(absolute),
        upgrade_configs: vec![websocket],
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        generate_request_id: Some(BoolValue { value: true }),
        preserve_external_request_id: true,
        stream_idle_timeout: idle.map(duration),
        route_specifier: Some(routes),
        ..HttpConnectionManager::default()
    };
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(pack(&manager))),
    }
}

fn tcp_proxy(service: &Service) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: service.discovery_name.clone(),
        cluster_specifier: Some(TcpCluster::Cluster(service.discovery_name.clone())),
        idle_timeout: Some(duration(service.timeout.idle(AppProtocol::Tcp).unwrap_or_default())),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(pack(&proxy))),
    }
}

fn cluster(service: &Service) -> Cluster {
    let mut cluster = eds_cluster(service);
    cluster.lb_policy = match service.load_balancing.policy {
        BalancingPolicy::PeakEwma | BalancingPolicy::LeastRequest => LbPolicy::LeastRequest,
        BalancingPolicy::RoundRobin => LbPolicy::RoundRobin,
        BalancingPolicy::Random => LbPolicy::Random,
        BalancingPolicy::RingHash => LbPolicy::RingHash,
        BalancingPolicy::Maglev => LbPolicy::Maglev,
    }
    .into();
    cluster.outlier_detection = outlier_detection(service);
    cluster.circuit_breakers = Some(circuit_breakers(service));
    // Else an endpoint that is gone would serve on for as long as it looks well.
    cluster.ignore_health_on_host_removal = true;
    cluster.common_lb_config = Some(CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: service.load_balancing.panic_percent.into() }),
        ..CommonLbConfig::default()
    });
    if service.app_protocol != Some(AppProtocol::Tcp) {
        let options = pack(&upstream_options(service));
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        cluster.typed_extension_protocol_options.insert(key, options);
    }
    cluster
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

/// Retries depend on the method, which in Envoy only a route can tell: so there are two, one for methods that may be
/// processed twice, and one for the rest.
fn routes(service: &Service) -> Vec<Route> {
    let detected = match service.app_protocol {
        Some(AppProtocol::Grpc) => AppProtocol::Grpc,
        _ => AppProtocol::Http,
    };
    let twice = service.retry_conditions(detected, true);
    let once = service.retry_conditions(detected, false);
    let mut routes = Vec::new();
    if twice != once {
        let mut route = route_all(action(service, &twice));
        let regex = RegexMatcher { regex: IDEMPOTENT.to_owned(), ..RegexMatcher::default() };
        let matcher =
            StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex)), ..StringMatcher::default() };
        let method = HeaderMatcher {
            name: ":method".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
            ..HeaderMatcher::default()
        };
        if let Some(matches) = &mut route.r#match {
            matches.headers.push(method);
        }
        routes.push(route);
    }
    routes.push(route_all(action(service, &once)));
    routes
}

fn action(service: &Service, conditions: &RetryConditions) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(service.discovery_name.clone())),
        // Envoy's bounds the whole response, as `perRequestTimeoutSeconds` does; unset it would be 15 s.
        timeout: Some(duration(service.request_timeout().unwrap_or_default())),
        idle_timeout: service.timeout.idle_timeout_seconds.map(|idle| duration(idle.get())),
        retry_policy: retry_policy(service, conditions),
        hash_policy: hash_policy(service),
        ..RouteAction::default()
    }
}

fn retry_policy(service: &Service, conditions: &RetryConditions) -> Option<RetryPolicy> {
    let mut on = Vec::new();
    // Ours includes requests of which nothing was written.
    on.extend(conditions.connect_failure.then_some("connect-failure,reset-before-request"));
    on.extend(conditions.refused_stream.then_some("refused-stream"));
    // What a timeout of an attempt is to Envoy.
    on.extend((conditions.reset || conditions.timeout).then_some("reset"));
    on.extend(conditions.unavailable.then_some("unavailable"));
    on.extend((!conditions.statuses.is_empty()).then_some("retriable-status-codes"));
    let spoken = service.app_protocol.unwrap_or(AppProtocol::Http);
    // The only timeout of Envoy's that ends with the response's headers is an attempt's.
    let headers = service.timeout.response_headers(spoken);
    let attempt = match service.timeout.per_attempt_seconds {
        bowline_api::model::AttemptTimeout::Auto => None,
        bowline_api::model::AttemptTimeout::Fixed(seconds) => seconds.limit(),
    };
    let per_try_timeout = [headers, attempt].into_iter().flatten().min().map(duration);
    if on.is_empty() && per_try_timeout.is_none() {
        return None;
    }
    let predicate = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(PredicateConfig::TypedConfig(pack(&PreviousHostsPredicate {}))),
    };
    let backoff = &service.retry.backoff;
    Some(RetryPolicy {
        retry_on: on.join(","),
        num_retries: uint(service.retry.retries),
        per_try_timeout,
        retriable_status_codes: conditions.statuses.iter().map(|status| u32::from(*status)).collect(),
        retry_host_predicate: vec![predicate],
        // A dead endpoint has nothing in flight, and is drawn again and again.
        host_selection_retry_max_attempts: 20,
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(interval(backoff.base())),
            max_interval: Some(interval(backoff.max())),
        }),
        ..RetryPolicy::default()
    })
}

/// A wait between attempts, which can't be nothing.
pub(crate) fn interval(wait: Duration) -> PbDuration {
    duration(wait.max(Duration::from_millis(1)))
}

fn hash_policy(service: &Service) -> Vec<HashPolicy> {
    let policy = match &service.load_balancing.hash {
        None => return Vec::new(),
        Some(HashOn::ClientAddress) => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        Some(HashOn::Header(name)) => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
        }
        Some(HashOn::Cookie(name)) => {
            PolicySpecifier::Cookie(Cookie { name: name.clone(), ..Cookie::default() })
        }
        Some(HashOn::Query(name)) => PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() }),
    };
    vec![HashPolicy { policy_specifier: Some(policy), ..HashPolicy::default() }]
}
