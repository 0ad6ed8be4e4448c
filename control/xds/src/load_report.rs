//! What a proxy reports of its requests: the load reporting service of xDS, with more in it where both ends are ours.
//!
//! Standard fields wherever there is one: requests, attempts by endpoint, requests under way, requests that were answered
//! without an endpoint (`dropped_requests`, by reason). Classes of answers, latencies and retries are named metrics
//! (`load_metric_stats`); ejections stand in the metadata of an endpoint, failures and the caller's name in that of the
//! node. Any other server reads a plain report in it, and any other client's plain report can be read here.

mod decode;
mod encode;
mod latency;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::decode::decode;
pub(crate) use self::decode::text as text_in;
pub use self::encode::encode;
pub(crate) use self::encode::{of as struct_of, text as text_value};
pub use self::latency::{BOUNDS_MICROS, Latency};

/// How answers are classed, in the order of [`ServiceLoad::requests`]: as the proxy's metrics name them.
pub const CLASSES: [&str; 8] = ["other", "2xx", "3xx", "4xx", "5xx", "grpc_error", "none", "cancelled"];

/// Most failures in one report.
pub const MAX_FAILURES: usize = 64;
/// The longest text of a failure, in bytes.
pub const MAX_DETAIL: usize = 200;

/// What has happened since the report before, and how things stand now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What it covers; zero: the client doesn't say.
    pub period: Duration,
    /// The services of which there is anything new.
    pub services: Vec<ServiceLoad>,
    /// What has gone wrong, oldest first; at most [`MAX_FAILURES`].
    pub failures: Vec<Failure>,
}

/// One service in a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceLoad {
    /// Its `discoveryName`.
    pub service: String,
    /// Requests that have ended, by class: see [`CLASSES`].
    pub requests: [u64; CLASSES.len()],
    /// Time to the response's head.
    pub latency: Latency,
    /// Attempts after the first one of a request.
    pub retries: u64,
    /// Requests that the proxy has answered itself, by reason. All of them are among `none` in [`ServiceLoad::requests`].
    pub refused: BTreeMap<String, u64>,
    /// Attempts under way now.
    pub in_flight: u64,
    /// The endpoints of which there is anything new.
    pub endpoints: Vec<EndpointLoad>,
}

impl ServiceLoad {
    /// Requests that an endpoint has answered, and not with a 5xx.
    #[must_use]
    pub fn good(&self) -> u64 {
        let [other, success, redirect, client_error, ..] = self.requests;
        [success, redirect, client_error].into_iter().fold(other, u64::saturating_add)
    }

    /// Requests that failed: a 5xx, a gRPC error, or no answer of an endpoint.
    #[must_use]
    pub fn failed(&self) -> u64 {
        let [.., server_error, grpc_error, none, _cancelled] = self.requests;
        server_error.saturating_add(grpc_error).saturating_add(none)
    }

    /// Requests that the caller called off.
    #[must_use]
    pub fn cancelled(&self) -> u64 {
        let [.., cancelled] = self.requests;
        cancelled
    }
}

/// One endpoint in a [`ServiceLoad`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointLoad {
    /// Where it listens.
    pub address: SocketAddr,
    /// Attempts that it has answered.
    pub good: u64,
    /// Attempts that got no answer, a 5xx, or an answer that broke off.
    pub failed: u64,
    /// Time to the response's head.
    pub latency: Latency,
    /// Attempts under way now.
    pub in_flight: u64,
    /// Failures since its last success.
    pub failures_in_a_row: u32,
    /// How long it stays ejected; `None`: it isn't.
    pub ejected: Option<Duration>,
}

impl EndpointLoad {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        EndpointLoad {
            address,
            good: 0,
            failed: 0,
            latency: Latency::default(),
            in_flight: 0,
            failures_in_a_row: 0,
            ejected: None,
        }
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// When, in microseconds since 1970, by the proxy's clock.
    pub at_micros: u64,
    /// The service; empty: the request was for none.
    pub service: String,
    /// The endpoint that was asked.
    pub endpoint: Option<SocketAddr>,
    /// Why, in one word from a fixed set.
    pub reason: String,
    /// Why, in words; at most [`MAX_DETAIL`] bytes.
    pub detail: String,
    /// The app got the failure; false: it was tried again, or no request was concerned.
    pub told: bool,
    /// How often, in a row.
    pub times: u64,
}

/// The first bytes of a text, not more than `most`, without half a character at the end.
#[must_use]
pub fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
