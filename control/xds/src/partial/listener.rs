//! `envoy.config.listener.v3.Listener`, and the two filters through which connections go on.

use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Oneof};

use super::route::RouteConfiguration;
use super::{Address, Opaque, TransportSocket, named};

named!(Listener, "envoy.config.listener.v3");
named!(HttpConnectionManager, "envoy.extensions.filters.network.http_connection_manager.v3");
named!(TcpProxy, "envoy.extensions.filters.network.tcp_proxy.v3");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Listener {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) address: Option<Address>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) filter_chains: Vec<FilterChain>,
    #[prost(message, optional, tag = "19")]
    pub(crate) api_listener: Option<ApiListener>,
    #[prost(message, optional, tag = "25")]
    pub(crate) default_filter_chain: Option<FilterChain>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FilterChain {
    #[prost(message, repeated, tag = "3")]
    pub(crate) filters: Vec<Filter>,
    #[prost(message, optional, tag = "6")]
    pub(crate) transport_socket: Option<TransportSocket>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Filter {
    #[prost(message, optional, tag = "4")]
    pub(crate) typed_config: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ApiListener {
    #[prost(message, optional, tag = "1")]
    pub(crate) api_listener: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpConnectionManager {
    #[prost(oneof = "RouteSpecifier", tags = "3, 4, 31")]
    pub(crate) route_specifier: Option<RouteSpecifier>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum RouteSpecifier {
    #[prost(message, tag = "3")]
    Rds(Rds),
    #[prost(message, tag = "4")]
    RouteConfig(RouteConfiguration),
    #[prost(message, tag = "31")]
    ScopedRoutes(Opaque),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Rds {
    #[prost(string, tag = "2")]
    pub(crate) route_config_name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TcpProxy {
    #[prost(oneof = "TcpCluster", tags = "2, 10")]
    pub(crate) cluster_specifier: Option<TcpCluster>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum TcpCluster {
    #[prost(string, tag = "2")]
    Cluster(String),
    #[prost(message, tag = "10")]
    WeightedClusters(Opaque),
}
