//! Listeners and routes: by which names and ports a cluster is dialled, and what holds for calls to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bowline_api::Service;
use bowline_api::model::{AppProtocol, ClientAlias};
use envoy_types::pb::google::protobuf::Any;

use super::policies::Policies;
use crate::decode::load::socket_address;
use crate::decode::unpack;
use crate::partial::listener::{
    Filter, HttpConnectionManager, Listener, RouteSpecifier, TcpCluster, TcpProxy,
};
use crate::partial::route::{ClusterSpecifier, Route, RouteAction, RouteConfiguration, VirtualHost};

const TLS: &str = "envoy.transport_sockets.tls";

/// A listener, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The name in its name, if that is `name:port`.
    host: Option<String>,
    /// The port it listens on, or is named for.
    port: Option<u16>,
    /// The address it listens on, where that can be a VIP.
    vip: Option<Ipv4Addr>,
    goes: Goes,
}

#[derive(Clone, Debug, PartialEq)]
enum Goes {
    /// By these routes.
    By(Routes),
    /// By the routes of that name.
    ByNamed(String),
    /// All to this cluster, as bytes.
    To(String),
}

/// Routes, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Routes {
    hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq)]
struct Host {
    domains: Vec<String>,
    cluster: String,
    policies: Policies,
}

/// What a listener and its routes make of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    /// The cluster.
    pub(crate) cluster: String,
    /// How it is dialled.
    pub(crate) alias: ClientAlias,
    /// The VIP of that name.
    pub(crate) vip: Option<Ipv4Addr>,
    tcp: bool,
    policies: Policies,
}

impl Way {
    /// Adds the way to the service that it leads to.
    pub(crate) fn add_to(self, service: &mut Service) {
        let policies = self.policies;
        if self.tcp {
            service.app_protocol = Some(AppProtocol::Tcp);
        }
        service.timeout.per_request_timeout_seconds =
            policies.timeout.or(service.timeout.per_request_timeout_seconds);
        service.timeout.idle_timeout_seconds = policies.idle.or(service.timeout.idle_timeout_seconds);
        service.retry.retries = policies.retries.unwrap_or(service.retry.retries);
        if policies.on.is_some() {
            service.retry.on = policies.on;
        }
        service.client_aliases.push(self.alias);
    }
}

impl Entry {
    /// The routes that it needs from elsewhere.
    pub(crate) fn route_name(&self) -> Option<&str> {
        match &self.goes {
            Goes::ByNamed(name) => Some(name),
            Goes::By(_) | Goes::To(_) => None,
        }
    }

    /// All ways that lead in here. `named`: the routes from elsewhere, if they have come.
    pub(crate) fn ways(&self, named: Option<&Routes>) -> Vec<Way> {
        let routes = match (&self.goes, named) {
            (Goes::To(cluster), _) => return self.tcp_way(cluster).into_iter().collect(),
            (Goes::By(routes), _) | (Goes::ByNamed(_), Some(routes)) => routes,
            (Goes::ByNamed(_), None) => return Vec::new(),
        };
        routes.hosts.iter().flat_map(|host| self.ways_of(host)).collect()
    }

    fn tcp_way(&self, cluster: &str) -> Option<Way> {
        let alias = alias(self.host.clone()?, self.port?);
        let policies = Policies::default();
        Some(Way { cluster: cluster.to_owned(), alias, vip: self.vip, tcp: true, policies })
    }

    fn ways_of(&self, host: &Host) -> Vec<Way> {
        let split: Vec<(&str, Option<u16>)> =
            host.domains.iter().filter_map(|domain| split(domain)).collect();
        let with_port = |name: &str| split.iter().any(|(n, port)| *n == name && port.is_some());
        let mut aliases: Vec<(&str, u16)> = Vec::new();
        for (name, port) in &split {
            // A name alone means the listener's port, unless the port is said beside it.
            let port = port.or(self.port.filter(|_| !with_port(name)));
            aliases.extend(port.map(|port| (*name, port)));
        }
        if aliases.is_empty() {
            // All names are welcome: then the listener says which is meant.
            aliases.extend(self.host.as_deref().zip(self.port));
        }
        aliases.sort_unstable();
        aliases.dedup();
        let way = |(name, port): (&str, u16)| Way {
            cluster: host.cluster.clone(),
            alias: alias(name.to_ascii_lowercase(), port),
            vip: self.vip,
            tcp: false,
            policies: host.policies.clone(),
        };
        aliases.into_iter().map(way).collect()
    }
}

fn alias(dns_name: String, port: u16) -> ClientAlias {
    ClientAlias { dns_name, port, test_traffic_rules: None }
}

/// The name and the port of a domain; `None` for addresses, and for patterns, which no alias can be.
fn split(domain: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match domain.rsplit_once(':') {
        Some((name, "*")) => (name, None),
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (domain, None),
    };
    let is_name = !name.is_empty() && !name.contains(['*', ':', '[']) && name.parse::<IpAddr>().is_err();
    is_name.then_some((name, port))
}

/// Reads a listener of that name.
pub(crate) fn listener(any: &Any, name: &str) -> Result<Entry, String> {
    let listener: Listener = unpack(any)?;
    if listener.name != name {
        return Err(format!("it calls itself {:?}", listener.name));
    }
    let named = split(name).and_then(|(host, port)| Some((host.to_ascii_lowercase(), port?)));
    let host = named.as_ref().map(|(host, _)| host.clone());
    if let Some(api) = &listener.api_listener {
        let manager = api.api_listener.as_ref().ok_or("it is empty")?;
        let goes = http(&unpack(manager)?)?;
        return Ok(Entry { host, port: named.map(|(_, port)| port), vip: None, goes });
    }
    let at = socket_address(listener.address.as_ref())?;
    let mut goes = None;
    for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
        if chain.transport_socket.as_ref().is_some_and(|socket| socket.name == TLS) {
            continue;
        }
        for filter in &chain.filters {
            if let Some(found) = through(filter)? {
                goes.get_or_insert(found);
            }
        }
    }
    let goes = goes.ok_or("none of its filters is an HTTP connection manager or a TCP proxy in the clear")?;
    let host = host.filter(|_| named.is_some_and(|(_, port)| port == at.port()));
    if matches!(goes, Goes::To(_)) && host.is_none() {
        return Err(format!(
            "nothing says by which name {at} is dialled: call the listener NAME:{}",
            at.port()
        ));
    }
    Ok(Entry { host, port: Some(at.port()), vip: vip(at), goes })
}

/// The address as a VIP, where it can be one: a loopback address that is not localhost's own (127.0.0.0/24).
fn vip(at: SocketAddr) -> Option<Ipv4Addr> {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_loopback() && ip.octets()[..3] != [127, 0, 0] => Some(ip),
        _ => None,
    }
}

fn through(filter: &Filter) -> Result<Option<Goes>, String> {
    let Some(any) = &filter.typed_config else { return Ok(None) };
    if any.type_url.ends_with(".HttpConnectionManager") {
        return http(&unpack(any)?).map(Some);
    }
    if any.type_url.ends_with(".tcp_proxy.v3.TcpProxy") {
        let proxy: TcpProxy = unpack(any)?;
        return match proxy.cluster_specifier {
            Some(TcpCluster::Cluster(cluster)) => Ok(Some(Goes::To(cluster))),
            Some(TcpCluster::WeightedClusters(_)) => {
                Err("it spreads connections over several clusters".to_owned())
            }
            None => Err("its TCP proxy has no cluster".to_owned()),
        };
    }
    Ok(None)
}

fn http(manager: &HttpConnectionManager) -> Result<Goes, String> {
    match &manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(config)) => Ok(Goes::By(understand(config)?)),
        Some(RouteSpecifier::Rds(rds)) => Ok(Goes::ByNamed(rds.route_config_name.clone())),
        Some(RouteSpecifier::ScopedRoutes(_)) => Err("it has scoped routes".to_owned()),
        None => Err("it has no routes".to_owned()),
    }
}

/// Reads routes of that name.
pub(crate) fn routes(any: &Any, name: &str) -> Result<Routes, String> {
    let config: RouteConfiguration = unpack(any)?;
    if config.name != name {
        return Err(format!("they call themselves {:?}", config.name));
    }
    understand(&config)
}

fn understand(config: &RouteConfiguration) -> Result<Routes, String> {
    let mut hosts = Vec::new();
    for host in &config.virtual_hosts {
        hosts.extend(virtual_host(host).map_err(|why| format!("virtual host {:?}: {why}", host.name))?);
    }
    Ok(Routes { hosts })
}

/// A virtual host is one service. `None`: it answers by itself.
fn virtual_host(host: &VirtualHost) -> Result<Option<Host>, String> {
    let mut all: Option<(&RouteAction, &str)> = None;
    let mut clusters: Vec<&str> = Vec::new();
    for route in &host.routes {
        let Some(action) = &route.route else { continue };
        let cluster = match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(cluster)) => cluster.as_str(),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => match weighted.clusters.as_slice() {
                [one] => one.name.as_str(),
                _ => return Err("it spreads requests over several clusters".to_owned()),
            },
            None => return Err("a route has no cluster by name".to_owned()),
        };
        clusters.push(cluster);
        if all.is_none() && is_for_all(route) {
            all = Some((action, cluster));
        }
    }
    let Some((action, cluster)) = all else {
        if clusters.is_empty() {
            return Ok(None);
        }
        return Err("none of its routes is for all requests".to_owned());
    };
    if let Some(other) = clusters.iter().find(|other| **other != cluster) {
        return Err(format!("it divides requests between {cluster} and {other}"));
    }
    let policies = Policies::of(action, host.retry_policy.as_ref());
    Ok(Some(Host { domains: host.domains.clone(), cluster: cluster.to_owned(), policies }))
}

fn is_for_all(route: &Route) -> bool {
    let Some(matches) = &route.r#match else { return false };
    let any_path = matches.prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix == "/");
    any_path
        && matches.headers.is_empty()
        && matches.query_parameters.is_empty()
        && matches.runtime_fraction.is_none()
}
