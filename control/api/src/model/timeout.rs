//! How long to wait, for what.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::seconds::SecondsVisitor;
use super::{AppProtocol, Seconds};

/// The timeouts of a service. All are seconds, fractions allowed, and 0 turns one off, as in Service Connect.
///
/// Which of them hold for a request depends on what it speaks: ask [`super::Service`]'s methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeout {
    /// Bounds a request whole, all attempts and the response's body included, as in Service Connect; 0 = off. It holds
    /// for HTTP, HTTP/2 and gRPC. Default: unset, that is no bound on the whole, because Service Connect's hard 15 s
    /// breaks streams; `responseHeadersSeconds` is what guards requests by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_request_timeout_seconds: Option<Seconds>,

    /// Closes a connection on which nothing was sent either way for so long; 0 = off. Default, as in Service Connect:
    /// 300 for HTTP, HTTP/2 and gRPC, 3600 for TCP. It also bounds for how long an app may read nothing of a response, or
    /// send nothing of a request that is waited for, and for how long an endpoint may take nothing of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<Seconds>,

    /// From the end of the request's body to the response's headers, over all attempts; 0 = off. Never applied to
    /// upgraded connections. Default: 15 (Envoy's route timeout, Service Connect's request timeout), off for gRPC,
    /// whose callers send a `grpc-timeout` and whose streaming servers often send headers with the first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers_seconds: Option<Seconds>,

    /// How long one attempt may take to the response's headers before the next one starts: a number, 0 = off, or
    /// `auto`: for idempotent requests, and not on the last attempt, 8 times the service's recent 99th percentile,
    /// between 0.25 and 5. Default `auto`.
    pub per_attempt_seconds: AttemptTimeout,

    /// How long a connection may take to open, more than 0, at most 60. Default 1 (Linkerd; Envoy's is 5).
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 60))]
    pub connect_seconds: Seconds,
}

impl Default for Timeout {
    fn default() -> Self {
        Self {
            per_request_timeout_seconds: None,
            idle_timeout_seconds: None,
            response_headers_seconds: None,
            per_attempt_seconds: AttemptTimeout::Auto,
            connect_seconds: Seconds::new(1),
        }
    }
}

impl Timeout {
    /// [`Self::response_headers_seconds`] where it is unset and the request is not gRPC.
    pub const RESPONSE_HEADERS: Duration = Duration::from_secs(15);
    /// [`Self::idle_timeout_seconds`] where it is unset, for HTTP, HTTP/2 and gRPC.
    pub const IDLE_HTTP: Duration = Duration::from_secs(300);
    /// [`Self::idle_timeout_seconds`] where it is unset, for TCP.
    pub const IDLE_TCP: Duration = Duration::from_secs(3600);

    /// The bound on a whole request, if there is one.
    #[must_use]
    pub fn per_request(&self) -> Option<Duration> {
        self.per_request_timeout_seconds.and_then(Seconds::limit)
    }

    /// When an idle connection that speaks `spoken` is closed; `None` = never.
    #[must_use]
    pub fn idle(&self, spoken: AppProtocol) -> Option<Duration> {
        match self.idle_timeout_seconds {
            Some(seconds) => seconds.limit(),
            None if spoken == AppProtocol::Tcp => Some(Self::IDLE_TCP),
            None => Some(Self::IDLE_HTTP),
        }
    }

    /// How long a request that speaks `spoken` may wait for response headers; `None` = for ever.
    #[must_use]
    pub fn response_headers(&self, spoken: AppProtocol) -> Option<Duration> {
        match self.response_headers_seconds {
            Some(seconds) => seconds.limit(),
            None if matches!(spoken, AppProtocol::Grpc | AppProtocol::Tcp) => None,
            None => Some(Self::RESPONSE_HEADERS),
        }
    }

    /// How long a connection may take to open.
    #[must_use]
    pub fn connect(&self) -> Duration {
        self.connect_seconds.get()
    }
}

/// How long one attempt may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttemptTimeout {
    /// Learnt from the service's own latency.
    #[default]
    Auto,
    /// A fixed time; 0 = off.
    Fixed(Seconds),
}

impl Serialize for AttemptTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(seconds) => seconds.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AttemptTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AutoOrSeconds;

        impl Visitor<'_> for AutoOrSeconds {
            type Value = AttemptTimeout;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<AttemptTimeout, E> {
                if v == "auto" {
                    return Ok(AttemptTimeout::Auto);
                }
                Err(E::invalid_value(de::Unexpected::Str(v), &self))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<AttemptTimeout, E> {
                SecondsVisitor.visit_u64(v).map(AttemptTimeout::Fixed)
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<AttemptTimeout, E> {
                SecondsVisitor.visit_i64(v).map(AttemptTimeout::Fixed)
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<AttemptTimeout, E> {
                SecondsVisitor.visit_f64(v).map(AttemptTimeout::Fixed)
            }
        }

        deserializer.deserialize_any(AutoOrSeconds)
    }
}

impl JsonSchema for AttemptTimeout {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AttemptTimeout".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let seconds = Seconds::json_schema(generator);
        json_schema!({ "oneOf": [{ "type": "string", "const": "auto" }, seconds] })
    }
}
