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
    pub hash: Option<HashOn>,

    /// With a hash policy, the most that one endpoint may have in flight, in percent of its fair share; a request beyond
    /// it goes to the next endpoint on its key's way. 0 = unbounded, else 101 to 1000. Default 0 (Envoy).
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = 1000))]
    pub bounded_load_percent: u32,

    /// Whether endpoints of the caller's own zone are preferred while the service has at least twice as many endpoints
    /// as zones; `ringHash` and `maglev` go by keys instead. A proxy's zone is that of its ECS task, or `--zone`. Default true
    /// (Service Connect).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub zone_aware: bool,

    /// The share of each zone against the others, 0 to 1000000, whatever the caller's own zone; a zone that isn't named has
    /// none. What a zone that is not well can't carry, the others do. Default: by `zoneAware` and weights.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub zone_weights: BTreeMap<String, u32>,

    /// How long the share of an endpoint that is new, or well again by its health check, grows to its full size, in seconds;
    /// 0 = at once. `ringHash` and `maglev` don't go by it. Default 0 (Envoy).
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(max = 3600))]
    pub slow_start_seconds: Seconds,

    /// Below this percentage of available endpoints, health and ejections are ignored and all endpoints get traffic,
    /// because a few left alone would be overrun; 0 to 100, 0 = never. Default 50 (Envoy).
    #[schemars(range(max = 100))]
    pub panic_percent: u32,

    /// Only endpoints that have all of these labels in their `metadata`. Default: all endpoints.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subset: BTreeMap<String, String>,
}

impl Default for LoadBalancing {
    fn default() -> Self {
        Self {
            policy: BalancingPolicy::PeakEwma,
            hash: None,
            bounded_load_percent: 0,
            zone_aware: true,
            zone_weights: BTreeMap::new(),
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
    RingHash,
    /// The same endpoint for the same hash, by Maglev's table.
    Maglev,
}

/// What a hash policy hashes, or a split goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HashOn {
    /// The address of the client: of the caller at an ingress or in front of the app, else the one that the app has put
    /// first in `X-Forwarded-For`, else the app's own.
    ClientAddress,
    /// The value of this request header.
    Header(String),
    /// The value of a cookie, which is set where there is none.
    Cookie(HashCookie),
    /// The value of this query parameter.
    Query(String),
    /// The path, without the query.
    Path,
}

/// A cookie that keeps a caller with its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashCookie {
    /// Its name. Required.
    #[schemars(length(min = 1))]
    pub name: String,

    /// How long the one that is set lasts, in seconds, 0 to 31536000; 0 = until the browser is closed. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 31_536_000))]
    pub ttl_seconds: u32,

    /// The path of the one that is set. Default `/`.
    #[serde(default = "root")]
    #[schemars(regex(pattern = r"^/"), extend("x-expected" = "a path that begins with /"))]
    pub path: String,
}

fn root() -> String {
    "/".to_owned()
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
