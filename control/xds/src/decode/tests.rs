use bowline_api::model::Endpoint;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::*;
use crate::encode::common::{address, eds_cluster, pack};
use crate::message;

fn one(text: &str) -> LbEndpoint {
    let host = envoy_types::pb::envoy::config::endpoint::v3::Endpoint {
        address: Some(address(text.parse().unwrap())),
        ..Default::default()
    };
    LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(host)), ..LbEndpoint::default() }
}

fn weighted(text: &str, value: u32) -> LbEndpoint {
    LbEndpoint { load_balancing_weight: Some(UInt32Value { value }), ..one(text) }
}

fn list(endpoints: Vec<LbEndpoint>) -> Result<Vec<Endpoint>, String> {
    let locality = LocalityLbEndpoints { lb_endpoints: endpoints, ..LocalityLbEndpoints::default() };
    let message = ClusterLoadAssignment {
        cluster_name: "a".into(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    };
    load(&pack(&message), "a")
}

#[test]
fn endpoints_that_nobody_can_call_are_refused_in_words() {
    for (endpoints, why) in [
        (vec![one("10.0.0.1:80"), one("10.0.0.1:80")], "twice"),
        (vec![one("10.0.0.1:0")], "port 0"),
        (vec![one("0.0.0.0:80")], "every address"),
        (vec![one("224.0.0.1:80")], "multicast"),
        (vec![one("255.255.255.255:80")], "broadcast"),
        (vec![LbEndpoint::default()], "no address"),
    ] {
        let error = list(endpoints).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let mut named = one("10.0.0.1:80");
    if let Some(HostIdentifier::Endpoint(host)) = &mut named.host_identifier {
        let mut address = address("10.0.0.1:80".parse().unwrap());
        use envoy_types::pb::envoy::config::core::v3::address::Address::SocketAddress;
        if let Some(SocketAddress(socket)) = &mut address.address {
            socket.address = "backend.internal".into();
        }
        host.address = Some(address);
    }
    assert!(list(vec![named]).unwrap_err().contains("backend.internal"));
    assert_eq!(list(Vec::new()), Ok(Vec::new()), "none is legal");
}

#[test]
fn weights_are_ours_in_the_end() {
    let read = list(vec![
        weighted("[::1]:80", 4_000_000_000),
        weighted("10.0.0.1:80", 2_000_000_000),
        one("10.0.0.2:80"),
    ]);
    let weights: Vec<(String, u32)> =
        read.unwrap().iter().map(|e| (e.address.to_string(), e.weight)).collect();
    let expected = [("10.0.0.1:80", 500), ("10.0.0.2:80", 1), ("[::1]:80", 1000)];
    assert_eq!(weights, expected.map(|(address, weight)| (address.to_owned(), weight)));
}

#[test]
fn clusters_that_would_be_something_else_are_refused() {
    let service = crate::testing::state("a", &[]).service;
    let plain = eds_cluster(&service);
    assert_eq!(cluster(&pack(&plain), "a", "n").unwrap().endpoints, EndpointsFrom::Resource("a".into()));
    let mut tls = plain.clone();
    tls.transport_socket =
        Some(TransportSocket { name: "envoy.transport_sockets.tls".into(), ..Default::default() });
    let mut dns = plain.clone();
    dns.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
    for (bad, why) in [(tls, "secured"), (dns, "STRICT_DNS")] {
        let error = cluster(&pack(&bad), "a", "n").unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert!(cluster(&pack(&plain), "b", "n").unwrap_err().contains("calls itself"));
    assert!(cluster(&Any::default(), "a", "n").unwrap_err().contains("expected a message"));
    let broken = Any { value: vec![0xff], ..pack(&plain) };
    assert!(cluster(&broken, "a", "n").unwrap_err().contains("decoded"));
}

#[test]
fn a_model_from_another_version_is_taken_without_what_is_new() {
    let service = crate::testing::state("a", &[]).service;
    let with = |model: serde_json::Value| {
        let mut cluster = eds_cluster(&service);
        let ours = message::Service { model: model.to_string().into_bytes(), ..Default::default() };
        cluster.metadata.get_or_insert_default().typed_filter_metadata.insert(METADATA.into(), pack(&ours));
        super::cluster(&pack(&cluster), "a", "n")
    };
    let mut model = serde_json::to_value(&service).unwrap();
    model["retry"]["sometimes"] = true.into();
    let spec = with(model.clone()).unwrap();
    assert_eq!(spec.service, service);
    assert_eq!(spec.ignored, ["retry.sometimes: unknown to this version"]);
    model["loadBalancing"]["policy"] = "fastest".into();
    assert!(with(model.clone()).unwrap_err().contains("fastest"));
    model["loadBalancing"]["policy"] = "random".into();
    model["discoveryName"] = "b".into();
    assert_eq!(with(model).unwrap_err(), "its model is that of \"b\"");
}
