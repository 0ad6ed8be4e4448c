//! What is tried again, how often, and how fast.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppProtocol, Seconds};

/// The retry policy of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Retries after the first attempt, 0 to 10; `2` means up to three attempts, 0 = off. Default 2 (Istio, Service
    /// Connect).
    #[schemars(range(max = 10))]
    pub retries: u32,

    /// What is tried again. Written out, the list holds for **every** method, POST and PATCH included, and nothing
    /// beside it is retried; so name `reset`, `timeout` or `status` only if the service can bear a request twice.
    /// Default: unset, that is what is safe: for GET, HEAD, PUT, DELETE, OPTIONS and TRACE all of `connectFailure`,
    /// `refusedStream`, `reset`, `timeout` and `status: [502, 503, 504]`; for POST, PATCH and gRPC `connectFailure`
    /// and `refusedStream`; and `unavailable` for gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub on: Option<Vec<RetryOn>>,

    /// How long to wait between attempts.
    pub backoff: Backoff,

    /// How many retries the service as a whole may cause.
    pub budget: RetryBudget,

    /// The longest request body kept for a retry, in bytes, 0 to 16777216; a longer one is sent once. Default 65536
    /// (Linkerd).
    #[schemars(range(max = 16_777_216))]
    pub max_body_bytes: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: 2,
            on: None,
            backoff: Backoff::default(),
            budget: RetryBudget::default(),
            max_body_bytes: 65_536,
        }
    }
}

impl Retry {
    /// What is tried again for a request that speaks `spoken` and is, or is not, idempotent. gRPC never is: all its
    /// calls are POSTs.
    #[must_use]
    pub fn conditions(&self, spoken: AppProtocol, idempotent: bool) -> RetryConditions {
        match &self.on {
            Some(named) => RetryConditions::named(named),
            None => RetryConditions::safe(spoken, idempotent),
        }
    }
}

/// One thing that may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RetryOn {
    /// No connection could be opened, or nothing of the request was written.
    ConnectFailure,
    /// The upstream refused the stream, or a GOAWAY named it as not processed.
    RefusedStream,
    /// The connection was reset, or closed without a response.
    Reset,
    /// An attempt took longer than `timeout.perAttemptSeconds`.
    Timeout,
    /// A gRPC response of status UNAVAILABLE, of which nothing was passed on.
    Unavailable,
    /// A response of one of these HTTP statuses, 400 to 599.
    Status(#[schemars(length(min = 1), inner(range(min = 400, max = 599)))] Vec<u16>),
}

/// A retry list, resolved: what the request path asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryConditions {
    /// See [`RetryOn::ConnectFailure`].
    pub connect_failure: bool,
    /// See [`RetryOn::RefusedStream`].
    pub refused_stream: bool,
    /// See [`RetryOn::Reset`].
    pub reset: bool,
    /// See [`RetryOn::Timeout`].
    pub timeout: bool,
    /// See [`RetryOn::Unavailable`].
    pub unavailable: bool,
    /// HTTP statuses, ascending, without duplicates.
    pub statuses: Vec<u16>,
}

impl RetryConditions {
    /// Exactly what is named.
    #[must_use]
    pub fn named(on: &[RetryOn]) -> Self {
        let mut conditions = Self::default();
        for what in on {
            match what {
                RetryOn::ConnectFailure => conditions.connect_failure = true,
                RetryOn::RefusedStream => conditions.refused_stream = true,
                RetryOn::Reset => conditions.reset = true,
                RetryOn::Timeout => conditions.timeout = true,
                RetryOn::Unavailable => conditions.unavailable = true,
                RetryOn::Status(statuses) => conditions.statuses.extend(statuses),
            }
        }
        conditions.statuses.sort_unstable();
        conditions.statuses.dedup();
        conditions
    }

    /// What is safe without being asked for: the request was not processed, or may be processed twice.
    #[must_use]
    pub fn safe(spoken: AppProtocol, idempotent: bool) -> Self {
        let grpc = spoken == AppProtocol::Grpc;
        let twice = idempotent && !grpc;
        Self {
            connect_failure: true,
            refused_stream: true,
            reset: twice,
            timeout: twice,
            unavailable: grpc,
            statuses: if twice { vec![502, 503, 504] } else { Vec::new() },
        }
    }

    /// Whether a response of this HTTP status is tried again.
    #[must_use]
    pub fn status(&self, status: u16) -> bool {
        self.statuses.binary_search(&status).is_ok()
    }
}

/// How long to wait between attempts: exponential from `base` to `max`, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Backoff {
    /// The wait before the first retry, in milliseconds, 0 to 60000; it doubles with each. Default 25 (Envoy).
    #[schemars(range(max = 60_000))]
    pub base_milliseconds: u64,

    /// The longest wait, in milliseconds, 0 to 60000, not less than the base. Default 250 (Envoy: 10 times the base).
    #[schemars(range(max = 60_000))]
    pub max_milliseconds: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_milliseconds: 25, max_milliseconds: 250 }
    }
}

impl Backoff {
    /// The wait before the first retry.
    #[must_use]
    pub const fn base(&self) -> Duration {
        Duration::from_millis(self.base_milliseconds)
    }

    /// The longest wait.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_millis(self.max_milliseconds)
    }
}

/// Retries against requests, so that retries can't make an outage worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Retries as a percentage of the requests in the window, 0 to 1000. Default 20 (Envoy, Linkerd).
    #[schemars(range(max = 1000))]
    pub percent: u32,

    /// Retries that are always allowed, per second, 0 to 100000, so that a quiet service can retry at all. Default 3
    /// (Envoy).
    #[schemars(range(max = 100_000))]
    pub min_per_second: u32,

    /// The window over which requests and retries are counted, in seconds, 1 to 60. Default 10 (Linkerd).
    #[schemars(range(min = 1, max = 60))]
    pub window_seconds: Seconds,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 3, window_seconds: Seconds::new(10) }
    }
}
