//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use envoy_types::pb::google::protobuf::UInt32Value;
use prost::{Message, Oneof};

use super::{Address, Metadata, named};

named!(ClusterLoadAssignment, "envoy.config.endpoint.v3");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub(crate) cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) endpoints: Vec<LocalityLbEndpoints>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LocalityLbEndpoints {
    #[prost(message, optional, tag = "1")]
    pub(crate) locality: Option<Locality>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) lb_endpoints: Vec<LbEndpoint>,
    #[prost(uint32, tag = "5")]
    pub(crate) priority: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Locality {
    #[prost(string, tag = "2")]
    pub(crate) zone: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LbEndpoint {
    #[prost(oneof = "HostIdentifier", tags = "1, 5")]
    pub(crate) host_identifier: Option<HostIdentifier>,
    #[prost(int32, tag = "2")]
    pub(crate) health_status: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub(crate) load_balancing_weight: Option<UInt32Value>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum HostIdentifier {
    #[prost(message, tag = "1")]
    Endpoint(Endpoint),
    #[prost(string, tag = "5")]
    EndpointName(String),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Endpoint {
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<Address>,
}
