//! How much at once, and how much a second.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Seconds;

/// Bounds on what one proxy has open to a service: over all its workers and all endpoints of the service.
///
/// What is beyond a limit waits, what can't wait is turned away at once: 503 with `x-bowline-error: overloaded` and
/// `Retry-After: 1`; for gRPC status 8 (RESOURCE_EXHAUSTED), as 14 would be tried again by callers; a connection of a
/// TCP service is reset. Limits hold for new work as soon as the mesh file changes. Lowered ones end nothing that is
/// under way; raised ones let those in who wait.
///
/// Requests wait in order, for half of the time that they have for a response at most (`responseHeadersSeconds`,
/// `perRequestTimeoutSeconds`, the caller's `grpc-timeout`; 7.5 s where there is none), as whoever comes in later could
/// not be answered in time. Whoever hangs up gives its place up. When
/// callers are lost, order would only make all of them wait in vain: if over 100 ms, and over eight requests a place,
/// the queue was never empty, and for twenty who were served one hung up, waiting or soon after it, or was turned away
/// while others had waited for 100 ms, the newest comes first, and who has waited for 100 ms, or for eight turns where those take longer, is
/// turned away (adaptive LIFO and CoDel, from Facebook's "Fail at Scale").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections to endpoints at a time, 1 to 1000000: HTTP/1.1 and HTTP/2 ones, idle ones included, and tunnels
    /// (TCP services, upgrades, CONNECT). A request for which no connection is free waits for one, and idle ones to
    /// other endpoints are closed for it; a tunnel is refused. Default 1024 (Envoy).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,

    /// Requests that wait because `maxRequests` are in flight or `maxConnections` are in use, 0 to 1000000; 0: none
    /// waits. Default 1024 (Envoy).
    #[schemars(range(max = 1_000_000))]
    pub max_pending_requests: u32,

    /// Requests in flight, 1 to 1000000: from its first attempt to the end of its response's body, a stream's whole life
    /// therefore; retries are part of their request. An upgrade ends it: from then on it is a connection. Default 1024
    /// (Envoy).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_requests: u32,

    /// Learns the number of requests in flight that the service bears, below `maxRequests`; what is beyond it does not
    /// wait. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            adaptive_concurrency: None,
        }
    }
}

/// The bounds inside which the concurrency limit is learnt from latency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdaptiveConcurrency {
    /// The least it goes down to, 1 to 1000000. Default 3 (Envoy).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_concurrency: u32,

    /// The most it goes up to, 1 to 1000000. Default 1000 (Envoy).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_concurrency: u32,

    /// The limit to begin with, 1 to 1000000. Default 20 (Netflix).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub initial_concurrency: u32,

    /// The time between two measurements of the latency without a queue, for which the limit is lowered for a moment, in
    /// seconds, 1 to 86400. Default 60 (Envoy).
    #[schemars(range(min = 1, max = 86400))]
    pub probe_interval_seconds: Seconds,

    /// How much over that latency is no sign of a queue, in percent, 0 to 1000. Default 25 (Envoy).
    #[schemars(range(max = 1000))]
    pub buffer_percent: u32,

    /// A request header that says `low`, `normal` or `high`: who is turned away first. It goes before a route's
    /// `priority`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub priority_header: Option<String>,
}

/// Who is turned away first when load is shed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Priority {
    /// First: when three quarters of the limit are in use.
    Low,
    /// At the limit.
    #[default]
    Normal,
    /// Last: it has a quarter of the limit on top of it.
    High,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        Self {
            min_concurrency: 3,
            max_concurrency: 1000,
            initial_concurrency: 20,
            probe_interval_seconds: Seconds::new(60),
            buffer_percent: 25,
            priority_header: None,
        }
    }
}

/// A rate limit: a token bucket, per key, in one proxy (all its workers share it). What is beyond it gets 429 with
/// `Retry-After` and `X-RateLimit-Limit`, `-Remaining` and `-Reset`; for gRPC status 8 (RESOURCE_EXHAUSTED).
///
/// Exactly one of `requestsPerSecond` and `requestsPerMinute` is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed per second, 1 to 1000000. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,

    /// Requests allowed per minute, 1 to 1000000. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_minute: Option<u32>,

    /// Requests allowed at once after a quiet time, 1 to 1000000; nginx's `burst` and one. Default: those of a second, or
    /// of a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,

    /// How many of a burst pass at once, 1 to 1000000; the others wait for their turn. 1 is nginx without `nodelay`. Default:
    /// all of them (nginx's `nodelay`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub at_once: Option<u32>,

    /// What has a bucket of its own. Default: one bucket for all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RateLimitKey>,

    /// Keys that are remembered at a time, 8 to 1000000; beyond them the quietest are forgotten. Default 16384.
    #[serde(default = "many", skip_serializing_if = "is_many")]
    #[schemars(range(min = 8, max = 1_000_000))]
    pub max_keys: u32,

    /// Where it holds. Default `inbound`.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub side: Side,
}

fn many() -> u32 {
    16384
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_many(keys: &u32) -> bool {
    *keys == many()
}

/// In whose proxy a limit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// Where requests come in: at the ingress that the service is, and in the proxy in front of its app
    /// (`--inbound`, with `--register` saying which service the app is).
    #[default]
    Inbound,
    /// In the proxy of each caller.
    Outbound,
}

/// What has a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RateLimitKey {
    /// Each client address.
    ClientAddress,
    /// Each value of this request header.
    Header(String),
}
