//! Asking endpoints whether they are well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Seconds;

/// An active health check: exactly one of `http`, `grpc` and `tcp`. Each proxy asks for itself. An endpoint that nobody has
/// asked yet gets traffic; one that is unhealthy gets none, unless so few are left that `panicPercent` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Asks by HTTP. Default: unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHealthCheck>,

    /// Asks by the gRPC health protocol. Default: unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcHealthCheck>,

    /// Opens a connection and closes it. Default: unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpHealthCheck>,

    /// The time between two checks of an endpoint, in seconds, 0.1 to 3600. Default 30 (ECS).
    #[schemars(extend("minimum" = 0.1, "maximum" = 3600))]
    pub interval_seconds: Seconds,

    /// How long a check may take, in seconds, 0.1 to 3600, not more than the interval. Default 5 (ECS).
    #[schemars(extend("minimum" = 0.1, "maximum" = 3600))]
    pub timeout_seconds: Seconds,

    /// How much chance adds to the interval or takes from it, in percent, 0 to 50, so that proxies don't check together.
    /// Default 10.
    #[schemars(range(max = 50))]
    pub jitter_percent: u32,

    /// The port to ask, 1 to 65535. Default: the endpoint's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// Good checks in a row that make an endpoint healthy, 1 to 100. Default 2 (Envoy's usual).
    #[schemars(range(min = 1, max = 100))]
    pub healthy_threshold: u32,

    /// Bad checks in a row that make it unhealthy, 1 to 100. Default 2.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            http: None,
            grpc: None,
            tcp: None,
            interval_seconds: Seconds::new(30),
            timeout_seconds: Seconds::new(5),
            jitter_percent: 10,
            port: None,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        }
    }
}

/// A health check by HTTP GET.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHealthCheck {
    /// The path to ask for, beginning with `/`. Required.
    #[schemars(regex(pattern = r"^/"), extend("x-expected" = "a path that begins with /"))]
    pub path: String,

    /// The statuses that mean healthy, 100 to 599. Default `[200]`.
    #[serde(default = "ok")]
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub status: Vec<u16>,

    /// The `Host` to ask with. Default: the endpoint's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub host: Option<String>,

    /// What the first 64 KiB of the body must contain. Default: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub body: Option<String>,
}

fn ok() -> Vec<u16> {
    vec![200]
}

/// A health check by `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GrpcHealthCheck {
    /// The gRPC service to ask about. Default: empty, the server as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
}

/// A health check by connecting. It has no keys: write `tcp: {}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpHealthCheck {}
