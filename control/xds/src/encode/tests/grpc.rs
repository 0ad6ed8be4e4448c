use envoy_types::pb::envoy::config::route::v3::Route;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;

use super::*;

fn routes(keys: &str) -> Vec<Route> {
    let resources = of_mesh(ClientKind::Grpc, &[("a", keys), ("b", r#"{"retry":{"retries":4}}"#)]);
    let listener: Listener = read(&resources, ResourceType::Listener, "a.hello-world.com:5000");
    let manager = listener.api_listener.unwrap().api_listener.unwrap();
    let manager = HttpConnectionManager::decode(&manager.value[..]).unwrap();
    let Some(RouteSpecifier::RouteConfig(mut config)) = manager.route_specifier else { panic!() };
    config.virtual_hosts.remove(0).routes
}

#[test]
fn only_routes_that_a_call_can_fit_are_there() {
    let routes = routes(
        r#"{"routes":[{"name":"get","match":{"method":"GET"}}, {"name":"post","match":{"method":"POST"}},
            {"name":"query","match":{"query":{"a":{"present":true}}}},
            {"name":"none","match":{"query":{"a":{"present":false}}}},
            {"name":"other","match":{"hosts":["b.hello-world.com"]}},
            {"name":"below","match":{"hosts":["*.Hello-world.com"]}},
            {"name":"above","match":{"hosts":["*.a.hello-world.com"]}}]}"#,
    );
    let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["post", "none", "below", ""]);
    assert!(routes.iter().all(|route| route.r#match.as_ref().unwrap().headers.is_empty()));
}

#[test]
fn a_route_leads_as_far_as_grpc_can_go() {
    let routes = routes(
        r#"{"routes":[{"match":{"path":{"prefix":"/pkg.Echo"},"headers":{"x":{"exact":"1"}}},"to":[{"service":"b"}],
                "timeout":{"perRequestTimeoutSeconds":2}},
            {"to":[{"service":"a","weight":1},{"service":"b","weight":3}],"retry":{"retries":0}},
            {"respond":{"status":403}}, {"redirect":{}}],
            "loadBalancing":{"policy":"ringHash","hash":{"header":"x-user"}}}"#,
    );
    let matches = routes[0].r#match.as_ref().unwrap();
    let Some(PathSpecifier::SafeRegex(regex)) = &matches.path_specifier else { panic!() };
    assert_eq!((regex.regex.as_str(), matches.headers.len()), ("\\/pkg\\.Echo(?:/.*)?", 1));
    let action = |route: &Route| match route.action.clone() {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    };
    let to_b = action(&routes[0]);
    assert_eq!(to_b.cluster_specifier, Some(ClusterSpecifier::Cluster("b".into())));
    assert_eq!(to_b.max_stream_duration.unwrap().max_stream_duration.unwrap().seconds, 2);
    assert_eq!(to_b.retry_policy.unwrap().num_retries.unwrap().value, 4);
    assert!(to_b.hash_policy.is_empty(), "b has none");
    let split = action(&routes[1]);
    assert!(split.retry_policy.is_none());
    let Some(ClusterSpecifier::WeightedClusters(split)) = split.cluster_specifier else { panic!() };
    assert_eq!(split.clusters.iter().map(|one| one.weight.unwrap().value).collect::<Vec<_>>(), [1, 3]);
    for route in &routes[2..4] {
        assert!(matches!(route.action, Some(Action::NonForwardingAction(_))), "{route:?}");
    }
    assert_eq!(action(&routes[4]).hash_policy.len(), 1);
    let of = |keys: &str| -> Cluster {
        read(&of_mesh(ClientKind::Grpc, &[("a", keys)]), ResourceType::Cluster, "a")
    };
    let ring = of(r#"{"loadBalancing":{"policy":"maglev","hash":{"header":"x-user"}}}"#);
    assert_eq!(ring.lb_policy, i32::from(LbPolicy::RingHash));
    let other = of(r#"{"loadBalancing":{"policy":"maglev","hash":"path"}}"#);
    assert_eq!(other.lb_policy, i32::from(LbPolicy::RoundRobin));
}
