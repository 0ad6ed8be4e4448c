//! What can go wrong with a request: who failed, what the app is told, and (for the retry table) what had happened to
//! the attempt.

use std::fmt;

use bowline_core::retry::Failure;
use http::StatusCode;

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The app that called the proxy.
    Downstream,
    /// The endpoint that the proxy called.
    Upstream,
    /// The proxy itself: its mesh, its limits, its state.
    Proxy,
}

/// Why a request could not be answered by an endpoint. `as_str` is what `x-bowline-error`, metrics and logs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The name or port is no alias of the mesh.
    UnknownService,
    /// No mesh is known yet: the control plane has not been reached since the start.
    NoMesh,
    /// The name points to this proxy itself.
    Loop,
    /// The service has no endpoint at all.
    NoEndpoints,
    /// No TCP connection to the endpoint: refused, unreachable, reset.
    ConnectFailure,
    /// No TCP connection to the endpoint in time.
    ConnectTimeout,
    /// The endpoint did not take up the HTTP/2 stream: REFUSED_STREAM, or a GOAWAY that names it as not processed.
    RefusedStream,
    /// The connection or stream was reset before the response head was complete.
    Reset,
    /// The endpoint closed the connection without a response.
    ClosedWithoutResponse,
    /// An attempt took longer than an attempt may.
    AttemptTimeout,
    /// The response head did not come in time.
    ResponseTimeout,
    /// The endpoint took nothing more of the request for the idle timeout.
    UploadTimeout,
    /// The whole response did not come in time (`perRequestTimeoutSeconds`).
    RequestTimeout,
    /// What the endpoint sent is not a valid response.
    InvalidResponse,
    /// The app's request can't be forwarded: no host, a bad target, a method we don't take.
    BadRequest,
    /// The app stopped sending its request body.
    RequestBodyBroken,
    /// Nothing more of the request body came for the idle timeout.
    RequestBodyTimeout,
    /// As much of the service is in use as may be, and the queue is full or the request has waited too long.
    Overloaded,
    /// More requests than a rate limit allows.
    RateLimited,
    /// The service's circuit breaker is open, or those of all its endpoints are.
    CircuitOpen,
    /// This host is out of something that a connection needs: file descriptors, local ports, memory.
    OutOfResources,
    /// A route's `fault` says so.
    FaultInjected,
    /// The caller has no key or token that `access` asks for, or a wrong one.
    Unauthorized,
    /// The caller's token is good, and for less than this.
    Forbidden,
    /// There are no keys yet to verify tokens with.
    NoKeySet,
}

impl Reason {
    /// All reasons, for the reference page.
    pub const ALL: [Reason; 25] = [
        Reason::UnknownService,
        Reason::NoMesh,
        Reason::Loop,
        Reason::NoEndpoints,
        Reason::ConnectFailure,
        Reason::ConnectTimeout,
        Reason::RefusedStream,
        Reason::Reset,
        Reason::ClosedWithoutResponse,
        Reason::AttemptTimeout,
        Reason::ResponseTimeout,
        Reason::UploadTimeout,
        Reason::RequestTimeout,
        Reason::InvalidResponse,
        Reason::BadRequest,
        Reason::RequestBodyBroken,
        Reason::RequestBodyTimeout,
        Reason::Overloaded,
        Reason::RateLimited,
        Reason::CircuitOpen,
        Reason::OutOfResources,
        Reason::FaultInjected,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NoKeySet,
    ];

    /// The word in `x-bowline-error`, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::UnknownService => "unknown_service",
            Reason::NoMesh => "no_mesh",
            Reason::Loop => "loop",
            Reason::NoEndpoints => "no_endpoints",
            Reason::ConnectFailure => "connect_failure",
            Reason::ConnectTimeout => "connect_timeout",
            Reason::RefusedStream => "refused_stream",
            Reason::Reset => "reset",
            Reason::ClosedWithoutResponse => "closed_without_response",
            Reason::AttemptTimeout => "attempt_timeout",
            Reason::ResponseTimeout => "response_timeout",
            Reason::UploadTimeout => "upload_timeout",
            Reason::RequestTimeout => "request_timeout",
            Reason::InvalidResponse => "invalid_response",
            Reason::BadRequest => "bad_request",
            Reason::RequestBodyBroken => "request_body_broken",
            Reason::RequestBodyTimeout => "request_body_timeout",
            Reason::Overloaded => "overloaded",
            Reason::RateLimited => "rate_limited",
            Reason::CircuitOpen => "circuit_open",
            Reason::OutOfResources => "out_of_resources",
            Reason::FaultInjected => "fault_injected",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::NoKeySet => "no_key_set",
        }
    }

    /// What it means, for the reference page.
    pub fn meaning(self) -> &'static str {
        match self {
            Reason::UnknownService => "The name or port is no alias of the mesh, and points nowhere else.",
            Reason::NoMesh => {
                "No control plane has been reached since the start, and there is neither a last good mesh nor a seed."
            }
            Reason::Loop => "The name is none of the mesh, and points to this proxy itself.",
            Reason::NoEndpoints => "The service has no endpoint to send the request to.",
            Reason::ConnectFailure => "No TCP connection to the endpoint: refused, unreachable, reset.",
            Reason::ConnectTimeout => "No TCP connection to the endpoint within `connectSeconds`.",
            Reason::RefusedStream => {
                "The endpoint did not take the HTTP/2 stream up: REFUSED_STREAM, or a GOAWAY that names it as not processed."
            }
            Reason::Reset => "The connection or stream was reset before the response head was complete.",
            Reason::ClosedWithoutResponse => "The endpoint closed the connection without a response.",
            Reason::AttemptTimeout => "The last attempt took longer than `perAttemptSeconds`.",
            Reason::ResponseTimeout => "The response head did not come within `responseHeadersSeconds`.",
            Reason::UploadTimeout => {
                "The endpoint took nothing more of the request for `idleTimeoutSeconds`, though there was more to send, and had not answered yet."
            }
            Reason::RequestTimeout => {
                "The response did not come within `perRequestTimeoutSeconds` or the caller's `grpc-timeout`."
            }
            Reason::InvalidResponse => "What the endpoint sent is not a valid response.",
            Reason::BadRequest => {
                "The app's request can't be forwarded: no host, a bad target, a method that is not taken."
            }
            Reason::RequestBodyBroken => "The app stopped sending its request body.",
            Reason::RequestBodyTimeout => {
                "The app sent nothing more of its request body for `idleTimeoutSeconds`, and the endpoint waited for it."
            }
            Reason::Overloaded => {
                "As much of the service is in use as its `limits` allow, and the queue is full or the request has waited for too long."
            }
            Reason::RateLimited => "More requests than a `rateLimit` of the service or route allows.",
            Reason::CircuitOpen => {
                "The `circuitBreaker` of the service is open, or those of all its endpoints are: nothing was sent."
            }
            Reason::OutOfResources => {
                "No connection to the endpoint, because the proxy or its host is out of file descriptors, local ports or memory."
            }
            Reason::FaultInjected => {
                "Made on purpose: the `fault` of the request's route has an `abort`, whose status this is."
            }
            Reason::Unauthorized => {
                "The service's `access` asks for an API key or a token, and the request has none, or a wrong one. `WWW-Authenticate` says which."
            }
            Reason::Forbidden => {
                "The service's `access` asks for `scopes`, and the request's token, which is good, has not all of them."
            }
            Reason::NoKeySet => {
                "The service's `access` asks for a token, and there are no keys yet to verify it with: the `jwks` could not be had."
            }
        }
    }

    /// What is told to callers from outside of the mesh: what happened, and nothing of who is inside.
    pub fn to_outsiders(self) -> &'static str {
        match self {
            Reason::UnknownService | Reason::Loop => "there is nothing here by this name and path",
            Reason::NoMesh
            | Reason::NoEndpoints
            | Reason::ConnectFailure
            | Reason::ConnectTimeout
            | Reason::CircuitOpen
            | Reason::OutOfResources => "nobody can answer at the moment",
            Reason::RefusedStream
            | Reason::Reset
            | Reason::ClosedWithoutResponse
            | Reason::InvalidResponse => "whoever was to answer has broken off",
            Reason::AttemptTimeout
            | Reason::ResponseTimeout
            | Reason::UploadTimeout
            | Reason::RequestTimeout => "no answer came in time",
            Reason::BadRequest => "the request can't be forwarded",
            Reason::RequestBodyBroken | Reason::RequestBodyTimeout => "the request's body did not come",
            Reason::Overloaded => "there is too much to do at the moment",
            Reason::RateLimited => "too many requests",
            Reason::Unauthorized => "a valid key or token is needed",
            Reason::Forbidden => "the token is good, but not for this",
            Reason::NoKeySet => "tokens can't be verified at the moment",
            Reason::FaultInjected => "an error that was made on purpose",
        }
    }

    /// The status the app gets when no endpoint could answer. 503 only where it is safe to say that nothing has been
    /// processed; 502 and 504 where an endpoint may have done the work.
    pub fn status(self) -> StatusCode {
        match self {
            Reason::NoMesh
            | Reason::NoEndpoints
            | Reason::ConnectFailure
            | Reason::ConnectTimeout
            | Reason::RefusedStream
            | Reason::Overloaded
            | Reason::CircuitOpen
            | Reason::OutOfResources
            | Reason::FaultInjected
            | Reason::NoKeySet => StatusCode::SERVICE_UNAVAILABLE,
            // Not 404: an app takes that for an answer of the service.
            Reason::UnknownService
            | Reason::Reset
            | Reason::ClosedWithoutResponse
            | Reason::InvalidResponse => StatusCode::BAD_GATEWAY,
            Reason::AttemptTimeout
            | Reason::ResponseTimeout
            | Reason::UploadTimeout
            | Reason::RequestTimeout => StatusCode::GATEWAY_TIMEOUT,
            Reason::Unauthorized => StatusCode::UNAUTHORIZED,
            Reason::Forbidden => StatusCode::FORBIDDEN,
            Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Reason::Loop => StatusCode::LOOP_DETECTED,
            Reason::BadRequest | Reason::RequestBodyBroken => StatusCode::BAD_REQUEST,
            Reason::RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// No connection came about.
    pub fn is_connect(self) -> bool {
        matches!(self, Reason::ConnectFailure | Reason::ConnectTimeout)
    }

    /// The gRPC status code that says the same: 14 UNAVAILABLE, 4 DEADLINE_EXCEEDED, 13 INTERNAL, 8
    /// RESOURCE_EXHAUSTED. What was shed is not 14, which gRPC clients and proxies try again by default: they would add
    /// to the load of a service that has too much of it.
    pub fn grpc_status(self) -> u8 {
        match self {
            Reason::AttemptTimeout
            | Reason::ResponseTimeout
            | Reason::UploadTimeout
            | Reason::RequestTimeout => 4,
            Reason::InvalidResponse | Reason::BadRequest => 13,
            Reason::RequestBodyBroken | Reason::RequestBodyTimeout => 1,
            Reason::Overloaded | Reason::RateLimited => 8,
            Reason::Unauthorized => 16,
            Reason::Forbidden => 7,
            _ => 14,
        }
    }

    /// Who failed.
    pub fn source(self) -> Source {
        match self {
            Reason::BadRequest
            | Reason::RequestBodyBroken
            | Reason::RequestBodyTimeout
            | Reason::Unauthorized
            | Reason::Forbidden => Source::Downstream,
            Reason::UnknownService
            | Reason::NoMesh
            | Reason::Loop
            | Reason::NoEndpoints
            | Reason::Overloaded
            | Reason::RateLimited
            | Reason::CircuitOpen
            | Reason::OutOfResources
            | Reason::FaultInjected
            | Reason::NoKeySet => Source::Proxy,
            _ => Source::Upstream,
        }
    }

    /// What had happened to the attempt, as the retry table asks; `None` where no further attempt could help.
    pub fn failure(self) -> Option<Failure> {
        match self {
            // Local ports are short for one endpoint at a time, and elsewhere a connection may be idle.
            Reason::ConnectFailure | Reason::ConnectTimeout | Reason::OutOfResources => {
                Some(Failure::Connect)
            }
            Reason::RefusedStream => Some(Failure::RefusedStream),
            Reason::Reset | Reason::InvalidResponse => Some(Failure::Reset),
            Reason::ClosedWithoutResponse => Some(Failure::ClosedWithoutResponse),
            // As much as an attempt timeout is: the endpoint has seen a part of the request, and others may be well.
            Reason::AttemptTimeout | Reason::UploadTimeout => Some(Failure::AttemptTimeout),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failed attempt, or a request that could not be attempted.
#[derive(Debug)]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// True when it is certain that no byte of the request reached an endpoint.
    pub unsent: bool,
    /// The connection had been used before and was closed without an answer: most likely the endpoint had just given
    /// it up.
    pub stale: bool,
    /// The cause in words, for the log and the app.
    pub detail: String,
}

impl Fault {
    /// A fault of an attempt that may have reached the endpoint.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Fault { reason, unsent: false, stale: false, detail: detail.to_string() }
    }

    /// A fault of an attempt of which the endpoint has seen nothing.
    pub fn unsent(reason: Reason, detail: impl fmt::Display) -> Self {
        Fault { reason, unsent: true, stale: false, detail: detail.to_string() }
    }

    /// True when it tells against the endpoint. A connection from the pool that the endpoint had closed meanwhile does
    /// not: that is how keep-alive ends.
    pub fn blames_endpoint(&self) -> bool {
        self.reason.source() == Source::Upstream && !self.stale && self.reason != Reason::RequestTimeout
    }

    /// True when the endpoint may just have been slow.
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, Reason::AttemptTimeout | Reason::ResponseTimeout | Reason::RequestTimeout)
    }

    /// What had happened, as the retry table asks.
    pub fn failure(&self) -> Option<Failure> {
        match self.reason.failure() {
            Some(Failure::Reset | Failure::ClosedWithoutResponse) if self.unsent => {
                Some(Failure::NothingWritten)
            }
            other => other,
        }
    }

    /// Whether the endpoint can't have seen anything of the request.
    pub fn is_unprocessed(&self) -> bool {
        use Failure::{Connect, GoAwayUnprocessed, NothingWritten, RefusedStream};
        matches!(self.failure(), Some(Connect | GoAwayUnprocessed | NothingWritten | RefusedStream))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Fault {}
