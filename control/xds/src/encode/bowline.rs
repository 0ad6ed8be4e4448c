//! For our own proxies: the model whole.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Metadata;

use super::common::{eds_cluster, pack};
use super::load;
use crate::message::{METADATA, Service, Vip};
use crate::resource::Resource;
use crate::world::ServiceState;

/// What a proxy is told of the version of the control plane.
const CONTROL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A cluster with the model in its metadata, and the endpoints.
pub(crate) fn resources(namespace: &str, state: &ServiceState) -> Vec<Resource> {
    let vips = state.vips.iter();
    let service = Service {
        // What could be read from a file can be written.
        model: serde_json::to_vec(&state.service).unwrap_or_default(),
        vips: vips.map(|(name, vip)| Vip { dns_name: name.clone(), address: vip.to_string() }).collect(),
        namespace: namespace.to_owned(),
        control_version: CONTROL_VERSION.to_owned(),
    };
    let mut cluster = eds_cluster(&state.service);
    let typed_filter_metadata = [(METADATA.to_owned(), pack(&service))].into_iter().collect();
    cluster.metadata = Some(Metadata { typed_filter_metadata, ..Metadata::default() });
    let name: Arc<str> = state.service.discovery_name.as_str().into();
    vec![Resource::new(name, &cluster), load::resource(state, true)]
}
