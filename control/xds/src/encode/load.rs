//! A service's endpoints: the same for all kinds of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowline_api::model::Endpoint;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality, Metadata};
use envoy_types::pb::envoy::config::endpoint::v3::endpoint::HealthCheckConfig;
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

/// The same for Envoy, with the weights of zones and the port to ask for health.
pub(crate) fn for_envoy(state: &ServiceState) -> Resource {
    let service = &state.service;
    let port = service.health_check.as_ref().and_then(|check| check.port);
    let zones = &service.load_balancing.zone_weights;
    if port.is_none() && zones.is_empty() {
        return resource(state, false);
    }
    let name: Arc<str> = service.discovery_name.as_str().into();
    let mut message = assignment(&name, &state.endpoints);
    for locality in &mut message.endpoints {
        if !zones.is_empty() {
            let zone = locality.locality.as_ref().map(|locality| locality.zone.as_str()).unwrap_or_default();
            // Without one a locality gets nothing.
            locality.load_balancing_weight =
                zones.get(zone).filter(|weight| **weight > 0).and_then(|weight| uint(*weight));
        }
        for one in &mut locality.lb_endpoints {
            if let (Some(port), Some(HostIdentifier::Endpoint(host))) = (port, &mut one.host_identifier) {
                host.health_check_config =
                    Some(HealthCheckConfig { port_value: port.into(), ..HealthCheckConfig::default() });
            }
        }
    }
    let (value, hash) = with_labels(message, &state.endpoints);
    Resource::with_hash::<ClusterLoadAssignment>(name, value, hash, !state.settled)
}

/// The same for gRPC, whose round robin knows no weights of endpoints, only those of localities: so there is one for each
/// weight.
pub(crate) fn by_weight(state: &ServiceState) -> Resource {
    let name: Arc<str> = state.service.discovery_name.as_str().into();
    let mut classes: BTreeMap<(u32, &str, u32), Vec<LbEndpoint>> = BTreeMap::new();
    let ranks = ranks(&state.endpoints);
    for endpoint in state.endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
        let (rank, zone) = place(endpoint, &ranks);
        classes.entry((rank, zone, endpoint.weight)).or_default().push(one(endpoint));
    }
    let zones = Zones::of(state);
    classes.retain(|(_, zone, _), _| zones.has(zone));
    let locality = |((priority, zone, weight), lb_endpoints): ((u32, &str, u32), Vec<LbEndpoint>)| {
        let count = u32::try_from(lb_endpoints.len()).unwrap_or(u32::MAX);
        LocalityLbEndpoints {
            locality: Some(Locality {
                zone: zone.to_owned(),
                sub_zone: format!("w{weight}"),
                ..Locality::default()
            }),
            load_balancing_weight: uint(zones.share(priority, zone, weight.saturating_mul(count))),
            lb_endpoints,
            priority,
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

/// The shares of zones, where a service names them.
struct Zones<'a> {
    weights: &'a BTreeMap<String, u32>,
    all: u64,
    /// What the endpoints of a level and a zone weigh.
    within: BTreeMap<(u32, &'a str), u64>,
}

impl<'a> Zones<'a> {
    fn of(state: &'a ServiceState) -> Self {
        let weights = &state.service.load_balancing.zone_weights;
        let mut within = BTreeMap::new();
        if !weights.is_empty() {
            let ranks = ranks(&state.endpoints);
            for endpoint in &state.endpoints {
                *within.entry(place(endpoint, &ranks)).or_default() += u64::from(endpoint.weight);
            }
        }
        let all = weights.values().copied().map(u64::from).sum::<u64>().max(1);
        Zones { weights, all, within }
    }

    /// Whether it gets anything.
    fn has(&self, zone: &str) -> bool {
        self.weights.is_empty() || self.weights.get(zone).is_some_and(|weight| *weight > 0)
    }

    /// The weight of a part of a zone that weighs so much.
    fn share(&self, priority: u32, zone: &str, part: u32) -> u32 {
        let Some(weight) = self.weights.get(zone) else { return part };
        let whole = self.within.get(&(priority, zone)).copied().unwrap_or_default().max(1);
        // So that the sum stays below what gRPC takes.
        let share =
            1_000_000_000 * u128::from(*weight) * u128::from(part) / u128::from(self.all) / u128::from(whole);
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }
}

/// The endpoints as bytes, and their hash.
pub(crate) fn encode(name: &str, endpoints: &[Endpoint]) -> (Vec<u8>, ContentHash) {
    with_labels(assignment(name, endpoints), endpoints)
}

fn with_labels(mut message: ClusterLoadAssignment, endpoints: &[Endpoint]) -> (Vec<u8>, ContentHash) {
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
    let mut zones: BTreeMap<(u32, &str), Vec<&Endpoint>> = BTreeMap::new();
    let ranks = ranks(endpoints);
    for endpoint in endpoints {
        zones.entry(place(endpoint, &ranks)).or_default().push(endpoint);
    }
    let endpoints = zones
        .into_iter()
        .map(|((priority, zone), endpoints)| {
            // gRPC passes localities of no weight over without a word, and wants the locality to be there.
            let weight: u32 = endpoints.iter().fold(0, |sum: u32, one| sum.saturating_add(one.weight)).max(1);
            LocalityLbEndpoints {
                locality: Some(Locality { zone: zone.to_owned(), ..Locality::default() }),
                load_balancing_weight: uint(weight),
                lb_endpoints: endpoints.into_iter().map(one).collect(),
                priority,
                ..LocalityLbEndpoints::default()
            }
        })
        .collect();
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints, ..ClusterLoadAssignment::default() }
}

/// The levels that there are, counted from 0 without gaps: gRPC refuses endpoints whose levels have some.
fn ranks(endpoints: &[Endpoint]) -> BTreeMap<u32, u32> {
    let levels: BTreeSet<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
    levels.into_iter().zip(0..).collect()
}

fn place<'a>(endpoint: &'a Endpoint, ranks: &BTreeMap<u32, u32>) -> (u32, &'a str) {
    let rank = ranks.get(&endpoint.priority).copied().unwrap_or_default();
    (rank, endpoint.zone.as_deref().unwrap_or_default())
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

/// The endpoints stand in the message level by level and zone by zone, and in a zone in their order.
fn add_labels(message: &mut ClusterLoadAssignment, endpoints: &[Endpoint]) {
    let ranks = ranks(endpoints);
    for locality in &mut message.endpoints {
        let priority = locality.priority;
        let zone = locality.locality.as_ref().map(|locality| locality.zone.as_str()).unwrap_or_default();
        let in_zone = endpoints.iter().filter(|one| place(one, &ranks) == (priority, zone));
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
