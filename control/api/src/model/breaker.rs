//! Failing fast while a service as a whole is down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Respond, Seconds};

/// A circuit breaker over a service as a whole: it opens on errors or slow calls, and closes when a probe succeeds. One
/// for all workers of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// The percentage of failed or slow calls in the window at which it opens, 0 to 100; 0 = off. Default 50.
    #[schemars(range(max = 100))]
    pub error_percent: u32,

    /// Calls in a row that failed or were slow at which it opens, whatever the percentage, 0 to 100000; 0 = off. Default 0.
    #[serde(skip_serializing_if = "super::is_default")]
    #[schemars(range(max = 100_000))]
    pub consecutive_failures: u32,

    /// Calls that the window must have seen before the percentage counts, 1 to 1000000. Default 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub minimum_requests: u32,

    /// The window, in seconds, 1 to 3600. Default 10 (Linkerd).
    #[schemars(range(min = 1, max = 3600))]
    pub window_seconds: Seconds,

    /// How long it stays open before one probe is let through, in seconds, 0.1 to 3600. Default 30.
    #[schemars(extend("minimum" = 0.1, "maximum" = 3600))]
    pub reset_seconds: Seconds,

    /// A call that takes longer than this counts as an error, in seconds; 0 = off. Default: off.
    pub slow_call_seconds: Seconds,

    /// A breaker of each endpoint beside it, which keeps requests from an endpoint while it is open; while all of them
    /// are, callers get what they would get from this one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_endpoint: Option<EndpointBreaker>,

    /// What callers get while it is open. Default: 503 with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            error_percent: 50,
            consecutive_failures: 0,
            minimum_requests: 20,
            window_seconds: Seconds::new(10),
            reset_seconds: Seconds::new(30),
            slow_call_seconds: Seconds::default(),
            per_endpoint: None,
            fallback: None,
        }
    }
}

impl CircuitBreaker {
    /// When it opens and closes, without what is a service's alone.
    pub fn thresholds(&self) -> EndpointBreaker {
        EndpointBreaker {
            error_percent: self.error_percent,
            consecutive_failures: self.consecutive_failures,
            minimum_requests: self.minimum_requests,
            window_seconds: self.window_seconds,
            reset_seconds: self.reset_seconds,
            slow_call_seconds: self.slow_call_seconds,
        }
    }
}

/// A circuit breaker over one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointBreaker {
    /// See the service's. Default 50.
    #[schemars(range(max = 100))]
    pub error_percent: u32,

    /// See the service's. Default 0: off.
    #[serde(skip_serializing_if = "super::is_default")]
    #[schemars(range(max = 100_000))]
    pub consecutive_failures: u32,

    /// See the service's. Default 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub minimum_requests: u32,

    /// See the service's. Default 10.
    #[schemars(range(min = 1, max = 3600))]
    pub window_seconds: Seconds,

    /// See the service's. Default 30.
    #[schemars(extend("minimum" = 0.1, "maximum" = 3600))]
    pub reset_seconds: Seconds,

    /// See the service's. Default: off.
    pub slow_call_seconds: Seconds,
}

impl Default for EndpointBreaker {
    fn default() -> Self {
        Self {
            error_percent: 50,
            consecutive_failures: 0,
            minimum_requests: 20,
            window_seconds: Seconds::new(10),
            reset_seconds: Seconds::new(30),
            slow_call_seconds: Seconds::default(),
        }
    }
}

/// What callers get while a breaker is open: exactly one of another service's answer, and a fixed one.
///
/// Requests that come to the other service this way are not held up by that one's own breaker and rate limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fallback {
    /// The `discoveryName` of a service to ask instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,

    /// A fixed response. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
}
