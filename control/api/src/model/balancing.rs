//! How an endpoint is picked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Seconds, is_default, is_true, yes};

/// How requests are spread over a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancing {
    /// How an endpoint is picked. Default `peakEwma`.
    pub policy: BalancingPolicy,

    /// What `ringHash` and `maglev` hash, e.g. `{ header: x-user }`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-not-yet" = "balancing by hash"))]
    pub hash: Option<HashOn>,

    /// Whether endpoints of the caller's own zone are preferred while the service has at least twice as many endpoints
    /// as zones. Default true (Service Connect).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[schemars(extend("x-not-yet" = "zone-aware balancing"))]
    pub zone_aware: bool,

    /// How long a new endpoint's share of traffic grows to its full size, in seconds; 0 = at once. Default 0 (Envoy).
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = 3600), extend("x-not-yet" = "slow start"))]
    pub slow_start_seconds: Seconds,

    /// Below this percentage of available endpoints, health and ejections are ignored and all endpoints get traffic,
    /// because a few left alone would be overrun; 0 to 100, 0 = never. Default 50 (Envoy).
    #[schemars(range(max = 100))]
    pub panic_percent: u32,

    /// Only endpoints that have all of these labels in their `metadata`. Default: all endpoints.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-not-yet" = "endpoint subsets"))]
    pub subset: BTreeMap<String, String>,
}

impl Default for LoadBalancing {
    fn default() -> Self {
        Self {
            policy: BalancingPolicy::PeakEwma,
            hash: None,
            zone_aware: true,
            slow_start_seconds: Seconds::default(),
            panic_percent: 50,
            subset: BTreeMap::new(),
        }
    }
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BalancingPolicy {
    /// The better of two random endpoints by latency (peak-sensitive, 10 s decay) times requests in flight (Linkerd).
    #[default]
    PeakEwma,
    /// The better of two random endpoints by requests in flight.
    LeastRequest,
    /// One after the other, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The same endpoint for the same hash, on a ring.
    #[schemars(extend("x-not-yet" = "balancing by hash"))]
    RingHash,
    /// The same endpoint for the same hash, by Maglev's table.
    #[schemars(extend("x-not-yet" = "balancing by hash"))]
    Maglev,
}

/// What a hash policy hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HashOn {
    /// The address of the client.
    ClientAddress,
    /// The value of this request header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this query parameter.
    Query(String),
}

/// When a second request is sent beside a slow first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hedge {
    /// The percentile of the service's recent latency after which an idempotent request is sent a second time, to
    /// another endpoint, inside the retry budget; 50 to 99. Default 95.
    #[schemars(range(min = 50, max = 99))]
    pub after_percentile: u32,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { after_percentile: 95 }
    }
}
