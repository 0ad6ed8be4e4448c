//! For gRPC clients without a proxy: an `api_listener` per alias. Shapes as gRPC C-core takes them: it refuses balancing
//! policies that it doesn't know, localities without a name, and endpoints of weight 0.

pub(crate) mod routes;

use std::sync::Arc;

use bowline_api::model::AppProtocol;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;

use super::around::Around;
use super::common::{eds_cluster, host_port, pack, router};
use super::{envoy, load};
use crate::resource::Resource;
use crate::world::ServiceState;

/// A cluster, the endpoints, and for each alias a listener named as it is dialled.
pub(crate) fn resources(state: &ServiceState, around: &Around) -> Vec<Resource> {
    let service = &state.service;
    let name: Arc<str> = service.discovery_name.as_str().into();
    let mut cluster = eds_cluster(service);
    let policy = if routes::hashes(service) { LbPolicy::RingHash } else { LbPolicy::RoundRobin };
    cluster.lb_policy = policy.into();
    cluster.outlier_detection = envoy::outlier_detection(service);
    // Unset, no more than 1024 calls at a time would go through.
    cluster.circuit_breakers = Some(envoy::circuit_breakers(service));
    let mut resources = vec![Resource::new(name, &cluster), load::by_weight(state)];
    if service.app_protocol == Some(AppProtocol::Tcp) {
        return resources;
    }
    for alias in &service.client_aliases {
        let dialled = host_port(&alias.dns_name, alias.port);
        let host = VirtualHost {
            name: dialled.clone(),
            domains: vec![dialled.clone()],
            routes: routes::routes(service, &alias.dns_name, around),
            ..VirtualHost::default()
        };
        let config = RouteConfiguration {
            name: dialled.clone(),
            virtual_hosts: vec![host],
            ..RouteConfiguration::default()
        };
        let manager = HttpConnectionManager {
            stat_prefix: service.discovery_name.clone(),
            http_filters: vec![router()],
            route_specifier: Some(RouteSpecifier::RouteConfig(config)),
            ..HttpConnectionManager::default()
        };
        let api_listener = Some(ApiListener { api_listener: Some(pack(&manager)) });
        let listener = Listener { name: dialled.clone(), api_listener, ..Listener::default() };
        resources.push(Resource::new(dialled.into(), &listener));
    }
    resources
}
