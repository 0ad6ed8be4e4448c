//! Timeouts that hold for requests as they did before.

use super::draft::{Draft, Entry};

/// The longest time that a mesh file takes, in seconds: a year.
pub(crate) const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// The bound of Envoy, Service Connect and App Mesh on a request, and ours on the time to the response's headers.
const DEFAULT_MILLISECONDS: u64 = 15_000;

/// What was said, in milliseconds; 0: off; `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// A connection on which nothing is sent.
    pub(crate) idle: Option<u64>,
    /// A request with its whole response.
    pub(crate) per_request: Option<u64>,
}

/// The keys of `timeout` that are needed for it, perhaps none, and what to say about them. `protocol`: of the service;
/// `None`: detected.
pub(crate) fn draft(bounds: Bounds, protocol: Option<&str>, before: &str) -> (Draft, Vec<String>) {
    let mut draft = Draft::map();
    let mut comments = Vec::new();
    let (grpc, tcp) = (protocol == Some("grpc"), protocol == Some("tcp"));
    let per_request = bounds.per_request.filter(|_| !tcp);
    if let Some(bound) = per_request {
        draft.push(Entry::new("perRequestTimeoutSeconds", Draft::seconds(bound)));
        // Ours ends after 15 s what was allowed to take longer.
        if !grpc && (bound == 0 || bound > DEFAULT_MILLISECONDS) {
            draft.push(Entry::new("responseHeadersSeconds", Draft::seconds(bound)));
        }
    } else if grpc {
        // Without it a call that hangs would have no bound but its own grpc-timeout.
        draft.push(Entry::new("perRequestTimeoutSeconds", Draft::seconds(DEFAULT_MILLISECONDS)));
        comments.push(format!(
            "{before}'s default, which ends streams too; 0 turns it off, and grpc-timeout counts alone"
        ));
    }
    if let Some(idle) = bounds.idle {
        draft.push(Entry::new("idleTimeoutSeconds", Draft::seconds(idle)));
    }
    (draft, comments)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(per_request: Option<u64>, protocol: Option<&str>) -> serde_json::Value {
        draft(Bounds { idle: None, per_request }, protocol, "Service Connect").0.to_json()
    }

    #[test]
    fn what_may_take_longer_is_not_ended_by_our_default() {
        let long = json!({ "perRequestTimeoutSeconds": 60, "responseHeadersSeconds": 60 });
        assert_eq!(keys(Some(60_000), Some("http")), long);
        assert_eq!(keys(Some(60_000), None), long);
        let off = json!({ "perRequestTimeoutSeconds": 0, "responseHeadersSeconds": 0 });
        assert_eq!(keys(Some(0), Some("http2")), off);
        assert_eq!(keys(Some(2_500), Some("http")), json!({ "perRequestTimeoutSeconds": 2.5 }));
        assert_eq!(keys(None, Some("http")), json!({}));
    }

    #[test]
    fn grpc_keeps_its_bound_and_tcp_has_none() {
        assert_eq!(keys(None, Some("grpc")), json!({ "perRequestTimeoutSeconds": 15 }));
        assert_eq!(keys(Some(0), Some("grpc")), json!({ "perRequestTimeoutSeconds": 0 }));
        assert_eq!(keys(Some(5_000), Some("tcp")), json!({}));
    }
}
