//! The live picture, as the control plane's admin pages give it: JSON with stable keys; keys may be added, none changes
//! its meaning.
//!
//! All figures are of the last [`Picture::window_seconds`], as proxies have reported them; right after a start, of the time
//! since. Where there were no requests,
//! ratios and percentiles are null.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::control_admin::SourceTrouble;

/// `GET /picture`: the mesh at work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Picture {
    /// The namespace.
    pub namespace: String,
    /// The number of what was published last; one more with each push.
    pub revision: u64,
    /// The control plane's clock, in seconds since 1970.
    pub now: f64,
    /// What rates, ratios and percentiles are taken over, in seconds.
    pub window_seconds: u32,
    /// All services of the mesh, by name.
    pub services: Vec<Service>,
    /// Who is connected, by the name of what runs beside the proxy.
    pub callers: Vec<Caller>,
    /// Who calls whom: each pair that has had requests in the window.
    pub calls: Vec<Call>,
    /// All clients that are connected.
    pub proxies: Vec<Proxy>,
    /// The last failures that proxies have reported, the latest first; at most 200.
    pub failures: Vec<Failure>,
    /// Sources that can't look at the moment, as in `/snapshot`.
    pub troubles: Vec<SourceTrouble>,
}

/// One service in [`Picture`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its `discoveryName`.
    pub service: String,
    /// Where its endpoints come from: `static`, `dns`, `cloudMap` or `registered`.
    pub source: String,
    /// It has lost all its endpoints, and keeps the last ones until somebody confirms.
    pub held: bool,
    /// False shortly after a start, while not all tasks have registered again.
    pub settled: bool,
    /// What clients dial: `dnsName:port`.
    pub aliases: Vec<String>,
    /// Requests (of a TCP service: connections) a second.
    pub requests_per_second: f64,
    /// The share of requests that went well, 0 to 1; those that the caller called off don't count.
    pub success_ratio: Option<f64>,
    /// The median of the time to the response's head.
    pub p50_milliseconds: Option<f64>,
    /// Its 95th percentile.
    pub p95_milliseconds: Option<f64>,
    /// Its 99th percentile.
    pub p99_milliseconds: Option<f64>,
    /// Attempts under way at all proxies, when they last reported.
    pub in_flight: u64,
    /// Attempts a second after the first one of a request.
    pub retries_per_second: f64,
    /// Its endpoints, by address.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a [`Service`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its zone; null: unknown.
    pub zone: Option<String>,
    /// Its share of the traffic.
    pub weight: u32,
    /// `active`, `ejected` (at one proxy at least), or `draining` (weight 0).
    pub state: String,
    /// How many proxies have ejected it at the moment.
    pub ejected_by: u32,
    /// At how many proxies its last attempt failed. One that is dead is ejected after several failures, which take their
    /// time where the balancer gives it next to nothing.
    #[serde(default)]
    pub failing_at: u32,
    /// How many proxies that are connected have sent it anything.
    pub seen_by: u32,
    /// Attempts a second.
    pub requests_per_second: f64,
    /// Attempts a second that got no answer, a 5xx, or an answer that broke off.
    pub failures_per_second: f64,
    /// The median of the time to the response's head.
    pub p50_milliseconds: Option<f64>,
    /// Its 99th percentile.
    pub p99_milliseconds: Option<f64>,
    /// Attempts under way at all proxies, when they last reported.
    pub in_flight: u64,
}

/// One kind of caller in [`Picture`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// What runs beside the proxies: `OTEL_SERVICE_NAME`, else the first `--register` name, else the family of the ECS
    /// task; of an Envoy its `cluster`. Empty: they don't say.
    pub caller: String,
    /// The proxies' ids.
    pub proxies: Vec<String>,
}

/// Who calls whom, in [`Picture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The caller, as in [`Caller::caller`].
    pub from: String,
    /// The service.
    pub to: String,
    /// Requests a second.
    pub requests_per_second: f64,
    /// The share that went well, 0 to 1.
    pub success_ratio: Option<f64>,
    /// The median of the time to the response's head.
    pub p50_milliseconds: Option<f64>,
    /// Its 99th percentile.
    pub p99_milliseconds: Option<f64>,
}

/// One client in [`Picture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// What it calls itself.
    pub id: String,
    /// What runs beside it, as in [`Caller::caller`].
    pub caller: String,
    /// `bowline`, `envoy` or `grpc`.
    pub kind: String,
    /// Its version, as it says.
    pub version: String,
    /// Its zone; null: unknown.
    pub zone: Option<String>,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// For how long it has been connected.
    pub connected_seconds: f64,
    /// The highest revision whose changes it has acknowledged or never needed.
    pub acknowledged: u64,
    /// How many revisions it lacks.
    pub behind: u64,
    /// How long its last acknowledgement took, from the moment of publication; null: none yet.
    pub acknowledged_after_milliseconds: Option<f64>,
    /// How many pushes it has refused.
    pub nacks: u64,
    /// Why it refused the last one it refused.
    pub last_nack: Option<String>,
    /// How long ago it last reported; null: it doesn't.
    pub reported_seconds_ago: Option<f64>,
}

/// A failure that a proxy has reported, in [`Picture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When it was last seen, in seconds since 1970, by the proxy's clock but never later than now.
    pub at: f64,
    /// The proxy's id.
    pub proxy: String,
    /// What runs beside it.
    pub caller: String,
    /// The service; `inbound:PORT`: the app behind the proxy itself; empty: the request was for none.
    pub service: String,
    /// The endpoint; null: none was asked.
    pub endpoint: Option<SocketAddr>,
    /// As `x-bowline-error` and the metrics name it; `status_503` and the like for an endpoint's own answer, `ejected`
    /// for an ejection, `broken_body` for a response that broke off.
    pub reason: String,
    /// The cause in words.
    pub detail: String,
    /// The app got the failure; false: it was tried again, or no request was concerned.
    pub told: bool,
    /// How often it was seen in a row.
    pub times: u64,
}

/// `GET /history`: the last hour in steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The service; null: all of them together.
    pub service: Option<String>,
    /// The length of a step.
    pub step_seconds: u32,
    /// The steps, oldest first, without gaps: a step without requests has a rate of 0.
    pub points: Vec<Point>,
}

/// One step of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When it ended, in seconds since 1970.
    pub at: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// The share that went well, 0 to 1.
    pub success_ratio: Option<f64>,
    /// The median of the time to the response's head.
    pub p50_milliseconds: Option<f64>,
    /// Its 99th percentile.
    pub p99_milliseconds: Option<f64>,
}
