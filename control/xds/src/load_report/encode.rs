//! From what happened to the standard's messages.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_stats::DroppedRequests;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{self, ListValue, Struct, Value};

use super::{BOUNDS_MICROS, CLASSES, EndpointLoad, Failure, Latency, Report, ServiceLoad};
use crate::encode::common::address;
use crate::message::METADATA;

/// The names of metrics; those of classes and buckets go on with the class or the bound.
pub(super) const REQUESTS: &str = "requests.";
pub(super) const RETRIES: &str = "retries";
pub(super) const LATENCY: &str = "latency_microseconds";
pub(super) const LATENCY_UP_TO: &str = "latency_microseconds.le.";
pub(super) const NO_BOUND: &str = "inf";
/// Keys of metadata.
pub(super) const EJECTED: &str = "ejectedMilliseconds";
pub(super) const FAILURES_IN_A_ROW: &str = "failuresInARow";
pub(super) const FAILURES: &str = "failures";

/// The message for a report. `id` is the node's: the first message of a stream must tell more of it.
#[must_use]
pub fn encode(id: &str, report: &Report) -> LoadStatsRequest {
    let interval = protobuf::Duration {
        seconds: i64::try_from(report.period.as_secs()).unwrap_or(i64::MAX),
        nanos: report.period.subsec_nanos().cast_signed(),
    };
    let node = (!report.failures.is_empty()).then(|| Node {
        id: id.to_owned(),
        metadata: Some(of([(METADATA, map([(FAILURES, list(report.failures.iter().map(failure)))]))])),
        ..Node::default()
    });
    let cluster = |load: &ServiceLoad| cluster(load, interval);
    LoadStatsRequest { node, cluster_stats: report.services.iter().map(cluster).collect() }
}

fn cluster(load: &ServiceLoad, interval: protobuf::Duration) -> ClusterStats {
    let mut metrics: Vec<_> = CLASSES
        .iter()
        .zip(load.requests)
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| metric(format!("{REQUESTS}{class}"), count, 0))
        .collect();
    if load.retries > 0 {
        metrics.push(metric(RETRIES.to_owned(), load.retries, 0));
    }
    latency(&load.latency, &mut metrics);
    let dropped: u64 = load.refused.values().sum();
    let failed = load.failed().saturating_sub(dropped);
    let locality = UpstreamLocalityStats {
        total_successful_requests: load.good(),
        total_error_requests: failed,
        total_issued_requests: load.good() + failed + load.cancelled(),
        total_requests_in_progress: load.in_flight,
        load_metric_stats: metrics,
        upstream_endpoint_stats: load.endpoints.iter().map(endpoint).collect(),
        ..UpstreamLocalityStats::default()
    };
    let category = |(reason, count): (&String, &u64)| DroppedRequests {
        category: reason.clone(),
        dropped_count: *count,
    };
    ClusterStats {
        cluster_name: load.service.clone(),
        upstream_locality_stats: vec![locality],
        total_dropped_requests: dropped,
        dropped_requests: load.refused.iter().map(category).collect(),
        load_report_interval: Some(interval),
        ..ClusterStats::default()
    }
}

fn endpoint(load: &EndpointLoad) -> UpstreamEndpointStats {
    let mut metrics = Vec::new();
    latency(&load.latency, &mut metrics);
    let failures = (load.failures_in_a_row > 0)
        .then(|| (FAILURES_IN_A_ROW.to_owned(), number(load.failures_in_a_row.into())));
    let ejected = load.ejected.map(|left| (EJECTED.to_owned(), number(left.as_millis() as f64)));
    let fields: HashMap<_, _> = failures.into_iter().chain(ejected).collect();
    UpstreamEndpointStats {
        address: Some(address(load.address)),
        metadata: (!fields.is_empty()).then_some(Struct { fields }),
        total_successful_requests: load.good,
        total_error_requests: load.failed,
        total_issued_requests: load.good + load.failed,
        total_requests_in_progress: load.in_flight,
        load_metric_stats: metrics,
    }
}

fn latency(latency: &Latency, metrics: &mut Vec<EndpointLoadMetricStats>) {
    let count = latency.count();
    if count == 0 {
        return;
    }
    metrics.push(metric(LATENCY.to_owned(), count, latency.sum_micros));
    for (at, count) in latency.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        let bound = BOUNDS_MICROS.get(at).map_or_else(|| NO_BOUND.to_owned(), u64::to_string);
        metrics.push(metric(format!("{LATENCY_UP_TO}{bound}"), *count, 0));
    }
}

fn metric(metric_name: String, count: u64, total: u64) -> EndpointLoadMetricStats {
    EndpointLoadMetricStats {
        metric_name,
        num_requests_finished_with_metric: count,
        total_metric_value: total as f64,
    }
}

fn failure(failure: &Failure) -> Value {
    map([
        ("atMicros", number(failure.at_micros as f64)),
        ("service", text(&failure.service)),
        ("endpoint", text(&failure.endpoint.map(|addr| addr.to_string()).unwrap_or_default())),
        ("reason", text(&failure.reason)),
        ("detail", text(&failure.detail)),
        ("told", Value { kind: Some(Kind::BoolValue(failure.told)) }),
        ("times", number(failure.times as f64)),
    ])
}

/// A struct with these fields.
pub(crate) fn of<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    let fields: HashMap<_, _> = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Struct { fields }
}

/// The same as a value.
pub(crate) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value { kind: Some(Kind::StructValue(of(fields))) }
}

/// A text as a value.
pub(crate) fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn number(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values: values.collect() })) }
}
