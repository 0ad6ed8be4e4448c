use envoy_types::pb::envoy;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::{Message, Name};

use super::cluster::{Cluster, DiscoveryKind, HttpProtocolOptions, ProtocolConfig, UpstreamProtocolOptions};
use super::endpoint::{ClusterLoadAssignment, HostIdentifier};
use super::listener::{HttpConnectionManager, Listener, RouteSpecifier, TcpCluster, TcpProxy};
use super::route::{ClusterSpecifier, RouteConfiguration};
use super::{AddressKind, PortSpecifier};
use envoy::config::cluster::v3 as clusters;
use envoy::config::core::v3 as core;
use envoy::config::endpoint::v3 as endpoints;
use envoy::config::listener::v3 as listeners;
use envoy::config::route::v3 as routes;
use envoy::extensions::filters::network::{http_connection_manager::v3 as manager, tcp_proxy::v3 as tcp};
use envoy::extensions::upstreams::http::v3 as upstream;

fn read<M: Message + Default>(whole: &impl Message) -> M {
    M::decode(whole.encode_to_vec().as_slice()).expect("what the whole message writes")
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

#[test]
fn names_are_those_of_the_whole_messages() {
    assert_eq!(Cluster::full_name(), clusters::Cluster::full_name());
    assert_eq!(ClusterLoadAssignment::full_name(), endpoints::ClusterLoadAssignment::full_name());
    assert_eq!(Listener::full_name(), listeners::Listener::full_name());
    assert_eq!(RouteConfiguration::full_name(), routes::RouteConfiguration::full_name());
    assert_eq!(HttpConnectionManager::full_name(), manager::HttpConnectionManager::full_name());
    assert_eq!(TcpProxy::full_name(), tcp::TcpProxy::full_name());
    assert_eq!(HttpProtocolOptions::full_name(), upstream::HttpProtocolOptions::full_name());
}

#[test]
fn every_field_of_a_cluster_is_found_where_the_whole_message_puts_it() {
    let any = Any { type_url: "t".into(), value: vec![1] };
    let socket = core::TransportSocket { name: "tls".into(), ..Default::default() };
    #[expect(deprecated, reason = "others still write it")]
    let whole = clusters::Cluster {
        name: "a".into(),
        cluster_discovery_type: Some(clusters::cluster::ClusterDiscoveryType::Type(3)),
        eds_cluster_config: Some(clusters::cluster::EdsClusterConfig {
            service_name: "eds".into(),
            ..Default::default()
        }),
        connect_timeout: seconds(7),
        lb_policy: 5,
        circuit_breakers: Some(clusters::CircuitBreakers {
            thresholds: vec![clusters::circuit_breakers::Thresholds {
                priority: 1,
                max_connections: number(2),
                max_pending_requests: number(3),
                max_requests: number(4),
                ..Default::default()
            }],
            ..Default::default()
        }),
        http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
        outlier_detection: Some(clusters::OutlierDetection {
            consecutive_5xx: number(5),
            base_ejection_time: seconds(6),
            max_ejection_percent: number(7),
            enforcing_consecutive_5xx: number(8),
            max_ejection_time: seconds(9),
            ..Default::default()
        }),
        transport_socket: Some(socket.clone()),
        metadata: Some(core::Metadata {
            filter_metadata: [("f".to_owned(), Default::default())].into(),
            typed_filter_metadata: [("t".to_owned(), any.clone())].into(),
        }),
        load_assignment: Some(endpoints::ClusterLoadAssignment {
            cluster_name: "b".into(),
            ..Default::default()
        }),
        typed_extension_protocol_options: [("o".to_owned(), any.clone())].into(),
        load_balancing_policy: Some(clusters::LoadBalancingPolicy {
            policies: vec![clusters::load_balancing_policy::Policy {
                typed_extension_config: Some(core::TypedExtensionConfig {
                    name: "n".into(),
                    typed_config: Some(any.clone()),
                }),
            }],
        }),
        transport_socket_matches: vec![clusters::cluster::TransportSocketMatch {
            transport_socket: Some(socket),
            ..Default::default()
        }],
        ..Default::default()
    };
    let read: Cluster = read(&whole);
    assert_eq!(read.name, "a");
    assert_eq!(read.cluster_discovery_type, Some(DiscoveryKind::Type(3)));
    assert_eq!(read.eds_cluster_config.map(|eds| eds.service_name), Some("eds".into()));
    assert_eq!((read.connect_timeout, read.lb_policy), (seconds(7), 5));
    let thresholds = &read.circuit_breakers.expect("limits").thresholds[0];
    assert_eq!(thresholds.priority, 1);
    assert_eq!((thresholds.max_connections, thresholds.max_pending_requests), (number(2), number(3)));
    assert_eq!(thresholds.max_requests, number(4));
    assert!(read.http2_protocol_options.is_some());
    let outlier = read.outlier_detection.expect("outlier detection");
    assert_eq!((outlier.consecutive_5xx, outlier.base_ejection_time), (number(5), seconds(6)));
    assert_eq!((outlier.max_ejection_percent, outlier.enforcing_consecutive_5xx), (number(7), number(8)));
    assert_eq!(outlier.max_ejection_time, seconds(9));
    assert_eq!(read.transport_socket.map(|socket| socket.name), Some("tls".into()));
    let metadata = read.metadata.expect("metadata");
    assert!(metadata.filter_metadata.contains_key("f"));
    assert_eq!(metadata.typed_filter_metadata.get("t"), Some(&any));
    assert_eq!(read.load_assignment.map(|load| load.cluster_name), Some("b".into()));
    assert_eq!(read.typed_extension_protocol_options.get("o"), Some(&any));
    let policy = &read.load_balancing_policy.expect("a policy").policies[0];
    assert_eq!(policy.typed_extension_config.as_ref().and_then(|c| c.typed_config.as_ref()), Some(&any));
    assert_eq!(read.transport_socket_matches.len(), 1);
}

#[test]
fn what_is_spoken_upstream_is_found() {
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig as Whole;
    let options = [
        Whole::HttpProtocolOptions(core::Http1ProtocolOptions::default()),
        Whole::Http2ProtocolOptions(core::Http2ProtocolOptions::default()),
        Whole::Http3ProtocolOptions(core::Http3ProtocolOptions::default()),
    ];
    let found = options.map(|config| {
        let explicit = upstream::http_protocol_options::ExplicitHttpConfig { protocol_config: Some(config) };
        let kind = upstream::http_protocol_options::UpstreamProtocolOptions::ExplicitHttpConfig(explicit);
        let whole =
            upstream::HttpProtocolOptions { upstream_protocol_options: Some(kind), ..Default::default() };
        match read::<HttpProtocolOptions>(&whole).upstream_protocol_options {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => explicit.protocol_config,
            None => None,
        }
    });
    assert!(matches!(found[0], Some(ProtocolConfig::HttpProtocolOptions(_))));
    assert!(matches!(found[1], Some(ProtocolConfig::Http2ProtocolOptions(_))));
    assert!(matches!(found[2], Some(ProtocolConfig::Http3ProtocolOptions(_))));
}

#[test]
fn every_field_of_endpoints_is_found() {
    let socket = core::SocketAddress {
        protocol: 1,
        address: "10.0.0.1".into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
        ..Default::default()
    };
    let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    let host = endpoints::Endpoint { address: Some(address), ..Default::default() };
    let whole = endpoints::ClusterLoadAssignment {
        cluster_name: "a".into(),
        endpoints: vec![endpoints::LocalityLbEndpoints {
            locality: Some(core::Locality { zone: "z".into(), region: "r".into(), ..Default::default() }),
            lb_endpoints: vec![endpoints::LbEndpoint {
                health_status: 2,
                metadata: Some(core::Metadata::default()),
                load_balancing_weight: number(9),
                host_identifier: Some(endpoints::lb_endpoint::HostIdentifier::Endpoint(host)),
            }],
            priority: 4,
            ..Default::default()
        }],
        ..Default::default()
    };
    let read: ClusterLoadAssignment = read(&whole);
    assert_eq!(read.cluster_name, "a");
    let locality = &read.endpoints[0];
    assert_eq!(locality.locality.as_ref().map(|locality| locality.zone.as_str()), Some("z"));
    assert_eq!(locality.priority, 4);
    let one = &locality.lb_endpoints[0];
    assert_eq!((one.health_status, one.load_balancing_weight), (2, number(9)));
    assert!(one.metadata.is_some());
    let Some(HostIdentifier::Endpoint(host)) = &one.host_identifier else { panic!("{one:?}") };
    let Some(AddressKind::SocketAddress(socket)) = host.address.as_ref().and_then(|a| a.address.as_ref())
    else {
        panic!("{host:?}")
    };
    assert_eq!((socket.protocol, socket.address.as_str()), (1, "10.0.0.1"));
    assert_eq!(socket.port_specifier, Some(PortSpecifier::PortValue(80)));
}

#[test]
fn every_field_of_a_listener_is_found() {
    let any = Any { type_url: "t".into(), value: vec![1] };
    let chain = |name: &str| listeners::FilterChain {
        filters: vec![listeners::Filter {
            name: name.into(),
            config_type: Some(listeners::filter::ConfigType::TypedConfig(any.clone())),
        }],
        transport_socket: Some(core::TransportSocket { name: name.into(), ..Default::default() }),
        ..Default::default()
    };
    let pipe = core::Pipe { path: "/p".into(), ..Default::default() };
    let whole = listeners::Listener {
        name: "l".into(),
        address: Some(core::Address { address: Some(core::address::Address::Pipe(pipe)) }),
        filter_chains: vec![chain("c")],
        default_filter_chain: Some(chain("d")),
        api_listener: Some(listeners::ApiListener { api_listener: Some(any.clone()) }),
        ..Default::default()
    };
    let listener: Listener = read(&whole);
    assert_eq!(listener.name, "l");
    let address = listener.address.and_then(|address| address.address);
    assert!(matches!(address, Some(AddressKind::Pipe(pipe)) if pipe.path == "/p"));
    for (chain, name) in
        [(&listener.filter_chains[0], "c"), (listener.default_filter_chain.as_ref().expect("a chain"), "d")]
    {
        assert_eq!(chain.filters[0].typed_config.as_ref(), Some(&any));
        assert_eq!(chain.transport_socket.as_ref().map(|socket| socket.name.as_str()), Some(name));
    }
    assert_eq!(listener.api_listener.and_then(|api| api.api_listener), Some(any));

    let rds = manager::Rds { route_config_name: "r".into(), ..Default::default() };
    let whole = manager::HttpConnectionManager {
        route_specifier: Some(manager::http_connection_manager::RouteSpecifier::Rds(rds)),
        ..Default::default()
    };
    let read_back: HttpConnectionManager = read(&whole);
    assert!(
        matches!(read_back.route_specifier, Some(RouteSpecifier::Rds(rds)) if rds.route_config_name == "r")
    );
    let whole = tcp::TcpProxy {
        cluster_specifier: Some(tcp::tcp_proxy::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    };
    assert_eq!(read::<TcpProxy>(&whole).cluster_specifier, Some(TcpCluster::Cluster("c".into())));
}

#[test]
fn every_field_of_routes_is_found() {
    let retry = |on: &str| routes::RetryPolicy {
        retry_on: on.into(),
        num_retries: number(3),
        retriable_status_codes: vec![503, 504],
        ..Default::default()
    };
    let weighted = routes::WeightedCluster {
        clusters: vec![routes::weighted_cluster::ClusterWeight { name: "w".into(), ..Default::default() }],
        ..Default::default()
    };
    let action = routes::RouteAction {
        cluster_specifier: Some(routes::route_action::ClusterSpecifier::WeightedClusters(weighted)),
        timeout: seconds(1),
        idle_timeout: seconds(2),
        retry_policy: Some(retry("5xx")),
        ..Default::default()
    };
    let matches = routes::RouteMatch {
        path_specifier: Some(routes::route_match::PathSpecifier::Prefix("/".into())),
        headers: vec![routes::HeaderMatcher::default()],
        query_parameters: vec![routes::QueryParameterMatcher::default()],
        runtime_fraction: Some(core::RuntimeFractionalPercent::default()),
        ..Default::default()
    };
    let whole = routes::RouteConfiguration {
        name: "r".into(),
        virtual_hosts: vec![routes::VirtualHost {
            name: "v".into(),
            domains: vec!["d".into()],
            routes: vec![routes::Route {
                r#match: Some(matches),
                action: Some(routes::route::Action::Route(action)),
                ..Default::default()
            }],
            retry_policy: Some(retry("reset")),
            ..Default::default()
        }],
        ..Default::default()
    };
    let read: RouteConfiguration = read(&whole);
    assert_eq!(read.name, "r");
    let host = &read.virtual_hosts[0];
    assert_eq!((host.name.as_str(), host.domains.as_slice()), ("v", &["d".to_owned()][..]));
    assert_eq!(host.retry_policy.as_ref().map(|retry| retry.retry_on.as_str()), Some("reset"));
    let matches = host.routes[0].r#match.as_ref().expect("a match");
    assert_eq!(matches.prefix.as_deref(), Some("/"));
    assert_eq!((matches.headers.len(), matches.query_parameters.len()), (1, 1));
    assert!(matches.runtime_fraction.is_some());
    let action = host.routes[0].route.as_ref().expect("an action");
    assert_eq!((action.timeout, action.idle_timeout), (seconds(1), seconds(2)));
    let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
        panic!("{action:?}")
    };
    assert_eq!(weighted.clusters[0].name, "w");
    let retry = action.retry_policy.as_ref().expect("retries");
    assert_eq!((retry.retry_on.as_str(), retry.num_retries), ("5xx", number(3)));
    assert_eq!(retry.retriable_status_codes, [503, 504]);
}
