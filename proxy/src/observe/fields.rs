//! Every field of a line of the access log, in one table: the lines, those of `tap`, and the reference page are made from
//! it.

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
}

macro_rules! fields {
    ($($id:ident = $name:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Field = Field { name: $name, help: $help };
        )*
        /// All of them, in the order in which they are written.
        pub const ALL: &[&Field] = &[$(&$id),*];
    };
}

fields! {
    TIME = "time" "When the request's head had come: RFC 3339 in UTC, to the microsecond.";
    DIRECTION = "direction" "`outbound`: the app calls; `inbound`: the app is called.";
    SERVICE = "service" "The service's `discoveryName`; `inbound:PORT` for calls of the app; missing for names outside of the mesh.";
    ROUTE = "route" "The route that the request took, by its name or its place in the list; missing: none.";
    METHOD = "method" "The method.";
    AUTHORITY = "authority" "Host and port, as they were asked for.";
    PATH = "path" "The path, with the query only where `--access-log-query` is given; at most 2,048 bytes of both.";
    PROTOCOL = "protocol" "What the caller speaks: `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.";
    STATUS = "status" "The status that the caller got; missing: it got none.";
    GRPC_STATUS = "grpc_status" "The status of a gRPC call, in words.";
    RECEIVED = "bytes_received" "Bytes of the request's body.";
    SENT = "bytes_sent" "Bytes of the response's body.";
    DURATION = "duration_ms" "Milliseconds from the request's head to the end of its response.";
    DELAYED = "delayed_ms" "Milliseconds that the request was held up on purpose, by its route's `fault`; missing: it was not.";
    UPSTREAM = "upstream_ms" "Milliseconds to the response's head, all attempts included.";
    ENDPOINT = "endpoint" "The endpoint of the last attempt.";
    ZONE = "zone" "Its zone.";
    ATTEMPTS = "attempts" "How many attempts there were.";
    RETRIED_FOR = "retried_for" "What each repetition was for, in the words of `bowline_retries_total`; missing: there was none.";
    EJECTED = "ejected" "Endpoints that were ejected because of this request; missing: none.";
    REASON = "reason" "Why the proxy answered itself, or why the response broke off: the words of x-bowline-error.";
    ENDED = "ended" "`complete`, `broken` (the response broke off) or `cancelled` (whoever asked went away first).";
    CLIENT = "client" "Who called, for inbound requests.";
    FORWARDED_FOR = "x_forwarded_for" "The header, as it came.";
    USER_AGENT = "user_agent" "The header.";
    REQUEST_ID = "request_id" "The header x-request-id, as the caller sent it.";
    TRACE_ID = "trace_id" "The trace that the request belongs to: one that is recorded, or what the caller's headers say (`OTEL_PROPAGATORS`).";
    SPAN_ID = "span_id" "The request's span in it, where it is recorded.";
}
