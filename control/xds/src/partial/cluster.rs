//! `envoy.config.cluster.v3.Cluster`, and what it speaks upstream.

use std::collections::BTreeMap;

use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use prost::{Message, Oneof};

use super::endpoint::ClusterLoadAssignment;
use super::{Metadata, Opaque, TransportSocket, named};

named!(Cluster, "envoy.config.cluster.v3");
named!(HttpProtocolOptions, "envoy.extensions.upstreams.http.v3");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cluster {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(oneof = "DiscoveryKind", tags = "2, 38")]
    pub(crate) cluster_discovery_type: Option<DiscoveryKind>,
    #[prost(message, optional, tag = "3")]
    pub(crate) eds_cluster_config: Option<EdsClusterConfig>,
    #[prost(message, optional, tag = "4")]
    pub(crate) connect_timeout: Option<Duration>,
    #[prost(int32, tag = "6")]
    pub(crate) lb_policy: i32,
    #[prost(message, optional, tag = "10")]
    pub(crate) circuit_breakers: Option<CircuitBreakers>,
    #[prost(message, optional, tag = "14")]
    pub(crate) http2_protocol_options: Option<Opaque>,
    #[prost(message, optional, tag = "19")]
    pub(crate) outlier_detection: Option<OutlierDetection>,
    #[prost(message, optional, tag = "24")]
    pub(crate) transport_socket: Option<TransportSocket>,
    #[prost(message, optional, tag = "25")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "33")]
    pub(crate) load_assignment: Option<ClusterLoadAssignment>,
    #[prost(btree_map = "string, message", tag = "36")]
    pub(crate) typed_extension_protocol_options: BTreeMap<String, Any>,
    #[prost(message, optional, tag = "41")]
    pub(crate) load_balancing_policy: Option<LoadBalancingPolicy>,
    #[prost(message, repeated, tag = "43")]
    pub(crate) transport_socket_matches: Vec<Opaque>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum DiscoveryKind {
    #[prost(int32, tag = "2")]
    Type(i32),
    #[prost(message, tag = "38")]
    ClusterType(Opaque),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct EdsClusterConfig {
    #[prost(string, tag = "2")]
    pub(crate) service_name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CircuitBreakers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) thresholds: Vec<Thresholds>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Thresholds {
    #[prost(int32, tag = "1")]
    pub(crate) priority: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) max_connections: Option<UInt32Value>,
    #[prost(message, optional, tag = "3")]
    pub(crate) max_pending_requests: Option<UInt32Value>,
    #[prost(message, optional, tag = "4")]
    pub(crate) max_requests: Option<UInt32Value>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct OutlierDetection {
    #[prost(message, optional, tag = "1")]
    pub(crate) consecutive_5xx: Option<UInt32Value>,
    #[prost(message, optional, tag = "3")]
    pub(crate) base_ejection_time: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub(crate) max_ejection_percent: Option<UInt32Value>,
    #[prost(message, optional, tag = "5")]
    pub(crate) enforcing_consecutive_5xx: Option<UInt32Value>,
    #[prost(message, optional, tag = "21")]
    pub(crate) max_ejection_time: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LoadBalancingPolicy {
    #[prost(message, repeated, tag = "1")]
    pub(crate) policies: Vec<BalancingPolicy>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BalancingPolicy {
    #[prost(message, optional, tag = "4")]
    pub(crate) typed_extension_config: Option<TypedExtensionConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TypedExtensionConfig {
    #[prost(message, optional, tag = "2")]
    pub(crate) typed_config: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct HttpProtocolOptions {
    #[prost(oneof = "UpstreamProtocolOptions", tags = "3")]
    pub(crate) upstream_protocol_options: Option<UpstreamProtocolOptions>,
}

/// Only the explicit one says what is spoken.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum UpstreamProtocolOptions {
    #[prost(message, tag = "3")]
    ExplicitHttpConfig(ExplicitHttpConfig),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ExplicitHttpConfig {
    #[prost(oneof = "ProtocolConfig", tags = "1, 2, 3")]
    pub(crate) protocol_config: Option<ProtocolConfig>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
#[expect(clippy::enum_variant_names, reason = "Envoy's own names")]
pub(crate) enum ProtocolConfig {
    #[prost(message, tag = "1")]
    HttpProtocolOptions(Opaque),
    #[prost(message, tag = "2")]
    Http2ProtocolOptions(Opaque),
    #[prost(message, tag = "3")]
    Http3ProtocolOptions(Opaque),
}
