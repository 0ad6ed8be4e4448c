use bowline_api::model::{AppProtocol, ClientAlias};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message;

use super::*;
use crate::decode;
use crate::resource::ResourceType;
use crate::resources::Resources;
use crate::testing::{NAMESPACE, state, world};

mod envoy;
mod grpc;

/// The resources of a mesh, whose services are written without their names and endpoints; each has a VIP.
fn of_mesh(kind: ClientKind, services: &[(&str, &str)]) -> Resources {
    built(kind, services.iter().map(|(name, keys)| written(name, keys)).collect())
}

/// One service of it.
fn written(name: &str, keys: &str) -> ServiceState {
    let plain = state(name, &[1, 2]);
    let mut json: serde_json::Value = serde_json::to_value(&plain.service).unwrap();
    let keys: serde_json::Value = serde_json::from_str(keys).unwrap();
    json.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    ServiceState { service: serde_json::from_value(json).unwrap(), ..plain }
}

fn built(kind: ClientKind, states: Vec<ServiceState>) -> Resources {
    Resources::build(kind, 1, &world(states), None)
}

fn read<M: Message + Default>(resources: &Resources, of: ResourceType, name: &str) -> M {
    M::decode(&resources.get(of, name).unwrap().any.value[..]).unwrap()
}

#[test]
fn our_own_get_everything_as_it_is() {
    let mut state = state("a", &[1, 2, 3]);
    state.endpoints[0].weight = 0;
    state.endpoints[1].weight = 1000;
    state.endpoints[1].zone = Some("eu-west-1a".into());
    state.endpoints[2].metadata = [("version".to_owned(), "v1".to_owned())].into_iter().collect();
    state.endpoints[2].zone = Some("eu-west-1a".into());
    state.endpoints[2].priority = 1;
    let resources = built(ClientKind::Bowline, vec![state.clone()]);
    let any = |of| &resources.get(of, "a").unwrap().any;
    let spec = decode::cluster(any(ResourceType::Cluster), "a", NAMESPACE).unwrap();
    assert_eq!((spec.service, spec.vips, spec.ignored), (state.service, state.vips, Vec::<String>::new()));
    assert_eq!(decode::load(any(ResourceType::Endpoint), "a").unwrap(), state.endpoints);
    let other = decode::cluster(any(ResourceType::Cluster), "a", "other.com").unwrap_err();
    assert!(other.contains("other.com") && other.contains(NAMESPACE), "{other}");
    assert_eq!(resources.all(ResourceType::Listener).len() + resources.all(ResourceType::Route).len(), 0);
}

/// Envoy refuses a route configuration in which a domain is there twice.
#[test]
fn no_domain_of_the_forward_proxy_is_there_twice() {
    let mut a = state("a", &[1]);
    let alias = |port| ClientAlias { dns_name: "a.hello-world.com".into(), port, test_traffic_rules: None };
    a.service.client_aliases = vec![alias(5000), alias(80)];
    let mut b = state("b", &[1]);
    b.service.client_aliases.push(alias(6000));
    b.vips.extend(a.vips.clone());
    let mut tcp = state("t", &[1]);
    tcp.service.app_protocol = Some(AppProtocol::Tcp);
    let resources = built(ClientKind::Envoy, vec![a, b, tcp]);
    let routes: RouteConfiguration = read(&resources, ResourceType::Route, "outbound");
    let mut domains: Vec<&String> = routes.virtual_hosts.iter().flat_map(|host| &host.domains).collect();
    let all = domains.len();
    domains.sort();
    domains.dedup();
    assert_eq!(domains.len(), all);
    let bare = routes.virtual_hosts.iter().find(|host| host.domains.iter().any(|d| d == "a.hello-world.com"));
    assert_eq!(bare.unwrap().name, "a.hello-world.com:80");
    assert!(!routes.virtual_hosts.iter().any(|host| host.name.starts_with("t.")), "that isn't HTTP");
    assert_eq!(resources.all(ResourceType::Listener).len(), 6, "five aliases and the forward proxy");
}

/// gRPC refuses endpoints whose levels have gaps; what counts is their order.
#[test]
fn levels_of_priority_are_counted_from_0() {
    let mut state = state("a", &[1, 2, 3, 4]);
    for (endpoint, priority) in state.endpoints.iter_mut().zip([9, 3, 3, 127]) {
        endpoint.priority = priority;
    }
    for kind in [ClientKind::Bowline, ClientKind::Grpc, ClientKind::Envoy] {
        let resources = built(kind, vec![state.clone()]);
        let load: ClusterLoadAssignment = read(&resources, ResourceType::Endpoint, "a");
        let levels: Vec<_> =
            load.endpoints.iter().map(|one| (one.priority, one.lb_endpoints.len())).collect();
        assert_eq!(levels, [(0, 2), (1, 1), (2, 1)]);
    }
}

#[test]
fn grpc_gets_only_what_it_takes() {
    let mut state = state("a", &[1, 2, 3, 4]);
    for (endpoint, weight) in state.endpoints.iter_mut().zip([1, 3, 3, 0]) {
        endpoint.weight = weight;
    }
    let resources = built(ClientKind::Grpc, vec![state]);
    let cluster: Cluster = read(&resources, ResourceType::Cluster, "a");
    assert_eq!(cluster.lb_policy, i32::from(LbPolicy::RoundRobin));
    let load: ClusterLoadAssignment = read(&resources, ResourceType::Endpoint, "a");
    let weights: Vec<(u32, usize)> = load
        .endpoints
        .iter()
        .map(|one| (one.load_balancing_weight.unwrap().value, one.lb_endpoints.len()))
        .collect();
    assert_eq!(weights, [(1, 1), (6, 2)], "a locality for each weight, and none for 0");
    assert!(load.endpoints.iter().all(|one| one.locality.is_some() && one.priority == 0));
    let listener: Listener = read(&resources, ResourceType::Listener, "a.hello-world.com:5000");
    assert!(listener.api_listener.is_some() && listener.address.is_none());
}
