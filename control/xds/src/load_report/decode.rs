//! From the standard's messages to what happened, whoever reports.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, address};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{self, Struct, Value};

use super::encode::{
    EJECTED, FAILURES, FAILURES_IN_A_ROW, LATENCY, LATENCY_UP_TO, NO_BOUND, REQUESTS, RETRIES,
};
use super::{CLASSES, EndpointLoad, Failure, Latency, MAX_DETAIL, MAX_FAILURES, Report, ServiceLoad, cut};
use crate::message::METADATA;

/// The longest word that is taken for a reason.
const MAX_REASON: usize = 64;
/// The longest name of a service.
const MAX_SERVICE: usize = 255;
/// Most reasons of a service.
const MAX_REASONS: usize = 64;
/// Where the classes of a plain report go: a good answer, a bad one, none at all.
const GOOD: usize = 1;
const BAD: usize = 4;
const NONE: usize = 6;

/// Reads a report. What it doesn't understand it passes by: a report is never wrong as a whole.
#[must_use]
pub fn decode(message: &LoadStatsRequest) -> Report {
    let periods = message.cluster_stats.iter().filter_map(|stats| stats.load_report_interval.as_ref());
    let failures = message.node.as_ref().and_then(|node| node.metadata.as_ref()).and_then(failures);
    Report {
        period: periods.map(duration).max().unwrap_or_default(),
        services: message.cluster_stats.iter().map(service).collect(),
        failures: failures.unwrap_or_default(),
    }
}

fn service(stats: &ClusterStats) -> ServiceLoad {
    let mut load =
        ServiceLoad { service: cut(&stats.cluster_name, MAX_SERVICE).to_owned(), ..ServiceLoad::default() };
    for dropped in stats.dropped_requests.iter().take(MAX_REASONS) {
        let count = load.refused.entry(cut(&dropped.category, MAX_REASON).to_owned()).or_default();
        *count = count.saturating_add(dropped.dropped_count);
    }
    let mut classed = false;
    for locality in &stats.upstream_locality_stats {
        classed |= add_locality(&mut load, locality);
    }
    if !classed {
        load.requests[NONE] = load.requests[NONE].saturating_add(stats.total_dropped_requests);
    }
    load
}

/// True: it says of what class the answers were.
fn add_locality(load: &mut ServiceLoad, stats: &UpstreamLocalityStats) -> bool {
    let mut classed = false;
    for metric in &stats.load_metric_stats {
        let (name, count) = (metric.metric_name.as_str(), metric.num_requests_finished_with_metric);
        if let Some(class) = name.strip_prefix(REQUESTS) {
            classed = true;
            // A class that a newer version has, and this one doesn't, is `other`.
            let at = CLASSES.iter().position(|known| *known == class).unwrap_or(0);
            load.requests[at] = load.requests[at].saturating_add(count);
        } else if name == RETRIES {
            load.retries = load.retries.saturating_add(count);
        } else {
            add_latency(&mut load.latency, metric);
        }
    }
    if !classed {
        load.requests[GOOD] = load.requests[GOOD].saturating_add(stats.total_successful_requests);
        load.requests[BAD] = load.requests[BAD].saturating_add(stats.total_error_requests);
    }
    load.in_flight = load.in_flight.saturating_add(stats.total_requests_in_progress);
    load.endpoints.extend(stats.upstream_endpoint_stats.iter().filter_map(endpoint));
    classed
}

fn add_latency(latency: &mut Latency, metric: &EndpointLoadMetricStats) {
    let count = metric.num_requests_finished_with_metric;
    if metric.metric_name == LATENCY {
        // Saturating, and 0 for what is no number.
        latency.sum_micros = latency.sum_micros.saturating_add(metric.total_metric_value as u64);
    } else if let Some(bound) = metric.metric_name.strip_prefix(LATENCY_UP_TO) {
        match bound.parse() {
            Ok(bound) => latency.add(Some(bound), count),
            Err(_) if bound == NO_BOUND => latency.add(None, count),
            Err(_) => {}
        }
    }
}

fn endpoint(stats: &UpstreamEndpointStats) -> Option<EndpointLoad> {
    let mut load = EndpointLoad::new(socket_address(stats.address.as_ref()?)?);
    load.good = stats.total_successful_requests;
    load.failed = stats.total_error_requests;
    load.in_flight = stats.total_requests_in_progress;
    for metric in &stats.load_metric_stats {
        add_latency(&mut load.latency, metric);
    }
    if let Some(metadata) = &stats.metadata {
        let failures = number(metadata.fields.get(FAILURES_IN_A_ROW)).unwrap_or_default();
        load.failures_in_a_row = failures as u32;
        let ejected = number(metadata.fields.get(EJECTED));
        load.ejected = ejected.map(|left| Duration::from_millis(left as u64));
    }
    Some(load)
}

fn socket_address(address: &Address) -> Option<SocketAddr> {
    let Some(address::Address::SocketAddress(socket)) = &address.address else { return None };
    let ip: IpAddr = socket.address.parse().ok()?;
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

fn duration(duration: &protobuf::Duration) -> Duration {
    Duration::from_secs(u64::try_from(duration.seconds).unwrap_or_default())
        + Duration::from_nanos(u64::try_from(duration.nanos).unwrap_or_default())
}

fn failures(metadata: &Struct) -> Option<Vec<Failure>> {
    let Some(Kind::StructValue(ours)) = &metadata.fields.get(METADATA)?.kind else { return None };
    let Some(Kind::ListValue(list)) = &ours.fields.get(FAILURES)?.kind else { return None };
    Some(list.values.iter().take(MAX_FAILURES).filter_map(failure).collect())
}

fn failure(value: &Value) -> Option<Failure> {
    let Some(Kind::StructValue(value)) = &value.kind else { return None };
    let of = |key: &str, most: usize| cut(text(value.fields.get(key)).unwrap_or_default(), most).to_owned();
    let count = |key: &str| number(value.fields.get(key)).unwrap_or_default() as u64;
    Some(Failure {
        at_micros: count("atMicros"),
        service: of("service", MAX_SERVICE),
        endpoint: of("endpoint", MAX_REASON).parse().ok(),
        reason: of("reason", MAX_REASON),
        detail: of("detail", MAX_DETAIL),
        told: matches!(value.fields.get("told")?.kind, Some(Kind::BoolValue(true))),
        times: count("times").max(1),
    })
}

/// A text in a struct.
pub(crate) fn text(value: Option<&Value>) -> Option<&str> {
    match &value?.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value?.kind {
        Some(Kind::NumberValue(number)) => Some(number),
        _ => None,
    }
}
