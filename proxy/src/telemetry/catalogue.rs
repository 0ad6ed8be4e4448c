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
    /// The name over OTLP: that of OpenTelemetry's semantic conventions where one fits.
    pub otlp: &'static str,
    /// The unit, by UCUM, as OTLP has it.
    pub unit: &'static str,
    /// How it is to be read.
    pub kind: Kind,
    /// Its labels, in the order they are written.
    pub labels: &'static [&'static str],
    /// The same as attributes over OTLP.
    pub attributes: &'static [&'static str],
    /// What it counts, with the unit.
    pub help: &'static str,
}

impl Metric {
    /// The unit at the end of its name, as OpenMetrics wants it told.
    pub fn unit_in_name(&self) -> Option<&'static str> {
        match self.unit {
            "s" => Some("seconds"),
            "By" => Some("bytes"),
            _ => None,
        }
    }

    /// The name of a counter without what its samples end in.
    pub fn family(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = $kind:ident $name:literal as $otlp:literal in $unit:literal
       [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: $name,
                otlp: $otlp,
                unit: $unit,
                kind: Kind::$kind,
                labels: &[$($label),*],
                attributes: &[$(concat!("bowline.", $label)),*],
                help: $help,
            };
        )*
        /// All of them, in the order of the reference page.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    REQUESTS = Counter "bowline_requests_total" as "bowline.requests" in "{request}" ["service", "class"]
        "Requests of the app that got their response head, by status class (2xx to 5xx); grpc_error: HTTP 200 with a gRPC status other than 0 in the head; local: answered by the proxy itself; cancelled: the app went away first. An empty service: names outside of the mesh, through the forward proxy.";
    GRPC_REQUESTS = Counter "bowline_grpc_requests_total" as "bowline.grpc_requests" in "{request}" ["service"]
        "Of those, the gRPC calls; cancelled ones are not in it.";
    IN_FLIGHT = Gauge "bowline_requests_in_flight" as "bowline.request.in_flight" in "{request}" ["service"]
        "Requests of the app that are under way or wait for room, response bodies included. Attempts at the endpoints of the mesh in force are counted: what is under way at one that has left the mesh is not in it.";
    REQUEST_DURATION = Histogram "bowline_request_duration_seconds" as "bowline.request.duration" in "s" ["service"]
        "Seconds from the request's arrival to its response head, all attempts included.";
    LOCAL_RESPONSES = Counter "bowline_local_responses_total" as "bowline.local_responses" in "{request}" ["service", "reason"]
        "Requests that the proxy had to answer itself, by the reason that x-bowline-error carries too. An empty service: requests that were for none.";
    ROUTE_REQUESTS = Counter "bowline_route_requests_total" as "bowline.route.requests" in "{request}" ["service", "route", "class"]
        "Requests that took a route, by the service whose route it is, the route's name, and the class of the response as in bowline_requests_total (a redirect or fixed response: its own). A service without routes has none.";
    FAULTS = Counter "bowline_faults_injected_total" as "bowline.faults_injected" in "{request}" ["service", "route", "kind"]
        "Requests that a route's fault has held up (delay) or answered with an error (abort).";
    MIRRORED = Counter "bowline_mirrored_total" as "bowline.mirrored" in "{request}" ["service", "route", "result"]
        "Copies that a route's mirror made, by what became of them: answered, failed, busy (no room: 128 were under way in the worker, or the service was at its limits), or no_body (the request's body was larger than maxBodyBytes, or not complete when its response came).";
    LIMIT_IN_USE = Gauge "bowline_limit_in_use" as "bowline.limit.in_use" in "1" ["service", "limit"]
        "What of a limit is in use, over all workers: requests (in flight, response bodies included; only where limits are set) or connections (to its endpoints, idle ones and tunnels included).";
    LIMIT = Gauge "bowline_limit" as "bowline.limit.max" in "1" ["service", "limit"]
        "The limit itself, where limits are set: requests, connections, pending, or adaptive (how many requests in flight the service was found to bear).";
    WAITING = Gauge "bowline_requests_waiting" as "bowline.request.waiting" in "{request}" ["service", "for"]
        "Requests that wait: for request (maxRequests are in flight), or for connection (maxConnections are open).";
    SHED = Counter "bowline_shed_total" as "bowline.shed" in "{request}" ["service", "reason"]
        "Requests and tunnels that limits turned away: queue_full (maxPendingRequests waited already), waited_too_long, no_connection (a tunnel, which does not wait), or adaptive (as many are in flight as the service was found to bear).";
    QUEUE_DURATION = Histogram "bowline_queue_duration_seconds" as "bowline.queue.duration" in "s" ["service"]
        "Seconds that requests waited because maxRequests were in flight, until they came in or were turned away; those that did not have to wait, or hung up, are not in it.";
    LEAST_LATENCY = Gauge "bowline_adaptive_least_latency_seconds" as "bowline.adaptive.least_latency" in "s" ["service"]
        "Seconds that an answer takes when nothing waits, as adaptive concurrency has measured it; missing before that.";
    ACCESS_REFUSED = Counter "bowline_access_refused_total" as "bowline.access.refused" in "{request}" ["service", "why"]
        "Requests that the service's access turned away, by why: no_key or wrong_key (API keys), no_token, malformed, algorithm, unknown_key, signature, no_expiry, expired, not_yet, issuer, audience, scope or claim (tokens), or no_key_set (nobody can tell: 503).";
    RATE_LIMIT = Counter "bowline_rate_limit_total" as "bowline.rate_limit" in "{request}" ["service", "limit", "result"]
        "Requests over a rate limit, by limit (inbound or outbound, and its place in the list; ROUTE/ before it for those of a route) and result: refused, or waited for their turn.";
    BREAKER_STATE = Gauge "bowline_circuit_breaker_state" as "bowline.circuit_breaker.state" in "1" ["service", "endpoint"]
        "What a circuit breaker does with requests: 0 closed, 1 half open, 2 open. An empty endpoint: that of the service.";
    BREAKER_CALLS = Counter "bowline_circuit_breaker_calls_total" as "bowline.circuit_breaker.calls" in "{request}" ["service", "endpoint", "result"]
        "What a circuit breaker was asked and told: fire (each request, or for an endpoint each attempt), success, failure (timeouts among them), timeout, slow (successes that took longer than slowCallSeconds), reject (it was open).";
    BREAKER_OPENED = Counter "bowline_circuit_breaker_opened_total" as "bowline.circuit_breaker.opened" in "{change}" ["service", "endpoint"]
        "How often a circuit breaker opened, failed probes included.";
    HEDGES = Counter "bowline_hedges_total" as "bowline.hedges" in "{attempt}" ["service", "result"]
        "Second attempts beside a slow first one, by result: sent, or won (the second one answered first).";
    BROKEN_BODIES = Counter "bowline_broken_bodies_total" as "bowline.broken_bodies" in "{response}" ["service"]
        "Responses that the endpoint broke off after their head had been passed on.";
    ATTEMPT_FAILURES = Counter "bowline_attempt_failures_total" as "bowline.attempt_failures" in "{attempt}" ["service", "reason"]
        "Attempts that brought no answer, by what went wrong: the words of x-bowline-error. Here timeouts are told apart: connect_timeout, attempt_timeout, response_timeout, request_timeout.";
    RETRIES = Counter "bowline_retries_total" as "bowline.retries" in "{attempt}" ["service", "reason"]
        "Attempts after the first, by what had gone wrong with the one before.";
    RETRIES_REFUSED = Counter "bowline_retries_refused_total" as "bowline.refused_retries" in "{attempt}" ["service", "reason"]
        "Failed attempts that were not tried again, by why not.";
    TUNNELS = Gauge "bowline_tunnels" as "bowline.tunnel.open" in "{tunnel}" ["service"]
        "Open tunnels: connections of TCP services, upgraded ones (WebSocket), and those of CONNECT. An empty service: to names outside of the mesh.";
    TUNNELS_ENDED = Counter "bowline_tunnels_ended_total" as "bowline.tunnel.ended" in "{tunnel}" ["service", "end"]
        "Tunnels that are over, by how: closed by both sides, broken by one, idle for too long, drained (the proxy ended), or failed (nobody could be reached).";
    TUNNEL_BYTES = Counter "bowline_tunnel_bytes_total" as "bowline.tunnel.io" in "By" ["service", "direction"]
        "Bytes that tunnels have passed on, by direction: sent by the app, or received by it.";
    ENDPOINT_ATTEMPTS = Counter "bowline_endpoint_attempts_total" as "bowline.endpoint.attempts" in "{attempt}" ["service", "endpoint", "class"]
        "Attempts at an endpoint, by status class of its answer; failed: it gave none; other: a TCP connection that stands.";
    ENDPOINT_DURATION = Histogram "bowline_endpoint_duration_seconds" as "bowline.endpoint.duration" in "s" ["service", "endpoint"]
        "Seconds from the start of an attempt, its wait for a connection included, to its response head.";
    ENDPOINT_IN_FLIGHT = Gauge "bowline_endpoint_in_flight" as "bowline.endpoint.in_flight" in "{attempt}" ["service", "endpoint"]
        "Attempts that are under way, response bodies included.";
    ENDPOINT_CONNECTIONS = Gauge "bowline_endpoint_connections" as "bowline.endpoint.connections" in "{connection}" ["service", "endpoint"]
        "Open connections to the endpoint, idle ones included.";
    ENDPOINT_CONNECTS = Counter "bowline_endpoint_connects_total" as "bowline.endpoint.connects" in "{connection}" ["service", "endpoint", "result"]
        "Connections opened to the endpoint, by result: ok or failed.";
    ENDPOINT_BYTES = Counter "bowline_endpoint_bytes_total" as "bowline.endpoint.io" in "By" ["service", "endpoint", "direction"]
        "Bytes exchanged with the endpoint, heads and framing included, by direction: sent or received.";
    ENDPOINT_EJECTED = Gauge "bowline_endpoint_ejected" as "bowline.endpoint.ejected" in "1" ["service", "endpoint"]
        "1 while outlier detection keeps the endpoint out, else 0.";
    EJECTIONS = Counter "bowline_ejections_total" as "bowline.ejections" in "{ejection}" ["service", "endpoint"]
        "How often outlier detection took the endpoint out.";
    ENDPOINT_HEALTHY = Gauge "bowline_endpoint_healthy" as "bowline.endpoint.healthy" in "1" ["service", "endpoint"]
        "1 while active health checks find the endpoint well, 0 while they don't; missing: the service has none, or the first has not ended.";
    HEALTH_CHECKS = Counter "bowline_health_checks_total" as "bowline.health_checks" in "{check}" ["service", "result"]
        "Active health checks of the service's endpoints, by result: ok, timeout or failed.";
    BYPASSED = Gauge "bowline_bypassed" as "bowline.bypassed" in "1" ["service"]
        "1 while an operator has sent the service's traffic straight through (POST /bypass), else 0.";
    DNS_LOOKUPS = Counter "bowline_dns_lookups_total" as "bowline.dns.lookups" in "{lookup}" ["service", "result"]
        "Look-ups of the DNS names of services, by result: ok, nxdomain (no such name), empty (no usable record of the type), timeout or failed.";
    DNS_LAST_GOOD = Gauge "bowline_dns_last_good_age_seconds" as "bowline.dns.last_good.age" in "s" ["service"]
        "Seconds since the last answer that brought endpoints; missing before the first.";
    DNS_TROUBLE = Gauge "bowline_dns_trouble" as "bowline.dns.trouble" in "1" ["service"]
        "1 while the DNS name of the service does not resolve, or not wholly, and the last good endpoints stay; else 0.";
    CONTROL_CONNECTED = Gauge "bowline_control_plane_connected" as "bowline.control_plane.connected" in "1" []
        "1 while a stream to the control plane is open, else 0. This and those that follow have no value without --control.";
    CONTROL_STREAMS = Counter "bowline_control_plane_streams_total" as "bowline.control_plane.streams" in "{stream}" []
        "Streams to the control plane that were opened.";
    CONTROL_PUSHES = Counter "bowline_control_plane_pushes_total" as "bowline.control_plane.pushes" in "{push}" []
        "Responses of the control plane that were taken in.";
    CONTROL_REJECTED = Counter "bowline_control_plane_rejected_total" as "bowline.control_plane.rejected" in "{resource}" []
        "Pushed resources that were refused, each time they came.";
    CONTROL_REJECTED_NOW = Gauge "bowline_control_plane_rejected_resources" as "bowline.control_plane.rejected_resources" in "{resource}" []
        "Pushed resources that are refused at the moment: their last good versions are in force.";
    CONTROL_LAST_PUSH = Gauge "bowline_control_plane_last_push_age_seconds" as "bowline.control_plane.last_push.age" in "s" []
        "Seconds since the last response of the control plane; missing before the first.";
    DOWNSTREAM_CONNECTIONS = Gauge "bowline_downstream_connections" as "bowline.downstream.connections" in "{connection}" []
        "Open connections from the app.";
    DOWNSTREAM_ACCEPTS = Counter "bowline_downstream_accepts_total" as "bowline.downstream.accepts" in "{connection}" ["listener"]
        "Connections accepted, by listener: from the app at vip, forward_proxy, or redirected (to the same listener as forward_proxy, by rules of the kernel); from the app's callers at inbound; from outside of the mesh at ingress.";
    DOWNSTREAM_REFUSED = Counter "bowline_downstream_refused_total" as "bowline.downstream.refused" in "{connection}" ["reason"]
        "Connections from the app that were reset as soon as they came, by reason: max_connections, or file_descriptors (those left are kept for other things, or there are none).";
    DOWNSTREAM_ERRORS = Counter "bowline_downstream_errors_total" as "bowline.downstream.errors" in "{connection}" ["kind"]
        "Connections from the app that ended in an error, by kind: protocol (what it sent is not HTTP), tls (of those, TLS where plain HTTP is spoken), flood (over HTTP/2 it reset most of its requests at once, or sent more frames of some kind than any client has to), timeout (a head that trickled in, or nothing read for the idle timeout), broken, panic (of an HTTP/2 stream as well).";
    PASSTHROUGH = Gauge "bowline_passthrough_connections" as "bowline.passthrough.connections" in "{connection}" []
        "Redirected connections that are passed through to where they were going, outside of the mesh.";
    PASSTHROUGH_ENDED = Counter "bowline_passthrough_ended_total" as "bowline.passthrough.ended" in "{connection}" ["end"]
        "Those that are over, by how: closed by both sides, broken (reset) by one, drained (the proxy ended), or failed (the destination could not be reached, and the app's connection was reset).";
    PASSTHROUGH_BYTES = Counter "bowline_passthrough_bytes_total" as "bowline.passthrough.io" in "By" ["direction"]
        "Bytes that they have passed on, by direction: sent by the app, or received by it.";
    REDIRECT_REFUSED = Counter "bowline_redirect_refused_total" as "bowline.redirect.refused" in "{connection}" ["reason"]
        "Redirected connections that were reset, by reason: loop (it led to this proxy itself, or came from it), or unknown_vip (an address of the VIP range that no alias has, or not with this port).";
    SPANS_EXPORTED = Counter "bowline_otlp_spans_exported_total" as "bowline.otlp.spans_exported" in "{span}" []
        "Spans that the collector has taken. This and those that follow have no value while nothing is exported.";
    SPANS_DROPPED = Counter "bowline_otlp_spans_dropped_total" as "bowline.otlp.spans_dropped" in "{span}" ["reason"]
        "Spans that were dropped, by reason: queue_full (more came than the collector took), refused (it doesn't want them), failed (it could not be reached, or had no time), or shutdown.";
    SPANS_QUEUED = Gauge "bowline_otlp_spans_queued" as "bowline.otlp.spans_queued" in "{span}" []
        "Spans that are kept until the collector has taken them.";
    POINTS_EXPORTED = Counter "bowline_otlp_points_exported_total" as "bowline.otlp.points_exported" in "{point}" []
        "Data points of metrics that the collector has taken.";
    POINTS_DROPPED = Counter "bowline_otlp_points_dropped_total" as "bowline.otlp.points_dropped" in "{point}" ["reason"]
        "Data points of metrics that were dropped, by reason: refused or failed.";
    OTLP_REQUESTS = Counter "bowline_otlp_requests_total" as "bowline.otlp.requests" in "{request}" ["signal"]
        "Requests to the collector, each try counted, by signal: traces or metrics.";
    OTLP_FAILURES = Counter "bowline_otlp_request_failures_total" as "bowline.otlp.request_failures" in "{request}" ["signal"]
        "Those of them that were not taken, or not wholly.";
    RECORDS_DROPPED = Counter "bowline_records_dropped_total" as "bowline.records_dropped" in "{request}" []
        "Requests that are missing in traces, access log and taps because more came than could be looked at.";
    ACCESS_LOG_DROPPED = Counter "bowline_access_log_dropped_total" as "bowline.access_log_dropped" in "{line}" []
        "Lines of the access log that were lost because stdout took no more.";
    MESH_GENERATION = Gauge "bowline_mesh_generation" as "bowline.mesh.generation" in "1" []
        "The number of the mesh that is in force; 1 is the one the proxy started with.";
    MESH_RELOADS = Counter "bowline_mesh_reloads_total" as "bowline.mesh.reloads" in "{reload}" ["result"]
        "Changed mesh files that were read, by result: applied or refused.";
    MESH_REFUSED = Gauge "bowline_mesh_refused" as "bowline.mesh.refused" in "1" []
        "1 while the mesh file on disk is invalid and the last good one is in force, else 0.";
    DRAINING = Gauge "bowline_draining" as "bowline.draining" in "1" []
        "1 once the proxy has begun to drain, else 0.";
    START_TIME = Gauge "process_start_time_seconds" as "bowline.process.start_time" in "s" []
        "When the process started, in seconds since the Unix epoch.";
    RESIDENT = Gauge "process_resident_memory_bytes" as "process.memory.usage" in "By" []
        "Resident memory of the process, in bytes.";
    CPU = Counter "process_cpu_seconds_total" as "process.cpu.time" in "s" []
        "User and system CPU time of the process, in seconds.";
    OPEN_FDS = Gauge "process_open_fds" as "process.unix.file_descriptor.count" in "{file_descriptor}" []
        "Open file descriptors of the process.";
    BUILD_INFO = Gauge "bowline_build_info" as "bowline.build_info" in "1" ["version"]
        "Always 1; the label tells the version.";
}
