//! From resources to the model: what a proxy makes of what it is sent, by our control plane or any other.
//!
//! Whatever can't be taken is an error of that resource, in words; it never takes another one with it.

pub(crate) mod bowline;
pub(crate) mod load;
pub(crate) mod standard;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bowline_api::Service;
use bowline_api::model::Endpoint;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use crate::message::METADATA;
use crate::partial::cluster::Cluster;
pub(crate) use load::load;
pub(crate) use standard::{Entry, Routes, Way, listener, routes};

/// A cluster, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClusterSpec {
    /// The service. That of another's control plane has no aliases yet: they come from listeners and routes.
    pub(crate) service: Service,
    /// What is known of its VIPs.
    pub(crate) vips: BTreeMap<String, Ipv4Addr>,
    /// Where its endpoints come from.
    pub(crate) endpoints: EndpointsFrom,
    /// It is from our control plane, of this version.
    pub(crate) control_version: Option<String>,
    /// What was left out of it, in words.
    pub(crate) ignored: Vec<String>,
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EndpointsFrom {
    /// A resource of that name.
    Resource(String),
    /// The cluster itself.
    Inline(Vec<Endpoint>),
}

/// Reads a cluster of that name, for a proxy of that namespace.
pub(crate) fn cluster(any: &Any, name: &str, namespace: &str) -> Result<ClusterSpec, String> {
    let cluster: Cluster = unpack(any)?;
    if cluster.name != name {
        return Err(format!("it calls itself {:?}", cluster.name));
    }
    let ours = cluster.metadata.as_ref().and_then(|metadata| metadata.typed_filter_metadata.get(METADATA));
    match ours {
        Some(ours) => bowline::cluster(&cluster, ours, namespace),
        None => standard::cluster(&cluster),
    }
}

/// Takes a message out of its wrapping.
pub(crate) fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, String> {
    // Only the part behind the slash says what it is.
    if any.type_url.rsplit('/').next() != Some(M::full_name().as_str()) {
        return Err(format!("expected a message of type {}, found {:?}", M::full_name(), any.type_url));
    }
    M::decode(any.value.as_slice()).map_err(|error| format!("it can't be decoded: {error}"))
}

#[cfg(test)]
mod tests;
