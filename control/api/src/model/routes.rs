//! Rules that send some requests elsewhere, or change them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AttemptTimeout, HashOn, Priority, RateLimit, Retry, RetryOn, Seconds, Timeout};

/// One rule. The first whose `match` fits a request decides; a request that none fits goes to the service itself.
///
/// At most one of `to`, `redirect` and `respond` is set. Where a route leads to another service, that service's timeouts,
/// retries, balancing, limits and breaker hold, with the route's own over them; its own routes are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Route {
    /// What metrics, traces and `/explain` call it. Default: its place in the list, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,

    /// Which requests. Default: all.
    #[serde(rename = "match")]
    pub matches: RouteMatch,

    /// Where they go, by weight. Default: the service itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<RouteTarget>,

    /// What keeps a caller with one of several targets: the same value goes to the same target for as long as the weights
    /// stay. A cookie is set where there is none. Default: each request is drawn anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_by: Option<HashOn>,

    /// Timeouts that differ from the service's, key by key. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<RouteTimeout>,

    /// Retries that differ from the service's, key by key. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RouteRetry>,

    /// Changes to the path or host before the request is sent on. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,

    /// Changes to headers. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<RouteHeaders>,

    /// Another service that gets a copy, whose answers are thrown away. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,

    /// Delays or errors made on purpose. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,

    /// Rate limits beside those of the service, for this route's requests alone. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limit: Vec<RateLimit>,

    /// Who is turned away last when adaptive concurrency sheds load: `low`, `normal` or `high`. Default: `normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,

    /// Needs neither key nor token, whatever the service's `access` says. Default false.
    #[serde(skip_serializing_if = "super::is_default")]
    pub public: bool,

    /// Answers with a redirect. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,

    /// Answers with a fixed response. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
}

/// Which requests a route is for: all that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteMatch {
    /// The path. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,

    /// Hosts, without their port and whatever the case: a name, or `*.` and a name for all names below it. Default: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^(\*\.)?[A-Za-z0-9_\[\]:.-]+$")))]
    pub hosts: Vec<String>,

    /// The method, in capitals. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Z]+$"), extend("x-expected" = "a method in capitals, e.g. GET"))]
    pub method: Option<String>,

    /// Headers, by name. Default: any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, TextMatch>,

    /// Query parameters, by name. Default: any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, TextMatch>,
}

/// How a path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PathMatch {
    /// This path, and what is below it: `/v1` fits `/v1` and `/v1/a`, not `/v10`.
    Prefix(String),
    /// This path alone.
    Exact(String),
    /// Segments, of which `{name}` stands for any one, and `{*name}` at the end for all that follow: `/users/{id}/cart`.
    Template(String),
    /// A regular expression that fits the whole path.
    Regex(String),
}

/// How a header or query parameter is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TextMatch {
    /// This value alone.
    Exact(String),
    /// Any value that begins so.
    Prefix(String),
    /// A regular expression that fits the whole value.
    Regex(String),
    /// Whether it is there at all.
    Present(bool),
}

/// A service that gets a share of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTarget {
    /// The `discoveryName` of the service; it may be the route's own. Required.
    pub service: String,

    /// Only endpoints that have all of these labels in their `metadata`, e.g. `version: v2`. Default: as the service says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subset: BTreeMap<String, String>,

    /// Its share against the other targets, 0 to 1000000. Default 1.
    #[serde(default = "one")]
    #[schemars(range(max = 1_000_000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// A route's own timeouts; what is unset is the service's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteTimeout {
    /// See the service's `timeout`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_request_timeout_seconds: Option<Seconds>,

    /// See the service's `timeout`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<Seconds>,

    /// See the service's `timeout`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers_seconds: Option<Seconds>,

    /// See the service's `timeout`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_attempt_seconds: Option<AttemptTimeout>,
}

impl RouteTimeout {
    /// The service's timeouts with this route's over them.
    #[must_use]
    pub fn over(&self, service: &Timeout) -> Timeout {
        Timeout {
            per_request_timeout_seconds: self
                .per_request_timeout_seconds
                .or(service.per_request_timeout_seconds),
            idle_timeout_seconds: self.idle_timeout_seconds.or(service.idle_timeout_seconds),
            response_headers_seconds: self.response_headers_seconds.or(service.response_headers_seconds),
            per_attempt_seconds: self.per_attempt_seconds.unwrap_or(service.per_attempt_seconds),
            connect_seconds: service.connect_seconds,
        }
    }
}

/// A route's own retries; what is unset is the service's. Backoff and budget belong to the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteRetry {
    /// See the service's `retry`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10))]
    pub retries: Option<u32>,

    /// See the service's `retry`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub on: Option<Vec<RetryOn>>,

    /// See the service's `retry`. Default: the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16_777_216))]
    pub max_body_bytes: Option<u64>,
}

impl RouteRetry {
    /// The service's retries with this route's over them.
    #[must_use]
    pub fn over(&self, service: &Retry) -> Retry {
        Retry {
            retries: self.retries.unwrap_or(service.retries),
            on: self.on.clone().or_else(|| service.on.clone()),
            backoff: service.backoff,
            budget: service.budget,
            max_body_bytes: self.max_body_bytes.unwrap_or(service.max_body_bytes),
        }
    }
}

/// Changes to a request's path or host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rewrite {
    /// Takes the place of the prefix that matched, or of the exact path. Default: the path stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,

    /// Takes the place of the whole path; where the route matches a template, `{name}` is what the name stood for.
    /// Default: the path stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// Takes the place of the host. Default: the host stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Changes to the headers of requests and responses. On the way back they hold for the proxy's own answers too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteHeaders {
    /// On the way to the service. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<HeaderEdits>,

    /// On the way back. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<HeaderEdits>,
}

/// Changes to one message's headers, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Names to remove. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,

    /// Headers that take the place of any of their name. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,

    /// Headers beside any of their name. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

/// A copy of requests to another service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// The `discoveryName` of the service that gets the copies. Required.
    pub service: String,

    /// The share of requests that are copied, in percent, 0 to 100. Default 100.
    #[serde(default = "all")]
    #[schemars(range(max = 100))]
    pub percent: u32,
}

/// Trouble made on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// Waits before the request is sent on. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,

    /// Answers with an error instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,

    /// Only for requests that have this header, whatever its value. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_with_header: Option<String>,
}

/// A delay made on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// How long, in seconds. Required.
    pub seconds: Seconds,

    /// The share of requests, in percent, 0 to 100. Default 100.
    #[serde(default = "all")]
    #[schemars(range(max = 100))]
    pub percent: u32,
}

/// An error made on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abort {
    /// The HTTP status, 200 to 599; a gRPC caller gets the gRPC status that stands for it. Required.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,

    /// The share of requests, in percent, 0 to 100. Default 100.
    #[serde(default = "all")]
    #[schemars(range(max = 100))]
    pub percent: u32,
}

fn all() -> u32 {
    100
}

/// A redirect; what is unset stays as it was in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redirect {
    /// The status, 300 to 308. Default 302.
    #[schemars(range(min = 300, max = 308))]
    pub status: u16,

    /// The scheme, `http` or `https`. Default: as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,

    /// The host. Default: as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// The port, 1 to 65535. Default: as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// The path. Default: as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { status: 302, scheme: None, host: None, port: None, path: None }
    }
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Respond {
    /// The status, 200 to 599. Default 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,

    /// The body. Default: empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,

    /// Headers. Default: none but those that HTTP needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200, body: String::new(), headers: BTreeMap::new() }
    }
}
