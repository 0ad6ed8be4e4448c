//! How much at once, and how much a second.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds on what one proxy has open to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections open at a time, 1 to 1000000. Default 1024 (Envoy).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,

    /// Requests that wait for a connection, 0 to 1000000. Default 1024 (Envoy).
    #[schemars(range(max = 1_000_000))]
    pub max_pending_requests: u32,

    /// Requests in flight, 1 to 1000000. Default 1024 (Envoy).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_requests: u32,

    /// Learns the number of requests in flight that the service bears. Default: off.
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
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        Self { min_concurrency: 3, max_concurrency: 1000 }
    }
}

/// A rate limit on the inbound side: a token bucket, per key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed per second, 1 to 1000000. Required.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: u32,

    /// Requests allowed at once after a quiet time, 1 to 1000000. Default: `requestsPerSecond`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,

    /// What has a bucket of its own. Default: one bucket for all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RateLimitKey>,
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
