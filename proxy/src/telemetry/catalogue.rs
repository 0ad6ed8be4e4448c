//! Every metric the proxy exposes, in one table: the scrape and the reference page are both made from it, so neither
//! can name a metric that the other does not know.

/// How a metric is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by upper bound.
    Histogram,
}

impl Kind {
    /// The word Prometheus' text format uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric family.
#[derive(Debug)]
pub struct Metric {
    /// The name as it is scraped.
    pub name: &'static str,
    /// How it is to be read.
    pub kind: Kind,
    /// Its labels, in the order they are written.
    pub labels: &'static [&'static str],
    /// What it counts, with the unit.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them, in the order of the reference page.
        pub const ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    REQUESTS = Counter "bowline_requests_total" ["service", "class"]
        "Requests of the app that got their response head, by status class (2xx to 5xx); grpc_error: HTTP 200 with a gRPC status other than 0 in the head; local: answered by the proxy itself; cancelled: the app went away first. An empty service: names outside of the mesh, through the forward proxy.";
    REQUEST_DURATION = Histogram "bowline_request_duration_seconds" ["service"]
        "Seconds from the request's arrival to its response head, all attempts included.";
    LOCAL_RESPONSES = Counter "bowline_local_responses_total" ["service", "reason"]
        "Requests that the proxy had to answer itself, by the reason that x-bowline-error carries too. An empty service: requests that were for none.";
    LIMIT_IN_USE = Gauge "bowline_limit_in_use" ["service", "limit"]
        "What of a limit is in use, over all workers: requests (in flight, response bodies included; only where limits are set) or connections (to its endpoints, idle ones and tunnels included).";
    LIMIT = Gauge "bowline_limit" ["service", "limit"]
        "The limit itself, where limits are set: requests, connections or pending.";
    WAITING = Gauge "bowline_requests_waiting" ["service", "for"]
        "Requests that wait: for request (maxRequests are in flight), or for connection (maxConnections are open).";
    SHED = Counter "bowline_shed_total" ["service", "reason"]
        "Requests and tunnels that limits turned away: queue_full (maxPendingRequests waited already), waited_too_long, or no_connection (a tunnel, which does not wait).";
    QUEUE_DURATION = Histogram "bowline_queue_duration_seconds" ["service"]
        "Seconds that requests waited because maxRequests were in flight, until they came in or were turned away; those that did not have to wait, or hung up, are not in it.";
    BROKEN_BODIES = Counter "bowline_broken_bodies_total" ["service"]
        "Responses that the endpoint broke off after their head had been passed on.";
    ATTEMPT_FAILURES = Counter "bowline_attempt_failures_total" ["service", "reason"]
        "Attempts that brought no answer, by what went wrong: the words of x-bowline-error. Here timeouts are told apart: connect_timeout, attempt_timeout, response_timeout, request_timeout.";
    RETRIES = Counter "bowline_retries_total" ["service", "reason"]
        "Attempts after the first, by what had gone wrong with the one before.";
    RETRIES_REFUSED = Counter "bowline_retries_refused_total" ["service", "reason"]
        "Failed attempts that were not tried again, by why not.";
    TUNNELS = Gauge "bowline_tunnels" ["service"]
        "Open tunnels: connections of TCP services, upgraded ones (WebSocket), and those of CONNECT. An empty service: to names outside of the mesh.";
    TUNNELS_ENDED = Counter "bowline_tunnels_ended_total" ["service", "end"]
        "Tunnels that are over, by how: closed by both sides, broken by one, idle for too long, drained (the proxy ended), or failed (nobody could be reached).";
    TUNNEL_BYTES = Counter "bowline_tunnel_bytes_total" ["service", "direction"]
        "Bytes that tunnels have passed on, by direction: sent by the app, or received by it.";
    ENDPOINT_ATTEMPTS = Counter "bowline_endpoint_attempts_total" ["service", "endpoint", "class"]
        "Attempts at an endpoint, by status class of its answer; failed: it gave none; other: a TCP connection that stands.";
    ENDPOINT_DURATION = Histogram "bowline_endpoint_duration_seconds" ["service", "endpoint"]
        "Seconds from the start of an attempt, its wait for a connection included, to its response head.";
    ENDPOINT_IN_FLIGHT = Gauge "bowline_endpoint_in_flight" ["service", "endpoint"]
        "Attempts that are under way, response bodies included.";
    ENDPOINT_CONNECTIONS = Gauge "bowline_endpoint_connections" ["service", "endpoint"]
        "Open connections to the endpoint, idle ones included.";
    ENDPOINT_CONNECTS = Counter "bowline_endpoint_connects_total" ["service", "endpoint", "result"]
        "Connections opened to the endpoint, by result: ok or failed.";
    ENDPOINT_BYTES = Counter "bowline_endpoint_bytes_total" ["service", "endpoint", "direction"]
        "Bytes exchanged with the endpoint, heads and framing included, by direction: sent or received.";
    ENDPOINT_EJECTED = Gauge "bowline_endpoint_ejected" ["service", "endpoint"]
        "1 while outlier detection keeps the endpoint out, else 0.";
    EJECTIONS = Counter "bowline_ejections_total" ["service", "endpoint"]
        "How often outlier detection took the endpoint out.";
    BYPASSED = Gauge "bowline_bypassed" ["service"]
        "1 while an operator has sent the service's traffic straight through (POST /bypass), else 0.";
    DNS_LOOKUPS = Counter "bowline_dns_lookups_total" ["service", "result"]
        "Look-ups of the DNS names of services, by result: ok, nxdomain (no such name), empty (no usable record of the type), timeout or failed.";
    DNS_LAST_GOOD = Gauge "bowline_dns_last_good_age_seconds" ["service"]
        "Seconds since the last answer that brought endpoints; missing before the first.";
    DNS_TROUBLE = Gauge "bowline_dns_trouble" ["service"]
        "1 while the DNS name of the service does not resolve, or not wholly, and the last good endpoints stay; else 0.";
    CONTROL_CONNECTED = Gauge "bowline_control_plane_connected" []
        "1 while a stream to the control plane is open, else 0. This and those that follow have no value without --control.";
    CONTROL_STREAMS = Counter "bowline_control_plane_streams_total" []
        "Streams to the control plane that were opened.";
    CONTROL_PUSHES = Counter "bowline_control_plane_pushes_total" []
        "Responses of the control plane that were taken in.";
    CONTROL_REJECTED = Counter "bowline_control_plane_rejected_total" []
        "Pushed resources that were refused, each time they came.";
    CONTROL_REJECTED_NOW = Gauge "bowline_control_plane_rejected_resources" []
        "Pushed resources that are refused at the moment: their last good versions are in force.";
    CONTROL_LAST_PUSH = Gauge "bowline_control_plane_last_push_age_seconds" []
        "Seconds since the last response of the control plane; missing before the first.";
    DOWNSTREAM_CONNECTIONS = Gauge "bowline_downstream_connections" []
        "Open connections from the app.";
    DOWNSTREAM_ACCEPTS = Counter "bowline_downstream_accepts_total" ["listener"]
        "Connections accepted, by listener: from the app at vip, forward_proxy, or redirected (to the same listener as forward_proxy, by rules of the kernel); from the app's callers at inbound.";
    DOWNSTREAM_REFUSED = Counter "bowline_downstream_refused_total" ["reason"]
        "Connections from the app that were reset as soon as they came, by reason: max_connections, or file_descriptors (those left are kept for other things, or there are none).";
    DOWNSTREAM_ERRORS = Counter "bowline_downstream_errors_total" ["kind"]
        "Connections from the app that ended in an error, by kind: protocol (what it sent is not HTTP), tls (of those, TLS where plain HTTP is spoken), flood (over HTTP/2 it reset most of its requests at once, or sent more frames of some kind than any client has to), timeout (a head that trickled in, or nothing read for the idle timeout), broken, panic (of an HTTP/2 stream as well).";
    PASSTHROUGH = Gauge "bowline_passthrough_connections" []
        "Redirected connections that are passed through to where they were going, outside of the mesh.";
    PASSTHROUGH_ENDED = Counter "bowline_passthrough_ended_total" ["end"]
        "Those that are over, by how: closed by both sides, broken (reset) by one, drained (the proxy ended), or failed (the destination could not be reached, and the app's connection was reset).";
    PASSTHROUGH_BYTES = Counter "bowline_passthrough_bytes_total" ["direction"]
        "Bytes that they have passed on, by direction: sent by the app, or received by it.";
    REDIRECT_REFUSED = Counter "bowline_redirect_refused_total" ["reason"]
        "Redirected connections that were reset, by reason: loop (it led to this proxy itself, or came from it), or unknown_vip (an address of the VIP range that no alias has, or not with this port).";
    MESH_GENERATION = Gauge "bowline_mesh_generation" []
        "The number of the mesh that is in force; 1 is the one the proxy started with.";
    MESH_RELOADS = Counter "bowline_mesh_reloads_total" ["result"]
        "Changed mesh files that were read, by result: applied or refused.";
    MESH_REFUSED = Gauge "bowline_mesh_refused" []
        "1 while the mesh file on disk is invalid and the last good one is in force, else 0.";
    DRAINING = Gauge "bowline_draining" []
        "1 once the proxy has begun to drain, else 0.";
    START_TIME = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since the Unix epoch.";
    RESIDENT = Gauge "process_resident_memory_bytes" []
        "Resident memory of the process, in bytes.";
    CPU = Counter "process_cpu_seconds_total" []
        "User and system CPU time of the process, in seconds.";
    OPEN_FDS = Gauge "process_open_fds" []
        "Open file descriptors of the process.";
    BUILD_INFO = Gauge "bowline_build_info" ["version"]
        "Always 1; the label tells the version.";
}
