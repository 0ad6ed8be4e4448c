use std::time::Duration;

use bowline_api::model::Endpoint;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbConfig;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use envoy_types::pb::envoy::config::core::v3::health_check::HealthChecker;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction};
use envoy_types::pb::envoy::extensions::filters::http::adaptive_concurrency::v3::AdaptiveConcurrency;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::Duration as PbDuration;

use super::*;
use crate::encode::common::duration;

fn cluster(keys: &str) -> Cluster {
    read(&of_mesh(ClientKind::Envoy, &[("a", keys)]), ResourceType::Cluster, "a")
}

fn host(resources: &Resources) -> VirtualHost {
    let routes: RouteConfiguration = read(resources, ResourceType::Route, "outbound");
    routes.virtual_hosts.into_iter().find(|host| host.name.starts_with("a.")).unwrap()
}

/// The routes of service a for methods that may not be processed twice, without the one for all that is left.
fn routes(routes: &str) -> Vec<Route> {
    let resources = of_mesh(ClientKind::Envoy, &[("a", &format!("{{\"routes\":[{routes}]}}")), ("b", "{}")]);
    let mut routes = host(&resources).routes;
    routes.retain(|route| {
        let headers = &route.r#match.as_ref().unwrap().headers;
        !headers.iter().any(|header| header.name == ":method" && text_of(header).contains('|'))
    });
    routes.pop();
    routes
}

fn text_of(header: &envoy_types::pb::envoy::config::route::v3::HeaderMatcher) -> String {
    match header.header_match_specifier.as_ref().unwrap() {
        HeaderMatchSpecifier::StringMatch(text) => match text.match_pattern.as_ref().unwrap() {
            MatchPattern::SafeRegex(regex) => regex.regex.clone(),
            MatchPattern::Exact(text) => format!("={text}"),
            MatchPattern::Prefix(text) => format!("{text}*"),
            other => format!("{other:?}"),
        },
        HeaderMatchSpecifier::PresentMatch(present) => present.to_string(),
        other => format!("{other:?}"),
    }
}

fn action(route: &Route) -> &RouteAction {
    match route.action.as_ref().unwrap() {
        Action::Route(action) => action,
        other => panic!("{other:?}"),
    }
}

fn path(route: &Route) -> PathSpecifier {
    route.r#match.as_ref().unwrap().path_specifier.clone().unwrap()
}

fn milliseconds(time: u64) -> Option<PbDuration> {
    Some(duration(Duration::from_millis(time)))
}

#[test]
fn what_a_route_looks_at() {
    let routes = routes(
        r#"{"match":{"path":{"prefix":"/v1"}}}, {"match":{"path":{"prefix":"/v1/"}}},
           {"match":{"path":{"exact":"/a"}}}, {"match":{"path":{"template":"/u.x/{id}/{*rest}"}}},
           {"match":{"path":{"regex":"/a|/b"}}},
           {"match":{"method":"GET","hosts":["*.a.com","B"],"query":{"q":{"prefix":"x"}},
             "headers":{"h1":{"exact":"1"},"h2":{"prefix":"2"},"h3":{"regex":"3+"},"h4":{"present":false}}}}"#,
    );
    assert_eq!(path(&routes[0]), PathSpecifier::PathSeparatedPrefix("/v1".into()));
    assert_eq!(path(&routes[1]), PathSpecifier::Prefix("/v1/".into()));
    assert_eq!(path(&routes[2]), PathSpecifier::Path("/a".into()));
    let regex = |route| match path(route) {
        PathSpecifier::SafeRegex(regex) => regex.regex,
        other => panic!("{other:?}"),
    };
    assert_eq!(regex(&routes[3]), "/u\\.x/([^/]+)/(.+)");
    assert_eq!(regex(&routes[4]), "/a|/b");
    assert_eq!(path(&routes[5]), PathSpecifier::Prefix("/".into()));
    let matches = routes[5].r#match.as_ref().unwrap();
    let headers: Vec<(&str, String)> =
        matches.headers.iter().map(|header| (header.name.as_str(), text_of(header))).collect();
    let authority = "(?i)(?:.+\\.a\\.com|B)(?::[0-9]+)?";
    let wanted = [
        (":method", "GET"),
        (":authority", authority),
        ("h1", "=1"),
        ("h2", "2*"),
        ("h3", "3+"),
        ("h4", "false"),
    ];
    assert_eq!(headers, wanted.map(|(name, text)| (name, text.to_owned())));
    assert_eq!(matches.query_parameters[0].name, "q");
}

#[test]
fn where_a_route_leads() {
    let routes = routes(
        r#"{"name":"one","to":[{"service":"b","subset":{"version":"v2"}}]},
           {"to":[{"service":"a","weight":0},{"service":"b","weight":7}],"splitBy":{"header":"x-user"}},
           {"mirror":{"service":"b","percent":30},"rewrite":{"host":"h"}},
           {"match":{"path":{"prefix":"/v1"}},"rewrite":{"prefix":"/v2"}},
           {"match":{"path":{"template":"/a/{b}"}},"rewrite":{"path":"/c/{b}"}}"#,
    );
    assert_eq!(routes[0].name, "one");
    assert_eq!(action(&routes[0]).cluster_specifier, Some(ClusterSpecifier::Cluster("b".into())));
    assert!(action(&routes[0]).metadata_match.as_ref().unwrap().filter_metadata.contains_key("envoy.lb"));
    let Some(ClusterSpecifier::WeightedClusters(split)) = &action(&routes[1]).cluster_specifier else {
        panic!()
    };
    let shares: Vec<_> =
        split.clusters.iter().map(|one| (one.name.as_str(), one.weight.unwrap().value)).collect();
    assert_eq!(shares, [("a", 0), ("b", 7)]);
    assert!(split.random_value_specifier.is_some());
    assert_eq!(action(&routes[1]).hash_policy.len(), 1);
    let mirror = &action(&routes[2]).request_mirror_policies[0];
    let share = mirror.runtime_fraction.as_ref().unwrap().default_value.unwrap();
    assert_eq!((mirror.cluster.as_str(), share.numerator), ("b", 30));
    assert_eq!(
        action(&routes[2]).host_rewrite_specifier,
        Some(HostRewriteSpecifier::HostRewriteLiteral("h".into()))
    );
    assert_eq!(action(&routes[3]).prefix_rewrite, "/v2");
    assert_eq!(action(&routes[4]).regex_rewrite.as_ref().unwrap().substitution, "/c/\\1");
}

#[test]
fn answers_of_its_own() {
    let routes = routes(
        r#"{"redirect":{"status":308,"scheme":"https","host":"h","port":8443,"path":"/p"}},
           {"match":{"path":{"prefix":"/o"}},"rewrite":{"prefix":"/n"},"redirect":{}},
           {"respond":{"status":404,"body":"no","headers":{"a":"1%"}},"headers":{"response":{"remove":["server"],"add":{"b":""}}}}"#,
    );
    let Some(Action::Redirect(to)) = &routes[0].action else { panic!() };
    assert_eq!(to.response_code, i32::from(RedirectResponseCode::PermanentRedirect));
    assert_eq!((to.host_redirect.as_str(), to.port_redirect), ("h", 8443));
    assert_eq!(to.path_rewrite_specifier, Some(PathRewriteSpecifier::PathRedirect("/p".into())));
    assert!(to.scheme_rewrite_specifier.is_some());
    let Some(Action::Redirect(to)) = &routes[1].action else { panic!() };
    assert_eq!(to.response_code, i32::from(RedirectResponseCode::Found));
    assert_eq!(to.path_rewrite_specifier, Some(PathRewriteSpecifier::PrefixRewrite("/n".into())));
    let Some(Action::DirectResponse(answer)) = &routes[2].action else { panic!() };
    assert!(answer.status == 404 && answer.body.is_some());
    let added: Vec<_> =
        routes[2].response_headers_to_add.iter().map(|one| one.header.as_ref().unwrap()).collect();
    let added: Vec<_> = added.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect();
    assert_eq!(added, [("a", "1%%"), ("b", "")]);
    assert_eq!(routes[2].response_headers_to_remove, ["server"]);
    // Envoy refuses bodies that it isn't told of.
    let long = format!(r#"{{"routes":[{{"respond":{{"body":"{}"}}}}]}}"#, "x".repeat(5000));
    let config: RouteConfiguration =
        read(&of_mesh(ClientKind::Envoy, &[("a", &long)]), ResourceType::Route, "outbound");
    assert_eq!(config.max_direct_response_body_size_bytes.unwrap().value, 5000);
    assert!(config.most_specific_header_mutations_wins);
}

/// The called service's timeouts and retries, with the route's over them; and a change of that service is seen.
#[test]
fn what_the_called_service_says_holds() {
    let routes = r#"{"routes":[{"to":[{"service":"b"}],"timeout":{"perAttemptSeconds":0.5}},
        {"timeout":{"perRequestTimeoutSeconds":3},"retry":{"retries":1,"on":[{"status":[500]}]}}]}"#;
    let called = r#"{"timeout":{"perRequestTimeoutSeconds":2},"retry":{"retries":7},
        "loadBalancing":{"policy":"ringHash","hash":{"header":"x-b"}}}"#;
    let a = std::sync::Arc::new(written("a", routes));
    let of = |b| {
        let mut world = world([written("b", b)]);
        world.services.insert("a".into(), a.clone());
        world
    };
    let first = Resources::build(ClientKind::Envoy, 1, &of(called), None);
    let all = host(&first).routes;
    let to_b = action(&all[0]);
    assert_eq!(to_b.timeout, milliseconds(2000));
    let retries = to_b.retry_policy.as_ref().unwrap();
    assert_eq!((retries.num_retries.unwrap().value, retries.per_try_timeout), (7, milliseconds(500)));
    assert_eq!(to_b.hash_policy.len(), 1);
    let own = all.iter().map(action).find(|action| action.timeout == milliseconds(3000)).unwrap();
    let retries = own.retry_policy.as_ref().unwrap();
    assert_eq!(
        (retries.retry_on.as_str(), &retries.retriable_status_codes[..]),
        ("retriable-status-codes", &[500][..])
    );
    assert!(own.hash_policy.is_empty());
    let second = Resources::build(
        ClientKind::Envoy,
        2,
        &of(r#"{"timeout":{"perRequestTimeoutSeconds":9}}"#),
        Some(&first),
    );
    assert_eq!(action(&host(&second).routes[0]).timeout, milliseconds(9000));
    let version =
        |resources: &Resources| resources.get(ResourceType::Route, "outbound").unwrap().version.clone();
    assert_ne!(version(&first), version(&second));
}

/// Maps are encoded in any order, and versions must not be.
#[test]
fn versions_are_the_same_from_whatever_control_plane() {
    let keys = r#"{"routes":[{"to":[{"service":"a","subset":{"a":"1","b":"2","c":"3","d":"4"}}],
        "fault":{"abort":{"status":500}},"rateLimit":[{"requestsPerSecond":1,"side":"outbound"},
        {"requestsPerSecond":2,"side":"outbound"},{"requestsPerSecond":3,"side":"outbound"}]}],
        "loadBalancing":{"subset":{"a":"1","b":"2","c":"3","d":"4"}}}"#;
    let versions = || -> Vec<_> {
        let resources = of_mesh(ClientKind::Envoy, &[("a", keys), ("b", "{}")]);
        ResourceType::ALL
            .into_iter()
            .flat_map(|of| {
                resources.all(of).map(|one| (one.name.clone(), one.version.clone())).collect::<Vec<_>>()
            })
            .collect()
    };
    let first = versions();
    assert!((0..20).all(|_| versions() == first));
}

#[test]
fn parts_of_a_service_are_found_by_the_labels_that_anybody_names() {
    let routes = r#"{"routes":[{"to":[{"service":"b","subset":{"version":"v2"}},
        {"service":"b","subset":{"zone":"z","version":"v3"}}]}]}"#;
    let resources =
        of_mesh(ClientKind::Envoy, &[("a", routes), ("b", r#"{"loadBalancing":{"subset":{"x":"y"}}}"#)]);
    let b: Cluster = read(&resources, ResourceType::Cluster, "b");
    let parts = b.lb_subset_config.unwrap();
    let keys: Vec<_> = parts.subset_selectors.iter().map(|one| one.keys.join(",")).collect();
    assert_eq!(keys, ["version", "version,zone", "x"]);
    assert_eq!((parts.fallback_policy, parts.default_subset.unwrap().fields.len()), (2, 1));
    let a: Cluster = read(&resources, ResourceType::Cluster, "a");
    assert_eq!(a.lb_subset_config, None);
}

#[test]
fn how_endpoints_are_picked() {
    let hash = cluster(r#"{"loadBalancing":{"policy":"maglev","hash":{"path":null},"boundedLoadPercent":150}}"#
        .replace("{\"path\":null}", "\"path\"").as_str());
    assert_eq!(hash.lb_policy, i32::from(LbPolicy::Maglev));
    let bound = hash.common_lb_config.unwrap().consistent_hashing_lb_config.unwrap();
    assert_eq!(bound.hash_balance_factor.unwrap().value, 150);
    let slow = cluster(r#"{"loadBalancing":{"policy":"roundRobin","slowStartSeconds":9}}"#);
    let Some(LbConfig::RoundRobinLbConfig(config)) = slow.lb_config else { panic!("{:?}", slow.lb_config) };
    assert_eq!(config.slow_start_config.unwrap().slow_start_window, milliseconds(9000));
    let least = cluster(r#"{"loadBalancing":{"slowStartSeconds":9}}"#);
    assert!(matches!(least.lb_config, Some(LbConfig::LeastRequestLbConfig(_))));

    let mut state =
        written("a", r#"{"loadBalancing":{"zoneWeights":{"x":3,"y":0}},"healthCheck":{"tcp":{},"port":99}}"#);
    state.endpoints = ["x", "y", "z"]
        .iter()
        .zip(1..)
        .map(|(zone, port)| Endpoint {
            zone: Some((*zone).into()),
            ..Endpoint::new(([10, 0, 0, 1], port).into())
        })
        .collect();
    let resources = built(ClientKind::Envoy, vec![state.clone()]);
    let load: ClusterLoadAssignment = read(&resources, ResourceType::Endpoint, "a");
    let weights: Vec<_> =
        load.endpoints.iter().map(|one| one.load_balancing_weight.map(|w| w.value)).collect();
    assert_eq!(weights, [Some(3), None, None]);
    assert!(format!("{:?}", load.endpoints[0].lb_endpoints).contains("port_value: 99"));
    let zones: Cluster = read(&resources, ResourceType::Cluster, "a");
    let by = zones.common_lb_config.unwrap().locality_config_specifier;
    assert!(matches!(by, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))));
    // gRPC goes by the weights of localities anyway.
    let resources = built(ClientKind::Grpc, vec![state]);
    let load: ClusterLoadAssignment = read(&resources, ResourceType::Endpoint, "a");
    let weights: Vec<_> = load.endpoints.iter().map(|one| one.load_balancing_weight.unwrap().value).collect();
    assert_eq!(weights, [1_000_000_000]);
}

#[test]
fn how_endpoints_are_asked_whether_they_are_well() {
    let check = |keys: &str| {
        cluster(&format!(r#"{{"appProtocol":"http2","healthCheck":{keys}}}"#)).health_checks.remove(0)
    };
    let http = check(
        r#"{"http":{"path":"/h","status":[200,204],"host":"x","body":"ok"},"intervalSeconds":2,"timeoutSeconds":1,
            "jitterPercent":7,"healthyThreshold":3,"unhealthyThreshold":4}"#,
    );
    assert_eq!((http.interval, http.no_traffic_interval), (milliseconds(2000), milliseconds(2000)));
    assert_eq!((http.timeout, http.interval_jitter_percent), (milliseconds(1000), 7));
    assert_eq!((http.healthy_threshold.unwrap().value, http.unhealthy_threshold.unwrap().value), (3, 4));
    let Some(HealthChecker::HttpHealthCheck(asked)) = http.health_checker else { panic!() };
    assert_eq!((asked.path.as_str(), asked.host.as_str(), asked.codec_client_type), ("/h", "x", 1));
    let ranges: Vec<_> = asked.expected_statuses.iter().map(|range| (range.start, range.end)).collect();
    assert_eq!((ranges, asked.receive.len()), (vec![(200, 201), (204, 205)], 1));
    let grpc = check(r#"{"grpc":{"service":"s"}}"#);
    let Some(HealthChecker::GrpcHealthCheck(asked)) = grpc.health_checker else { panic!() };
    assert_eq!(asked.service_name, "s");
    assert!(matches!(check(r#"{"tcp":{}}"#).health_checker, Some(HealthChecker::TcpHealthCheck(_))));
    assert!(cluster(r#"{"healthCheck":{}}"#).health_checks.is_empty());
}

fn filters(resources: &Resources, listener: &str) -> Vec<(String, envoy_types::pb::google::protobuf::Any)> {
    let listener: Listener = read(resources, ResourceType::Listener, listener);
    let Some(ConfigType::TypedConfig(manager)) = &listener.filter_chains[0].filters[0].config_type else {
        panic!()
    };
    let manager = HttpConnectionManager::decode(&manager.value[..]).unwrap();
    let config = |config| match config {
        Some(HttpConfig::TypedConfig(any)) => any,
        other => panic!("{other:?}"),
    };
    manager.http_filters.into_iter().map(|one| (one.name, config(one.config_type))).collect()
}

fn names(filters: &[(String, envoy_types::pb::google::protobuf::Any)]) -> Vec<&str> {
    filters.iter().map(|(name, _)| name.strip_prefix("envoy.filters.http.").unwrap()).collect()
}

#[test]
fn filters_are_there_only_where_they_are_needed() {
    let listener = "a.hello-world.com:5000";
    let plain = of_mesh(ClientKind::Envoy, &[("a", r#"{"rateLimit":[{"requestsPerSecond":1}]}"#)]);
    assert_eq!(names(&filters(&plain, listener)), ["router"]);
    let keys = r#"{"limits":{"adaptiveConcurrency":{"maxConcurrency":50,"probeIntervalSeconds":30}},
        "rateLimit":[{"requestsPerSecond":100,"burst":150,"side":"outbound"},
            {"requestsPerMinute":6,"side":"outbound","key":"clientAddress"}],
        "routes":[{"rateLimit":[{"requestsPerMinute":6,"side":"outbound"}]},
            {"fault":{"delay":{"seconds":0.5,"percent":10},"abort":{"status":503},"onlyWithHeader":"x-f"}}]}"#;
    let resources = of_mesh(ClientKind::Envoy, &[("a", keys), ("b", "{}")]);
    let chain = filters(&resources, listener);
    let rates = ["local_ratelimit.0", "local_ratelimit.1", "fault"];
    assert_eq!(names(&chain), [&rates[..], &["adaptive_concurrency", "router"]].concat());
    assert_eq!(names(&filters(&resources, "b.hello-world.com:5000")), ["router"]);
    assert_eq!(names(&filters(&resources, "outbound")), [&rates[..], &["router"]].concat());
    assert_eq!(LocalRateLimit::decode(&chain[0].1.value[..]).unwrap().token_bucket, None);
    let adaptive = AdaptiveConcurrency::decode(&chain[3].1.value[..]).unwrap();
    let text = format!("{adaptive:?}");
    assert!(text.contains("max_concurrency_limit: Some(UInt32Value { value: 50 })"), "{text}");

    let host = host(&resources);
    let bucket = |filters: &std::collections::HashMap<String, envoy_types::pb::google::protobuf::Any>,
                  index: usize| {
        let any = &filters[&format!("envoy.filters.http.local_ratelimit.{index}")];
        let limit = LocalRateLimit::decode(&any.value[..]).unwrap();
        assert!(limit.filter_enabled.is_some() && limit.filter_enforced.is_some());
        let bucket = limit.token_bucket.unwrap();
        (bucket.max_tokens, bucket.tokens_per_fill.unwrap().value, bucket.fill_interval)
    };
    assert_eq!(bucket(&host.typed_per_filter_config, 0), (150, 5, milliseconds(50)));
    assert_eq!(host.typed_per_filter_config.len(), 1);
    // One route alone has the bucket: two would let twice as much through.
    let limited: Vec<_> =
        host.routes.iter().filter(|route| !route.typed_per_filter_config.is_empty()).collect();
    assert_eq!(bucket(&limited[0].typed_per_filter_config, 1), (6, 1, milliseconds(10_000)));
    let fault =
        HttpFault::decode(&limited[1].typed_per_filter_config["envoy.filters.http.fault"].value[..]).unwrap();
    assert_eq!(fault.delay.unwrap().percentage.unwrap().numerator, 10);
    assert_eq!(
        (fault.abort.unwrap().percentage.unwrap().numerator, fault.headers[0].name.as_str()),
        (100, "x-f")
    );
    assert_eq!(limited.len(), 3, "a fault is in the routes for both kinds of methods");
}

#[test]
fn headers_of_a_service_are_changed_for_all_its_routes() {
    let keys = r#"{"headers":{"request":{"remove":["r"],"set":{"s":"1"}},"response":{"add":{"t":"2"}}}}"#;
    let host = host(&of_mesh(ClientKind::Envoy, &[("a", keys)]));
    assert_eq!(host.request_headers_to_remove, ["r"]);
    let name = |one: &envoy_types::pb::envoy::config::core::v3::HeaderValueOption| {
        (one.header.as_ref().unwrap().key.clone(), one.append_action)
    };
    assert_eq!(host.request_headers_to_add.iter().map(name).collect::<Vec<_>>(), [("s".to_owned(), 2)]);
    assert_eq!(host.response_headers_to_add.iter().map(name).collect::<Vec<_>>(), [("t".to_owned(), 0)]);
}
