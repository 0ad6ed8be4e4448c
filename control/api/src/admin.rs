//! What the admin pages of a proxy answer, as JSON with stable keys: keys may be added, none changes its meaning.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// `GET /health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether the proxy takes new work.
    pub ready: bool,
    /// Why not; empty when it does.
    pub reasons: Vec<String>,
}

/// `GET /config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The number of the mesh in force.
    pub generation: u64,
    /// The mesh file on disk is invalid, and this is the last good one.
    pub mesh_file_refused: bool,
    /// The mesh in force, with all defaults written out.
    pub mesh: crate::Mesh,
    /// The control plane; absent: this proxy runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
}

/// The control plane in [`Config`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// The one that this proxy is connected to, or has tried last.
    pub url: String,
    /// Whether it is connected.
    pub connected: bool,
    /// For how long that has been so; absent: nothing has come of the first try yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Where the mesh in force is from: `control`, `last good`, `seed`, or nowhere yet: empty.
    pub mesh_from: String,
    /// What it has pushed and this proxy has refused. The last good version of each stays.
    pub rejected: Vec<RejectedResource>,
}

/// A resource that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedResource {
    /// `cluster`, `endpoint`, `listener` or `route`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// `GET /services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The namespace.
    pub namespace: String,
    /// The number of the mesh in force.
    pub generation: u64,
    /// All services.
    pub services: Vec<ServiceSummary>,
}

/// One service in [`Services`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSummary {
    /// Its `discoveryName`.
    pub service: String,
    /// Its `appProtocol`; absent: detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// What apps dial.
    pub aliases: Vec<AliasSummary>,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// How many of them are ejected.
    pub ejected: usize,
    /// How many of them are unhealthy by active health checks.
    #[serde(default)]
    pub unhealthy: usize,
    /// Its traffic goes straight through, without policy: see `POST /bypass`.
    #[serde(default)]
    pub bypassed: bool,
    /// Its limits and what of them is in use; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSummary>,
}

/// A service's limits in [`ServiceSummary`], and what of them is in use over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSummary {
    /// Requests in flight at most.
    pub max_requests: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Connections to endpoints at most.
    pub max_connections: u32,
    /// Connections to endpoints, tunnels included.
    pub connections: u32,
    /// Requests that may wait.
    pub max_pending_requests: u32,
    /// Requests that wait, for their turn or for a connection.
    pub pending_requests: u32,
}

/// One alias in [`ServiceSummary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasSummary {
    /// The name.
    pub dns_name: String,
    /// The port.
    pub port: u16,
    /// The loopback address that stands for the name.
    pub vip: Ipv4Addr,
}

/// `GET /bypass`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bypass {
    /// `discoveryName`s of the services whose traffic goes straight through.
    pub services: Vec<String>,
}

/// `GET /endpoints`, and what the balancer knows of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// All endpoints of all services.
    pub endpoints: Vec<EndpointSummary>,
}

/// One endpoint in [`Endpoints`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSummary {
    /// The service it belongs to.
    pub service: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it is known from: `static`, the mesh file, or `dns` with the name and the record type.
    #[serde(default)]
    pub source: String,
    /// Its share of the traffic.
    pub weight: u32,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `active`, `ejected`, `unhealthy` (by its health check), `draining` (weight 0), or `left out`: it has not the labels that the service is narrowed to.
    pub state: String,
    /// For an ejected one: seconds until it comes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_for_seconds: Option<f64>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Attempts under way.
    pub in_flight: i64,
    /// Open connections.
    pub connections: i64,
    /// Latency that the balancer expects, in milliseconds, the highest of all workers; absent before the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_milliseconds: Option<f64>,
    /// Attempts so far.
    pub attempts: u64,
    /// Attempts that got no answer, a 5xx, or an answer that broke off.
    pub failures: u64,
    /// Its level; the lowest number is used first.
    #[serde(default)]
    pub priority: u32,
    /// Its part of the requests that no key leads elsewhere, as weights, health, priorities, zones and slow start have it
    /// now, in percent. Policies that look at latency or load go by it on an even service only. Absent: it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<f64>,
    /// How much of its weight counts while it is new or well again, in percent; absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_percent: Option<f64>,
    /// What active health checks say; absent: the service has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
}

/// What active health checks say of an endpoint in [`EndpointSummary`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// `unknown`, `healthy` or `unhealthy`.
    pub state: String,
    /// When the last check ended; absent: none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_seconds_ago: Option<f64>,
    /// Why the last check was bad; absent: it was good, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Checks so far.
    pub checks: u64,
    /// Those of them that were bad.
    pub failures: u64,
}

/// `GET /health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthPage {
    /// The process runs: what answers is live.
    pub live: bool,
    /// Whether the proxy takes new work.
    pub ready: bool,
    /// Why not; empty when it does.
    pub reasons: Vec<String>,
    /// The app behind this proxy, once for each `--register`.
    pub apps: Vec<AppHealth>,
}

/// The app in [`HealthPage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppHealth {
    /// The service that it is registered as.
    pub service: String,
    /// Where it listens.
    pub port: u16,
    /// The page that is asked for; absent: it is enough that it accepts a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `unknown`, `healthy` or `unhealthy`.
    pub state: String,
    /// Why the last check was bad; absent: it was good, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `GET /explain?url=`: what would become of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The URL that was asked about.
    pub url: String,
    /// Each step of the decision, in words.
    pub steps: Vec<String>,
    /// The service; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The status with which the proxy answers itself, because a route says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u16>,
    /// The endpoints that it could go to now.
    pub candidates: Vec<SocketAddr>,
    /// The others, and why not.
    pub not_candidates: Vec<NotCandidate>,
}

/// One endpoint that a request would not go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotCandidate {
    /// Where it listens.
    pub address: SocketAddr,
    /// Why it gets nothing.
    pub why: String,
}
