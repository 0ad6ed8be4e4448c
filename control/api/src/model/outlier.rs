//! Taking failing endpoints out by watching their answers.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Seconds;

/// Outlier detection: an endpoint that fails again and again is ejected for a while. The last one never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// Failures in a row (connect failure, reset, timeout, status 500 to 599, gRPC UNAVAILABLE and the like) that eject
    /// an endpoint, 0 to 1000; 0 = off. Default 5 (Envoy).
    #[schemars(range(max = 1000))]
    pub consecutive_failures: u32,

    /// How long the first ejection lasts, in seconds, 0.1 to 86400; the nth in a row lasts n times that. Default 30
    /// (Envoy).
    #[schemars(extend("minimum" = 0.1, "maximum" = 86400))]
    pub base_ejection_seconds: Seconds,

    /// The longest ejection, in seconds, 0.1 to 86400, not less than the base. Default 300 (Envoy).
    #[schemars(extend("minimum" = 0.1, "maximum" = 86400))]
    pub max_ejection_seconds: Seconds,

    /// The most endpoints of a service that may be ejected at a time, in percent, 0 to 100, and never the last one.
    /// Default 50 (Envoy's 10 ejects nothing in services of two or three).
    #[schemars(range(max = 100))]
    pub max_ejection_percent: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection_seconds: Seconds::new(30),
            max_ejection_seconds: Seconds::new(300),
            max_ejection_percent: 50,
        }
    }
}

impl OutlierDetection {
    /// Whether endpoints are ejected at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.consecutive_failures > 0 && self.max_ejection_percent > 0
    }

    /// How long the `nth` ejection in a row lasts, counting from 1.
    #[must_use]
    pub fn ejection(&self, nth: u32) -> Duration {
        self.base_ejection_seconds.get().saturating_mul(nth.max(1)).min(self.max_ejection_seconds.get())
    }
}
