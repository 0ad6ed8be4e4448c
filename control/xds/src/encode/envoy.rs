//! For Envoy: the nearest standard resources. A listener on each VIP and port, and one HTTP forward proxy for all.

mod cluster;
pub(crate) mod filters;
mod rewrite;
pub(crate) mod routes;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bowline_api::Service;
use bowline_api::model::{AdaptiveConcurrency, AppProtocol, Endpoints, RegisteredSource};
use envoy_types::pb::envoy::config::core::v3::Http1ProtocolOptions;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, ServerHeaderTransformation, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{HttpConnectionManager, Rds};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier as TcpCluster;
use envoy_types::pb::google::protobuf::BoolValue;
use prost::Message;

use self::cluster::cluster;
pub(crate) use self::cluster::{circuit_breakers, outlier_detection};
use self::filters::Filters;
use super::around::Around;
use super::common::{address, by_ads, duration, host_port, pack, uint};
use super::{Host, load};
use crate::resource::{ContentHash, IsResource, Resource};
use crate::world::ServiceState;

/// The listener of the HTTP forward proxy, and its routes.
pub(crate) const OUTBOUND: &str = "outbound";
/// Where it listens, as our own proxies do.
const OUTBOUND_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15_001);
/// The longest body of an answer that Envoy takes without being told, in bytes.
const USUAL_BODY: usize = 4096;

/// A cluster, the endpoints, and for each alias that has a VIP a listener.
pub(crate) fn resources(state: &ServiceState, around: &Around) -> Vec<Resource> {
    let service = &state.service;
    let name: Arc<str> = service.discovery_name.as_str().into();
    let version = version(service, around);
    let mut resources = vec![resource(name, &cluster(service, around), version), load::for_envoy(state)];
    let filters = Filters::of(service);
    let adaptive = service.limits.as_ref().and_then(|limits| limits.adaptive_concurrency.as_ref());
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
                ..routes::host(service, around)
            };
            let config = configuration(dialled.clone(), vec![host], routes::longest_body(service));
            let idle = service.timeout.idle(AppProtocol::Http);
            http_filter(&service.discovery_name, RouteSpecifier::RouteConfig(config), idle, filters, adaptive)
        };
        let at = SocketAddr::new((*vip).into(), alias.port);
        let version = version.map(|hash| hash.with(at.to_string().as_bytes()));
        let listener = listener(dialled, at, filter);
        resources.push(resource(listener.name.as_str().into(), &listener, version));
    }
    resources
}

/// Maps are encoded in any order. What has some is known by the model that it was made of, and by who made it.
fn version(service: &Service, around: &Around) -> Option<ContentHash> {
    let plain = service.routes.is_empty()
        && service.rate_limit.is_empty()
        && service.load_balancing.subset.is_empty();
    if plain {
        return None;
    }
    let mut hash = ContentHash::new().with(env!("CARGO_PKG_VERSION").as_bytes());
    for service in std::iter::once(service).chain(around.services()) {
        // Endpoints come by themselves.
        let rest = Service { endpoints: Endpoints::Registered(RegisteredSource {}), ..service.clone() };
        // What could be read from a file can be written.
        hash = hash.with(&serde_json::to_vec(&rest).unwrap_or_default()).with(&[0]);
    }
    for label in around.parts.iter().flatten() {
        hash = hash.with(label.as_bytes()).with(&[1]);
    }
    Some(hash)
}

fn resource<M: IsResource>(name: Arc<str>, message: &M, version: Option<ContentHash>) -> Resource {
    match version {
        None => Resource::new(name, message),
        Some(hash) => Resource::with_hash::<M>(name, message.encode_to_vec(), hash, false),
    }
}

/// The names by which requests at the forward proxy can mean the service.
pub(crate) fn hosts(state: &ServiceState, around: &Around) -> Vec<Host> {
    let service = &state.service;
    if service.app_protocol == Some(AppProtocol::Tcp) {
        return Vec::new();
    }
    let host = |alias: &bowline_api::model::ClientAlias| Host {
        dns_name: alias.dns_name.clone(),
        port: alias.port,
        vip: state.vips.get(&alias.dns_name).copied(),
        host: routes::host(service, around),
        filters: Filters::of(service),
        longest_body: routes::longest_body(service),
        version: version(service, around).map(ContentHash::finish),
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
        .clone()
        .map(|host| {
            let name = host_port(&host.dns_name, host.port);
            let mut domains = vec![name.clone()];
            domains.extend(host.vip.map(|vip| host_port(&vip.to_string(), host.port)));
            domains.extend(
                (bare.get(host.dns_name.as_str()) == Some(&host.port)).then(|| host.dns_name.clone()),
            );
            VirtualHost { name, domains, ..host.host.clone() }
        })
        .collect();
    virtual_hosts.sort_by(|a, b| a.name.cmp(&b.name));
    virtual_hosts.dedup_by(|a, b| a.name == b.name);
    let longest_body = hosts.clone().map(|host| host.longest_body).max().unwrap_or(0);
    let filters = hosts.clone().fold(Filters::default(), |all, host| all.and(host.filters));
    let version = version_of_all(hosts, &bare);
    let routes = configuration(OUTBOUND.to_owned(), virtual_hosts, longest_body);
    let rds = Rds { config_source: Some(by_ads()), route_config_name: OUTBOUND.to_owned() };
    let filter = http_filter(OUTBOUND, RouteSpecifier::Rds(rds), None, filters, None);
    let listener = listener(OUTBOUND.to_owned(), OUTBOUND_ADDRESS, filter);
    vec![Resource::new(OUTBOUND.into(), &listener), resource(OUTBOUND.into(), &routes, version)]
}

/// As [`version`], for all services together.
fn version_of_all<'a>(
    hosts: impl Iterator<Item = &'a Host> + Clone,
    bare: &BTreeMap<&str, u16>,
) -> Option<ContentHash> {
    if hosts.clone().all(|host| host.version.is_none()) {
        return None;
    }
    let mut hash = ContentHash::new();
    for host in hosts {
        hash = hash.with(host_port(&host.dns_name, host.port).as_bytes()).with(&[0]);
        hash = hash.with(host.vip.map(|vip| vip.to_string()).unwrap_or_default().as_bytes()).with(&[0]);
        hash = hash.with(&[u8::from(bare.get(host.dns_name.as_str()) == Some(&host.port))]);
        hash = match host.version {
            Some(version) => hash.with(&version.to_be_bytes()),
            None => hash.with(&host.host.encode_to_vec()),
        };
    }
    Some(hash)
}

fn configuration(name: String, virtual_hosts: Vec<VirtualHost>, longest_body: usize) -> RouteConfiguration {
    let longest_body = u32::try_from(longest_body.max(USUAL_BODY)).unwrap_or(u32::MAX);
    RouteConfiguration {
        name,
        virtual_hosts,
        // Envoy refuses a listener whose cluster comes a moment later, else.
        validate_clusters: Some(BoolValue { value: false }),
        // A service's changes of headers come first, then those of a route.
        most_specific_header_mutations_wins: true,
        max_direct_response_body_size_bytes: uint(longest_body),
        ..RouteConfiguration::default()
    }
}

fn listener(name: String, at: SocketAddr, filter: Filter) -> Listener {
    let chain = FilterChain { filters: vec![filter], ..FilterChain::default() };
    Listener { name, address: Some(address(at)), filter_chains: vec![chain], ..Listener::default() }
}

fn http_filter(
    stat_prefix: &str,
    routes: RouteSpecifier,
    idle: Option<Duration>,
    filters: Filters,
    adaptive: Option<&AdaptiveConcurrency>,
) -> Filter {
    let websocket = UpgradeConfig { upgrade_type: "websocket".to_owned(), ..UpgradeConfig::default() };
    let absolute = Http1ProtocolOptions {
        allow_absolute_url: Some(BoolValue { value: true }),
        ..Http1ProtocolOptions::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        http_filters: filters.chain(adaptive),
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
        metadata_match: routes::part(&service.load_balancing.subset),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(pack(&proxy))),
    }
}
