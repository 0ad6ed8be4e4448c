//! Clusters from our own control plane: the model is in their metadata.

use std::collections::BTreeMap;

use bowline_api::lenient::read_service;
use envoy_types::pb::google::protobuf::Any;

use super::{ClusterSpec, EndpointsFrom, unpack};
use crate::message::Service;
use crate::partial::cluster::Cluster;

/// Reads the service in a cluster.
pub(super) fn cluster(cluster: &Cluster, metadata: &Any, namespace: &str) -> Result<ClusterSpec, String> {
    let message: Service = unpack(metadata)?;
    if !message.namespace.is_empty() && message.namespace != namespace {
        return Err(format!("it is of namespace {:?}, and this proxy of {namespace:?}", message.namespace));
    }
    let read = read_service(&message.model).map_err(|error| format!("its model can't be read: {error}"))?;
    if read.service.discovery_name != cluster.name {
        return Err(format!("its model is that of {:?}", read.service.discovery_name));
    }
    let mut vips = BTreeMap::new();
    for vip in message.vips {
        let address = vip.address.parse().map_err(|_| format!("{:?} is no VIP", vip.address))?;
        vips.insert(vip.dns_name, address);
    }
    Ok(ClusterSpec {
        service: read.service,
        vips,
        endpoints: EndpointsFrom::Resource(endpoints_name(cluster)),
        control_version: Some(message.control_version),
        ignored: read.dropped.iter().map(ToString::to_string).collect(),
    })
}

/// The name of the resource with a cluster's endpoints.
pub(super) fn endpoints_name(cluster: &Cluster) -> String {
    let eds = cluster.eds_cluster_config.as_ref();
    let named = eds.map(|eds| eds.service_name.as_str()).filter(|name| !name.is_empty());
    named.unwrap_or(&cluster.name).to_owned()
}
