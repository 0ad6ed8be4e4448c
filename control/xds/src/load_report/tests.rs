use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_stats::DroppedRequests;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::google::protobuf::Value;
use envoy_types::pb::google::protobuf::value::Kind;
use prost::Message;

use super::*;
use crate::message::METADATA;

/// Counts that a double can hold.
fn count(rng: &mut fastrand::Rng) -> u64 {
    match rng.u8(0..4) {
        0 => 0,
        1 => rng.u64(0..10),
        2 => rng.u64(0..1_000_000),
        _ => rng.u64(0..1 << 40),
    }
}

fn latency(rng: &mut fastrand::Rng) -> Latency {
    let mut latency = Latency::default();
    if rng.bool() {
        latency.buckets.iter_mut().for_each(|bucket| *bucket = count(rng));
    }
    latency.sum_micros = if latency.count() > 0 { count(rng) } else { 0 };
    latency
}

fn address(rng: &mut fastrand::Rng) -> SocketAddr {
    let port = rng.u16(1..);
    match rng.bool() {
        true => (rng.u32(..).to_be_bytes(), port).into(),
        false => (rng.u128(..).to_be_bytes(), port).into(),
    }
}

fn word(rng: &mut fastrand::Rng, most: usize) -> String {
    let length = rng.usize(0..20);
    let text: String = std::iter::repeat_with(|| rng.char(..)).take(length).collect();
    cut(&text, most).to_owned()
}

fn service(rng: &mut fastrand::Rng) -> ServiceLoad {
    let mut load = ServiceLoad { service: word(rng, 64), ..ServiceLoad::default() };
    load.requests.iter_mut().for_each(|class| *class = count(rng));
    // A report without any class is a plain one, whose dropped requests are the ones without an answer.
    load.requests[1] += 1;
    load.latency = latency(rng);
    load.retries = count(rng);
    for _ in 0..rng.usize(0..3) {
        let refused = count(rng);
        load.refused.insert(word(rng, 64), refused);
        load.requests[6] += refused;
    }
    load.in_flight = count(rng);
    for _ in 0..rng.usize(0..4) {
        let ejected = rng.bool().then(|| Duration::from_millis(rng.u64(0..1 << 30)));
        let (good, failed, in_flight) = (count(rng), count(rng), count(rng));
        let endpoint = EndpointLoad { good, failed, in_flight, ejected, ..EndpointLoad::new(address(rng)) };
        let failures_in_a_row = if rng.bool() { rng.u32(..) } else { 0 };
        load.endpoints.push(EndpointLoad { latency: latency(rng), failures_in_a_row, ..endpoint });
    }
    load
}

fn failure(rng: &mut fastrand::Rng) -> Failure {
    Failure {
        at_micros: rng.u64(0..1 << 52),
        service: word(rng, 64),
        endpoint: rng.bool().then(|| address(rng)),
        reason: word(rng, 64),
        detail: word(rng, MAX_DETAIL),
        told: rng.bool(),
        times: rng.u64(1..1 << 40),
    }
}

#[test]
fn what_is_reported_is_understood() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..500 {
        let report = Report {
            period: Duration::from_nanos(rng.u64(1..1 << 40)),
            services: (0..rng.usize(1..4)).map(|_| service(&mut rng)).collect(),
            failures: (0..rng.usize(0..5)).map(|_| failure(&mut rng)).collect(),
        };
        let bytes = encode("task-1", &report).encode_to_vec();
        let message = LoadStatsRequest::decode(&bytes[..]).expect("a message");
        assert_eq!(decode(&message), report);
        if let Some(node) = message.node {
            assert_eq!(node.id, "task-1");
        }
        // Whoever reads the standard's fields alone finds every request in one of them.
        for (stats, load) in message.cluster_stats.iter().zip(&report.services) {
            let locality = &stats.upstream_locality_stats[0];
            let failed = locality.total_error_requests + stats.total_dropped_requests;
            assert_eq!((locality.total_successful_requests, failed), (load.good(), load.failed()));
        }
    }
}

#[test]
fn a_plain_report_is_understood() {
    let zone = |good, failed, in_progress| UpstreamLocalityStats {
        total_successful_requests: good,
        total_error_requests: failed,
        total_requests_in_progress: in_progress,
        ..UpstreamLocalityStats::default()
    };
    let stats = ClusterStats {
        cluster_name: "server".to_owned(),
        upstream_locality_stats: vec![zone(7, 1, 2), zone(3, 0, 1)],
        total_dropped_requests: 4,
        dropped_requests: vec![DroppedRequests { category: "throttle".to_owned(), dropped_count: 3 }],
        ..ClusterStats::default()
    };
    let report = decode(&LoadStatsRequest { node: None, cluster_stats: vec![stats] });
    let [server] = &report.services[..] else { panic!("one service: {report:?}") };
    assert_eq!((server.good(), server.failed(), server.in_flight), (10, 5, 3));
    assert_eq!(server.refused["throttle"], 3);
    assert_eq!((report.period, report.failures.len()), (Duration::ZERO, 0));
}

#[test]
fn other_bounds_fall_into_the_next_of_ours() {
    let mut latency = Latency::default();
    for (bound, at) in [(Some(1), 0), (Some(500), 0), (Some(501), 1), (Some(15_000_001), 15), (None, 15)] {
        latency.buckets = Default::default();
        latency.add(bound, 2);
        assert_eq!(latency.buckets.iter().position(|count| *count == 2), Some(at), "{bound:?}");
    }
}

#[test]
fn what_is_too_much_or_nonsense_is_cut() {
    let long =
        Failure { detail: "ä".repeat(300), reason: "r".repeat(100), told: true, ..Failure::default() };
    let report = Report { failures: vec![long; 100], ..Report::default() };
    let mut message = encode("id", &report);
    let read = decode(&message).failures;
    assert_eq!((read.len(), read[0].detail.len(), read[0].reason.len()), (MAX_FAILURES, MAX_DETAIL, 64));
    assert_eq!(read[0].times, 1, "it happened at least once");

    let node = message.node.get_or_insert_default();
    for kind in [None, Some(Kind::BoolValue(true)), Some(Kind::NumberValue(f64::NAN))] {
        node.metadata.get_or_insert_default().fields.insert(METADATA.to_owned(), Value { kind });
        let message = LoadStatsRequest { node: Some(node.clone()), cluster_stats: Vec::new() };
        assert_eq!(decode(&message), Report::default());
    }
    assert_eq!(decode(&LoadStatsRequest { node: Some(Node::default()), ..message }).failures, []);
}

#[test]
fn texts_are_cut_between_characters() {
    assert_eq!((cut("aä", 2), cut("aä", 3), cut("aä", 9), cut("", 0)), ("a", "aä", "aä", ""));
}
