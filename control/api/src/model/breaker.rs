//! Failing fast while a service as a whole is down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Respond, Seconds};

/// A circuit breaker over a service as a whole: it opens on errors or slow calls, and closes when a probe succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// The percentage of failed or slow calls in the window at which it opens, 1 to 100. Default 50.
    #[schemars(range(min = 1, max = 100))]
    pub error_percent: u32,

    /// Calls that the window must have seen before it can open, 1 to 1000000. Default 20.
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

    /// What callers get while it is open. Default: 503 with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            error_percent: 50,
            minimum_requests: 20,
            window_seconds: Seconds::new(10),
            reset_seconds: Seconds::new(30),
            slow_call_seconds: Seconds::default(),
            fallback: None,
        }
    }
}

/// What callers get while a breaker is open: another service's answer, or a fixed one.
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
