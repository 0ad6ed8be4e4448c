//! `envoy.config.route.v3.RouteConfiguration`.

use envoy_types::pb::google::protobuf::{Duration, UInt32Value};
use prost::{Message, Oneof};

use super::{Opaque, named};

named!(RouteConfiguration, "envoy.config.route.v3");

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RouteConfiguration {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) virtual_hosts: Vec<VirtualHost>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct VirtualHost {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) domains: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) routes: Vec<Route>,
    #[prost(message, optional, tag = "16")]
    pub(crate) retry_policy: Option<RetryPolicy>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Route {
    #[prost(message, optional, tag = "1")]
    pub(crate) r#match: Option<RouteMatch>,
    /// Other actions are answers that the other side gives by itself.
    #[prost(message, optional, tag = "2")]
    pub(crate) route: Option<RouteAction>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RouteMatch {
    /// Without one the path is matched in another way.
    #[prost(string, optional, tag = "1")]
    pub(crate) prefix: Option<String>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) headers: Vec<Opaque>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) query_parameters: Vec<Opaque>,
    #[prost(message, optional, tag = "9")]
    pub(crate) runtime_fraction: Option<Opaque>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RouteAction {
    #[prost(oneof = "ClusterSpecifier", tags = "1, 3")]
    pub(crate) cluster_specifier: Option<ClusterSpecifier>,
    #[prost(message, optional, tag = "8")]
    pub(crate) timeout: Option<Duration>,
    #[prost(message, optional, tag = "9")]
    pub(crate) retry_policy: Option<RetryPolicy>,
    #[prost(message, optional, tag = "24")]
    pub(crate) idle_timeout: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum ClusterSpecifier {
    #[prost(string, tag = "1")]
    Cluster(String),
    #[prost(message, tag = "3")]
    WeightedClusters(WeightedCluster),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct WeightedCluster {
    #[prost(message, repeated, tag = "1")]
    pub(crate) clusters: Vec<ClusterWeight>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ClusterWeight {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RetryPolicy {
    #[prost(string, tag = "1")]
    pub(crate) retry_on: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) num_retries: Option<UInt32Value>,
    #[prost(uint32, repeated, tag = "7")]
    pub(crate) retriable_status_codes: Vec<u32>,
}
