//! Every attribute that spans carry, in one table: spans and the reference page are both made from it. Names are those of
//! OpenTelemetry's semantic conventions (1.40) where they have one; ours begin with `bowline.`.

/// One attribute.
#[derive(Debug)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// On which spans: `request` (INTERNAL), `attempt` (CLIENT), `server` (SERVER), and `retry` (an event).
    pub on: &'static str,
    /// What it says.
    pub help: &'static str,
}

macro_rules! attributes {
    ($($id:ident = $name:literal on $on:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Attribute = Attribute { name: $name, on: $on, help: $help };
        )*
        /// All of them, in the order of the reference page.
        pub const ALL: &[&Attribute] = &[$(&$id),*];
    };
}

attributes! {
    METHOD = "http.request.method" on "request, attempt, server"
        "The method; `_OTHER` where it is none that is known. Not for gRPC calls.";
    METHOD_ORIGINAL = "http.request.method_original" on "request, attempt, server"
        "The method as it came, where it is none that is known.";
    URL_FULL = "url.full" on "attempt"
        "What was asked for, without the query. Not for gRPC calls.";
    URL_PATH = "url.path" on "request, server"
        "The path, without the query. Not for gRPC calls.";
    URL_SCHEME = "url.scheme" on "server"
        "Always `http`.";
    STATUS = "http.response.status_code" on "request, attempt, server"
        "The status; missing where no response came.";
    RESEND_COUNT = "http.request.resend_count" on "attempt"
        "How many attempts came before this one; missing on the first.";
    RPC_SYSTEM = "rpc.system.name" on "request, attempt, server"
        "`grpc`, for gRPC calls.";
    RPC_METHOD = "rpc.method" on "request, attempt, server"
        "Service and method of a gRPC call, as in its path.";
    RPC_STATUS = "rpc.response.status_code" on "request, attempt, server"
        "The status of a gRPC call in words, such as `OK` or `UNAVAILABLE`; missing where none came.";
    ERROR_TYPE = "error.type" on "request, attempt, server"
        "What kind of failure it is: the status, gRPC's in words, a reason of the proxy (those of x-bowline-error), or `cancelled`: whoever asked went away first. Missing where all went well.";
    SERVER_ADDRESS = "server.address" on "request, attempt, server"
        "The name that was called.";
    SERVER_PORT = "server.port" on "request, attempt, server"
        "The port that was called.";
    PEER_ADDRESS = "network.peer.address" on "attempt"
        "The endpoint's address.";
    PEER_PORT = "network.peer.port" on "attempt"
        "The endpoint's port.";
    PROTOCOL_VERSION = "network.protocol.version" on "request, server"
        "What the caller speaks: `1.0`, `1.1` or `2`.";
    CLIENT_ADDRESS = "client.address" on "server"
        "Who calls.";
    USER_AGENT = "user_agent.original" on "request, server"
        "The caller's `user-agent`.";
    REQUEST_SIZE = "http.request.body.size" on "request, server"
        "Bytes of the request's body that came.";
    RESPONSE_SIZE = "http.response.body.size" on "request, server"
        "Bytes of the response's body that were passed on.";
    SERVICE = "bowline.service" on "request, attempt"
        "The service that was called: its `discoveryName`.";
    ROUTE = "bowline.route" on "request"
        "The route that the request took, by its name or its place in the list; missing where none fits.";
    FAULT_DELAY = "bowline.fault_delay_ms" on "request"
        "How long the request was held up on purpose, by its route's `fault`, in milliseconds.";
    ENDPOINT = "bowline.endpoint" on "request, attempt"
        "The endpoint, address and port; of a request: the one that answered.";
    ZONE = "bowline.zone" on "attempt"
        "The endpoint's zone, where it is known.";
    ATTEMPTS = "bowline.attempts" on "request"
        "How many attempts there were.";
    RETRIES = "bowline.retries" on "request"
        "How many of them were repetitions.";
    RETRY_REASON = "bowline.reason" on "request, attempt, server, retry"
        "Why the proxy answered itself (the word of x-bowline-error), why an attempt brought no answer, or what it was repeated for (the word of `bowline_retries_total`).";
    RETRY_WAIT = "bowline.backoff_ms" on "retry"
        "How long the next attempt waited, in milliseconds.";
    EJECTED = "bowline.ejected" on "attempt"
        "true: because of this attempt its endpoint was ejected.";
    REQUEST_ID = "http.request.header.x-request-id" on "request, server"
        "The caller's `x-request-id`, where it sent one; a list of one, as the conventions want it for headers.";
}

/// The event on an attempt's span that another attempt follows.
pub const RETRY_EVENT: &str = "retry";
/// The event on an attempt's span that its endpoint was ejected for it.
pub const EJECTION_EVENT: &str = "ejection";
