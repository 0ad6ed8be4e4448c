//! For gRPC clients without a proxy: an `api_listener` per alias. Shapes as gRPC C-core takes them: it refuses balancing
//! policies that it doesn't know, localities without a name, and endpoints of weight 0.

use std::sync::Arc;

use bowline_api::model::AppProtocol;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::retry_policy::RetryBackOff;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, MaxStreamDuration};
use envoy_types::pb::envoy::config::route::v3::{RetryPolicy, RouteAction, RouteConfiguration, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;

use super::common::{duration, eds_cluster, host_port, pack, route_all, router, uint};
use super::{envoy, load};
use crate::resource::Resource;
use crate::world::ServiceState;

/// A cluster, the endpoints, and for each alias a listener named as it is dialled.
pub(crate) fn resources(state: &ServiceState) -> Vec<Resource> {
    let service = &state.service;
    let name: Arc<str> = service.discovery_name.as_str().into();
    let mut cluster = eds_cluster(service);
    cluster.lb_policy = LbPolicy::RoundRobin.into();
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
            routes: vec![route_all(action(state))],
            ..VirtualHost::default()
        };
        let routes = RouteConfiguration {
            name: dialled.clone(),
            virtual_hosts: vec![host],
            ..RouteConfiguration::default()
        };
        let manager = HttpConnectionManager {
            stat_prefix: service.discovery_name.clone(),
            http_filters: vec![router()],
            route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
            ..HttpConnectionManager::default()
        };
        let api_listener = Some(ApiListener { api_listener: Some(pack(&manager)) });
        let listener = Listener { name: dialled.clone(), api_listener, ..Listener::default() };
        resources.push(Resource::new(dialled.into(), &listener));
    }
    resources
}

fn action(state: &ServiceState) -> RouteAction {
    let service = &state.service;
    let conditions = service.retry_conditions(AppProtocol::Grpc, false);
    let words = conditions.unavailable.then(|| "unavailable".to_owned());
    let backoff = &service.retry.backoff;
    let retry_policy = words.filter(|_| service.retry.retries > 0).map(|retry_on| RetryPolicy {
        retry_on,
        num_retries: uint(service.retry.retries),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(envoy::interval(backoff.base())),
            max_interval: Some(envoy::interval(backoff.max())),
        }),
        ..RetryPolicy::default()
    });
    // Its `timeout` is passed over by gRPC, whose callers bring their own deadlines.
    let bound = service.request_timeout().map(|timeout| MaxStreamDuration {
        max_stream_duration: Some(duration(timeout)),
        ..MaxStreamDuration::default()
    });
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(service.discovery_name.clone())),
        max_stream_duration: bound,
        retry_policy,
        ..RouteAction::default()
    }
}
