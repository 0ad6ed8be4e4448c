//! Timeouts and retries.

use std::time::Duration;

use bowline_api::model::{RetryOn, Seconds};
use envoy_types::pb::google::protobuf::Duration as PbDuration;

use crate::partial::route::{RetryPolicy, RouteAction};

/// The most retries that a service can have.
const MAX_RETRIES: u32 = 10;

/// What a route says about calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policies {
    /// The bound on the whole request; 0 is off.
    pub(super) timeout: Option<Seconds>,
    pub(super) idle: Option<Seconds>,
    pub(super) retries: Option<u32>,
    pub(super) on: Option<Vec<RetryOn>>,
}

impl Policies {
    /// What an action says; `general`: the retries of its virtual host, where it has none of its own.
    pub(super) fn of(action: &RouteAction, general: Option<&RetryPolicy>) -> Self {
        let retry = action.retry_policy.as_ref().or(general);
        let retries = retry.map(|retry| retry.num_retries.map_or(1, |number| number.value).min(MAX_RETRIES));
        Policies {
            timeout: action.timeout.as_ref().and_then(seconds),
            idle: action.idle_timeout.as_ref().and_then(seconds),
            retries,
            on: retry.map(conditions).filter(|on| !on.is_empty()),
        }
    }
}

/// A time that we can have; `None` for negative ones and those longer than a year.
pub(super) fn seconds(duration: &PbDuration) -> Option<Seconds> {
    let whole = u64::try_from(duration.seconds).ok().filter(|seconds| *seconds < Seconds::MAX)?;
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Seconds::from_duration(Duration::new(whole, nanos)))
}

/// Envoy's words for what is tried again, as far as we have them.
fn conditions(retry: &RetryPolicy) -> Vec<RetryOn> {
    let mut on = Vec::new();
    let mut add = |what: RetryOn| {
        if !on.contains(&what) {
            on.push(what);
        }
    };
    for word in retry.retry_on.split(',').map(str::trim) {
        match word {
            "connect-failure" | "reset-before-request" => add(RetryOn::ConnectFailure),
            "refused-stream" => add(RetryOn::RefusedStream),
            "reset" => [RetryOn::Reset, RetryOn::Timeout].into_iter().for_each(&mut add),
            "unavailable" => add(RetryOn::Unavailable),
            "5xx" => {
                let all = [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::Timeout];
                all.into_iter().for_each(&mut add);
                add(RetryOn::Status((500..=599).collect()));
            }
            "gateway-error" => add(RetryOn::Status(vec![502, 503, 504])),
            "retriable-status-codes" => {
                let statuses =
                    retry.retriable_status_codes.iter().filter_map(|status| u16::try_from(*status).ok());
                let statuses: Vec<u16> = statuses.filter(|status| (400..600).contains(status)).collect();
                if !statuses.is_empty() {
                    add(RetryOn::Status(statuses));
                }
            }
            _ => {}
        }
    }
    on
}
