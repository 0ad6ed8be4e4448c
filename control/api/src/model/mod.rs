//! The mesh model: every key a mesh file can have, as types.
//!
//! The types are the one source of truth. [`crate::schema`] makes the JSON Schema from them, [`crate::mesh_file`]
//! checks files against that schema, and the docs quote it. A key marked `x-not-yet` is part of the model, but this
//! version refuses a file that uses it: better refused than silently ignored.
//!
//! Names are Amazon ECS Service Connect's where it has them, so that its JSON can be pasted in.

mod access;
mod alias;
mod balancing;
mod breaker;
mod endpoints;
mod health;
mod ingress;
mod limits;
mod outlier;
mod retry;
mod routes;
mod seconds;
mod service;
mod timeout;
mod tls;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{Access, ApiKey, Jwks, Jwt, JwtAlgorithm};
pub use alias::{ClientAlias, HeaderValueMatch, TestTrafficHeader, TestTrafficRules};
pub use balancing::{BalancingPolicy, HashCookie, HashOn, Hedge, LoadBalancing};
pub use breaker::{CircuitBreaker, EndpointBreaker, Fallback};
pub use endpoints::{
    CloudMapSource, DnsRecordType, DnsSource, Endpoint, Endpoints, MAX_WEIGHT, RegisteredSource,
};
pub use health::{GrpcHealthCheck, HealthCheck, HttpHealthCheck, TcpHealthCheck};
pub use ingress::Ingress;
pub use limits::{AdaptiveConcurrency, Limits, Priority, RateLimit, RateLimitKey, Side};
pub use outlier::OutlierDetection;
pub use retry::{Backoff, Retry, RetryBudget, RetryConditions, RetryOn};
pub use routes::{
    Abort, Delay, Fault, HeaderEdits, Mirror, PathMatch, Redirect, Respond, Rewrite, Route, RouteHeaders,
    RouteMatch, RouteRetry, RouteTarget, RouteTimeout, TextMatch,
};
pub use seconds::Seconds;
pub use service::{AppProtocol, Service};
pub use timeout::{AttemptTimeout, Timeout};
pub use tls::{CertificateAuthority, Tls};

/// One namespace and the services in it: all that a mesh file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mesh {
    /// The logical group of names, e.g. `hello-world.com`. A service without a `dnsName` of its own is dialled as
    /// `<discoveryName>.<namespace>`. Required.
    #[schemars(
        length(max = 253),
        regex(pattern = r"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*$"),
        extend("x-expected" = "a DNS name, e.g. hello-world.com")
    )]
    pub namespace: String,

    /// The services of the namespace, in the order in which they were written. May be empty. Default: none.
    #[serde(default)]
    pub services: Vec<Service>,
}

impl Mesh {
    /// The service of that `discoveryName`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.discovery_name == name)
    }

    /// Fills in the names that are derived from other names: `discoveryName` from `portName`, and an alias's `dnsName`
    /// from both service and namespace. Names that clients dial are lower-cased, as DNS compares them.
    ///
    /// Loading a mesh file does this; whoever builds a mesh in code calls it once.
    pub fn resolve_names(&mut self) {
        for service in &mut self.services {
            service.resolve_names(&self.namespace);
        }
    }
}

/// For `skip_serializing_if`: a key at its default is left out where writing it would make the file refused.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// For `skip_serializing_if` on switches that are on by default.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// A serde default.
fn yes() -> bool {
    true
}
