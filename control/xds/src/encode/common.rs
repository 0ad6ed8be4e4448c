//! The small parts that resources are made of.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_api::Service;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteMatch};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration, UInt32Value};
use prost::{Message, Name};

/// A message in its wrapping.
pub(crate) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(crate) fn duration(duration: Duration) -> PbDuration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    // Less than a billion.
    let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or(0);
    PbDuration { seconds, nanos }
}

pub(crate) fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn address(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        protocol: Protocol::Tcp.into(),
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    Address { address: Some(AddressKind::SocketAddress(socket)) }
}

/// "From the stream that this came by."
pub(crate) fn by_ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// A cluster of that name, whose endpoints come by the same stream.
pub(crate) fn eds_cluster(service: &Service) -> Cluster {
    Cluster {
        name: service.discovery_name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(by_ads()),
            service_name: service.discovery_name.clone(),
        }),
        // Envoy refuses 0.
        connect_timeout: Some(duration(service.timeout.connect().max(Duration::from_millis(1)))),
        ..Cluster::default()
    }
}

/// A route for every request.
pub(crate) fn route_all(action: RouteAction) -> Route {
    let path_specifier = Some(PathSpecifier::Prefix("/".to_owned()));
    Route {
        r#match: Some(RouteMatch { path_specifier, ..RouteMatch::default() }),
        action: Some(Action::Route(action)),
        ..Route::default()
    }
}

/// The filter that every chain ends in.
pub(crate) fn router() -> HttpFilter {
    let config = Router { suppress_envoy_headers: true, ..Router::default() };
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&config))),
        ..HttpFilter::default()
    }
}

/// `host:port`
pub(crate) fn host_port(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}
