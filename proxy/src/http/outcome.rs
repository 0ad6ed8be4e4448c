//! What an answer, or the lack of one, means: for metrics, for outlier detection, for the balancer.

use std::fmt;

use bowline_core::retry::Failure;
use http::{HeaderMap, StatusCode};

use crate::telemetry::metrics::Class;

/// The gRPC status in the response head: there when the response has no message.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// How metrics class an answer.
pub(super) fn class(status: StatusCode, grpc_status: Option<u32>) -> Class {
    match grpc_status {
        Some(1..) => Class::GrpcError,
        _ => Class::of(status),
    }
}

/// Answers that outlier detection counts as failures: any 5xx, as in Envoy, and gRPC's UNAVAILABLE, INTERNAL,
/// UNKNOWN and DATA_LOSS.
pub(super) fn tells_against(status: StatusCode, grpc_status: Option<u32>) -> bool {
    status.is_server_error() || matches!(grpc_status, Some(2 | 13 | 14 | 15))
}

/// Answers that the balancer holds against an endpoint, lest a fast refusal attracts traffic.
pub(super) fn penalised(status: StatusCode, grpc_status: Option<u32>) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504) || matches!(grpc_status, Some(8 | 14))
}

/// What went wrong, as `bowline_retries_total` names it.
pub(super) fn failure_name(failure: Failure) -> &'static str {
    match failure {
        Failure::Connect => "connect_failure",
        Failure::RefusedStream => "refused_stream",
        Failure::GoAwayUnprocessed => "goaway",
        Failure::NothingWritten => "nothing_written",
        Failure::Reset => "reset",
        Failure::ClosedWithoutResponse => "closed_without_response",
        Failure::AttemptTimeout => "attempt_timeout",
        Failure::Status(502) => "status_502",
        Failure::Status(503) => "status_503",
        Failure::Status(504) => "status_504",
        Failure::Status(_) => "status_other",
        Failure::GrpcUnavailable { .. } => "grpc_unavailable",
    }
}

/// An answer that tells against its endpoint, as failures name it.
pub(super) fn answer_name(status: StatusCode, grpc_status: Option<u32>) -> &'static str {
    match (grpc_status, status.as_u16()) {
        (Some(2), _) => "grpc_unknown",
        (Some(13), _) => "grpc_internal",
        (Some(14), _) => "grpc_unavailable",
        (Some(15), _) => "grpc_data_loss",
        (_, 500) => "status_500",
        (_, 502) => "status_502",
        (_, 503) => "status_503",
        (_, 504) => "status_504",
        _ => "status_other",
    }
}

/// The same in words.
pub(super) struct Words {
    pub(super) status: StatusCode,
    pub(super) grpc_status: Option<u32>,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.grpc_status {
            Some(code) => write!(f, "the endpoint answered with gRPC status {code}"),
            None => write!(f, "the endpoint answered {}", self.status),
        }
    }
}
