//! A service's endpoints: the same for all kinds of clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_api::model::Endpoint;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality, Metadata};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as PbEndpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::Message;

use super::common::{address, uint};
use crate::resource::{ContentHash, Resource};
use crate::world::ServiceState;

/// Where the labels of an endpoint stand: Envoy looks for them there too.
pub(crate) const LABELS: &str = "envoy.lb";

/// The resource of a service's endpoints. `marked`: that some may be missing is part of its version.
pub(crate) fn resource(state: &ServiceState, marked: bool) -> Resource {
    let name: Arc<str> = state.service.discovery_name.as_str().into();
    let (value, mut hash) = encode(&name, &state.endpoints);
    let partial = !state.settled;
    if partial && marked {
        hash = hash.with(b"partial");
    }
    Resource::with_hash::<ClusterLoadAssignment>(name, value, hash, partial)
}

/// The same for gRPC, whose round robin knows no weights of endpoints, only those of localities: so there is one for each
/// weight.
pub(crate) fn by_weight(state: &ServiceState) -> Resource {
    let name: Arc<str> = state.service.discovery_name.as_str().into();
    let mut classes: BTreeMap<(&str, u32), Vec<LbEndpoint>> = BTreeMap::new();
    for endpoint in state.endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
        let zone = endpoint.zone.as_deref().unwrap_or_default();
        classes.entry((zone, endpoint.weight)).or_default().push(one(endpoint));
    }
    let locality = |((zone, weight), lb_endpoints): ((&str, u32), Vec<LbEndpoint>)| {
        let count = u32::try_from(lb_endpoints.len()).unwrap_or(u32::MAX);
        LocalityLbEndpoints {
            locality: Some(Locality {
                zone: zone.to_owned(),
                sub_zone: format!("w{weight}"),
                ..Locality::default()
            }),
            load_balancing_weight: uint(weight.saturating_mul(count)),
            lb_endpoints,
            ..LocalityLbEndpoints::default()
        }
    };
    let endpoints = classes.into_iter().map(locality).collect();
    let cluster_name = name.to_string();
    let message = ClusterLoadAssignment { cluster_name, endpoints, ..ClusterLoadAssignment::default() };
    let value = message.encode_to_vec();
    let hash = ContentHash::new().with(&value);
    Resource::with_hash::<ClusterLoadAssignment>(name, value, hash, !state.settled)
}

/// The endpoints as bytes, and their hash.
pub(crate) fn encode(name: &str, endpoints: &[Endpoint]) -> (Vec<u8>, ContentHash) {
    let mut message = assignment(name, endpoints);
    let plain = message.encode_to_vec();
    let mut hash = ContentHash::new().with(&plain);
    if endpoints.iter().all(|endpoint| endpoint.metadata.is_empty()) {
        return (plain, hash);
    }
    // Labels are maps, whose encoding comes in any order: so they are left out of the bytes that are hashed.
    for endpoint in endpoints {
        for (label, value) in &endpoint.metadata {
            hash = hash.with(label.as_bytes()).with(&[0]).with(value.as_bytes()).with(&[1]);
        }
        hash = hash.with(&[2]);
    }
    add_labels(&mut message, endpoints);
    (message.encode_to_vec(), hash)
}

/// Without labels.
fn assignment(name: &str, endpoints: &[Endpoint]) -> ClusterLoadAssignment {
    let mut zones: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        zones.entry(endpoint.zone.as_deref().unwrap_or_default()).or_default().push(endpoint);
    }
    let endpoints = zones
        .into_iter()
        .map(|(zone, endpoints)| {
            // gRPC passes localities of no weight over without a word, and wants the locality to be there.
            let weight: u32 = endpoints.iter().fold(0, |sum: u32, one| sum.saturating_add(one.weight)).max(1);
            LocalityLbEndpoints {
                locality: Some(Locality { zone: zone.to_owned(), ..Locality::default() }),
                load_balancing_weight: uint(weight),
                lb_endpoints: endpoints.into_iter().map(one).collect(),
                ..LocalityLbEndpoints::default()
            }
        })
        .collect();
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints, ..ClusterLoadAssignment::default() }
}

/// A weight of 0 can't be written; to be drained means the same.
fn one(endpoint: &Endpoint) -> LbEndpoint {
    let (status, weight) = match endpoint.weight {
        0 => (HealthStatus::Draining, None),
        weight => (HealthStatus::Healthy, uint(weight)),
    };
    let host = PbEndpoint { address: Some(address(endpoint.address)), ..PbEndpoint::default() };
    LbEndpoint {
        health_status: status.into(),
        load_balancing_weight: weight,
        host_identifier: Some(HostIdentifier::Endpoint(host)),
        ..LbEndpoint::default()
    }
}

/// The endpoints stand in the message zone by zone, and in a zone in their order.
fn add_labels(message: &mut ClusterLoadAssignment, endpoints: &[Endpoint]) {
    for locality in &mut message.endpoints {
        let zone = locality.locality.as_ref().map(|locality| locality.zone.as_str()).unwrap_or_default();
        let in_zone = endpoints.iter().filter(|one| one.zone.as_deref().unwrap_or_default() == zone);
        for (slot, endpoint) in locality.lb_endpoints.iter_mut().zip(in_zone) {
            if !endpoint.metadata.is_empty() {
                slot.metadata = Some(labels(&endpoint.metadata));
            }
        }
    }
}

fn labels(labels: &BTreeMap<String, String>) -> Metadata {
    let value = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
    let fields = labels.iter().map(|(label, text)| (label.clone(), value(text))).collect();
    let filter_metadata = [(LABELS.to_owned(), Struct { fields })].into_iter().collect();
    Metadata { filter_metadata, ..Metadata::default() }
}
