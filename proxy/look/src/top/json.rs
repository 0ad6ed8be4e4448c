//! A frame as JSON: one line.

use serde_json::{Value, json};

use super::frame::{Frame, Row};
use super::latency::Latency;

/// The frame; with endpoints in lists of their own where they are wanted.
pub(super) fn line(frame: &Frame, proxy: &str, endpoints: bool) -> String {
    let services: Vec<Value> = frame
        .services
        .iter()
        .map(|service| {
            let mut value = row("service", service);
            value["retriesPerSecond"] = rounded(service.retries);
            value["shedPerSecond"] = rounded(service.shed);
            value["endpoints"] = service.endpoints.len().into();
            value["ejected"] = service.ejected.into();
            if endpoints {
                let of = |endpoint: &Row| {
                    let mut value = row("address", endpoint);
                    value["ejected"] = (endpoint.ejected > 0).into();
                    value
                };
                value["endpoints"] = service.endpoints.iter().map(of).collect();
            }
            value
        })
        .collect();
    json!({
        "address": proxy,
        "seconds": rounded(frame.seconds),
        "generation": frame.generation as u64,
        "connections": frame.connections as i64,
        "cpuPercent": rounded(frame.cpu_percent),
        "residentBytes": frame.resident_bytes as u64,
        "services": services,
    })
    .to_string()
}

fn row(key: &str, row: &Row) -> Value {
    // Of what is above the highest bound that bound is told: a number can be compared.
    let ms = |latency: Option<Latency>| latency.map_or(Value::Null, |latency| rounded(latency.at_least()));
    json!({
        key: row.name,
        "requestsPerSecond": rounded(row.rate),
        "successPercent": row.success.map_or(Value::Null, rounded),
        "p50Milliseconds": ms(row.p50),
        "p95Milliseconds": ms(row.p95),
        "p99Milliseconds": ms(row.p99),
        "inFlight": row.in_flight as i64,
    })
}

/// To the thousandth: what follows is noise.
fn rounded(number: f64) -> Value {
    json!((number * 1e3).round() / 1e3)
}
