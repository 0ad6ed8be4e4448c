//! A service: what is called, and everything that holds for calls to it.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Access, CircuitBreaker, ClientAlias, Endpoints, HealthCheck, Hedge, Ingress, Limits, LoadBalancing,
    OutlierDetection, RateLimit, Retry, RetryConditions, Route, RouteHeaders, Timeout, Tls,
};

/// A service. Only its name and its endpoints are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// The service's name: 1 to 64 of `a-z`, `0-9`, `_` and `-`, unique in the namespace (Service Connect's rule).
    /// Default, as in Service Connect: `portName`; one of the two is required.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(
        regex(pattern = r"^[a-z0-9_-]{1,64}$"),
        extend("x-expected" = "1 to 64 of a-z, 0-9, _ and -")
    )]
    pub discovery_name: String,

    /// The name of the task definition's port mapping, as in Service Connect. Taken note of and shown, not used.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub port_name: Option<String>,

    /// What the service speaks: `http`, `http2`, `grpc` or `tcp`. Default: detected for each connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<AppProtocol>,

    /// The port on which the proxy beside the service accepts calls, as in Service Connect. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), extend("x-not-yet" = "the inbound side's ingressPortOverride"))]
    pub ingress_port_override: Option<u16>,

    /// What clients dial. Default: nothing; such a service can only be the target of another's route.
    #[serde(default)]
    pub client_aliases: Vec<ClientAlias>,

    /// Pins the VIP, the loopback address that the service's `dnsName` resolves to, inside the VIP range (default
    /// 127.255.0.0/16). Default: allotted from the name, and recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<Ipv4Addr>,

    /// Where the endpoints come from. Required.
    pub endpoints: Endpoints,

    /// How long to wait.
    #[serde(default)]
    pub timeout: Timeout,

    /// What is tried again.
    #[serde(default)]
    pub retry: Retry,

    /// A second request beside a slow first one. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,

    /// How an endpoint is picked.
    #[serde(default)]
    pub load_balancing: LoadBalancing,

    /// When an endpoint is ejected.
    #[serde(default)]
    pub outlier_detection: OutlierDetection,

    /// Fails fast while the service as a whole is down. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,

    /// Asks endpoints whether they are well. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,

    /// Bounds on what one proxy has open to the service. Default: none; `{}` sets the defaults of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// Rate limits; all of them hold. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limit: Vec<RateLimit>,

    /// Rules that send some requests elsewhere, or change them. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,

    /// Changes to the headers of all requests and responses; a route's own come after them. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<RouteHeaders>,

    /// Who may call, by API key or token, asked where requests come in: at the ingress that the service is, and in the proxy
    /// in front of its app. Default: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,

    /// Which services of the mesh can be reached through this one by their names, where it is an ingress
    /// (`bowline-proxy run --ingress NAME=ADDR`). Default: none; its routes alone lead into the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,

    /// TLS between proxies, in Service Connect's words. Default: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-not-yet" = "TLS between proxies"))]
    pub tls: Option<Tls>,
}

impl Service {
    /// A service with these endpoints and every default.
    #[must_use]
    pub fn new(discovery_name: impl Into<String>, endpoints: Endpoints) -> Self {
        Self {
            discovery_name: discovery_name.into(),
            port_name: None,
            app_protocol: None,
            ingress_port_override: None,
            client_aliases: Vec::new(),
            vip: None,
            endpoints,
            timeout: Timeout::default(),
            retry: Retry::default(),
            hedge: None,
            load_balancing: LoadBalancing::default(),
            outlier_detection: OutlierDetection::default(),
            circuit_breaker: None,
            health_check: None,
            limits: None,
            rate_limit: Vec::new(),
            routes: Vec::new(),
            headers: None,
            access: None,
            ingress: None,
            tls: None,
        }
    }

    /// The bound on a whole request; `None` = none.
    #[must_use]
    pub fn request_timeout(&self) -> Option<Duration> {
        self.timeout.per_request()
    }

    /// When a connection that speaks `spoken` is closed for want of traffic; `None` = never. `spoken` is what was
    /// detected; a declared `appProtocol` wins over it.
    #[must_use]
    pub fn idle_timeout(&self, spoken: AppProtocol) -> Option<Duration> {
        self.timeout.idle(self.speaks(spoken))
    }

    /// How long a request may wait for response headers; `None` = for ever. `spoken` as for
    /// [`Service::idle_timeout`].
    #[must_use]
    pub fn response_headers_timeout(&self, spoken: AppProtocol) -> Option<Duration> {
        self.timeout.response_headers(self.speaks(spoken))
    }

    /// What is tried again for a request. `spoken` as for [`Service::idle_timeout`].
    #[must_use]
    pub fn retry_conditions(&self, spoken: AppProtocol, idempotent: bool) -> RetryConditions {
        self.retry.conditions(self.speaks(spoken), idempotent)
    }

    /// The declared protocol, or else what was detected. A request found to be gRPC is gRPC also in a service declared
    /// as `http2`, which is what Service Connect's users often write for gRPC.
    #[must_use]
    pub fn speaks(&self, detected: AppProtocol) -> AppProtocol {
        match self.app_protocol {
            Some(AppProtocol::Http | AppProtocol::Http2) if detected == AppProtocol::Grpc => detected,
            Some(declared) => declared,
            None => detected,
        }
    }

    /// The services that its requests may go to beside itself: by its routes, as copies, while its breaker is open, or by
    /// their names where it is an ingress.
    pub fn leads_to(&self) -> impl Iterator<Item = &str> {
        let targets = self.routes.iter().flat_map(|route| &route.to).map(|target| target.service.as_str());
        let mirrors = self.routes.iter().filter_map(|route| Some(route.mirror.as_ref()?.service.as_str()));
        let fallback = self.circuit_breaker.as_ref().and_then(|breaker| breaker.fallback.as_ref());
        let fallback = fallback.and_then(|fallback| fallback.service.as_deref());
        let exposed = self.ingress.iter().flat_map(|ingress| &ingress.expose).map(String::as_str);
        targets.chain(mirrors).chain(fallback).chain(exposed)
    }

    /// See [`super::Mesh::resolve_names`].
    pub(crate) fn resolve_names(&mut self, namespace: &str) {
        if self.discovery_name.is_empty() {
            self.discovery_name = self.port_name.clone().unwrap_or_default();
        }
        for alias in &mut self.client_aliases {
            if alias.dns_name.is_empty() {
                alias.dns_name = format!("{}.{namespace}", self.discovery_name);
            }
            alias.dns_name.make_ascii_lowercase();
        }
    }
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AppProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC over HTTP/2: UNAVAILABLE is retried, and requests have no deadline but their own `grpc-timeout`.
    Grpc,
    /// Bytes, passed through; either side may speak first.
    Tcp,
}

impl AppProtocol {
    /// The word in the mesh file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for AppProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
