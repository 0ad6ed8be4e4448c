//! Routes.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_api::Service;
use bowline_api::model::{
    AppProtocol, AttemptTimeout, HashOn, RetryConditions, Route as Rule, RouteMatch as RuleMatch, RouteTarget,
};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Metadata, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::route::v3::redirect_action::RedirectResponseCode;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType as PredicateConfig;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HashPolicy, HostRewriteSpecifier, RequestMirrorPolicy,
};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, Route, RouteAction, RouteMatch, VirtualHost,
    WeightedCluster,
};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::google::protobuf::{BoolValue, Duration as PbDuration};

use super::cluster::labels;
use super::filters::{held, of_route, of_service, percent};
use super::rewrite::{NewPath, new_path};
use crate::encode::around::Around;
use crate::encode::common::{duration, pack, route_all, uint};
use crate::encode::load::LABELS;
use crate::encode::matching;
use crate::encode::policy::Policy;

const IDEMPOTENT: &str = "GET|HEAD|PUT|DELETE|OPTIONS|TRACE";

/// A virtual host without a name, and without domains.
pub(super) fn host(service: &Service, around: &Around) -> VirtualHost {
    let headers = service.headers.as_ref();
    let (request_headers_to_remove, request_headers_to_add) =
        matching::edits(headers.and_then(|headers| headers.request.as_ref()));
    let (response_headers_to_remove, response_headers_to_add) =
        matching::edits(headers.and_then(|headers| headers.response.as_ref()));
    VirtualHost {
        routes: routes(service, around),
        request_headers_to_remove,
        request_headers_to_add,
        response_headers_to_remove,
        response_headers_to_add,
        typed_per_filter_config: of_service(service),
        ..VirtualHost::default()
    }
}

/// The longest body that a route answers with, in bytes: Envoy refuses those longer than it is told of.
pub(super) fn longest_body(service: &Service) -> usize {
    let bodies = service.routes.iter().filter_map(|rule| rule.respond.as_ref());
    bodies.map(|respond| respond.body.len()).max().unwrap_or(0)
}

/// Retries depend on the method, which in Envoy only a route can tell: so there are two, one for methods that may be
/// processed twice, and one for the rest.
fn routes(service: &Service, around: &Around) -> Vec<Route> {
    let mut routes = Vec::new();
    for rule in &service.routes {
        of_rule(service, rule, around, &mut routes);
    }
    let policy = Policy::of(service);
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(service.discovery_name.clone())),
        ..RouteAction::default()
    };
    by_method(&route_all(action), &policy, true, &mut routes);
    routes
}

fn of_rule(service: &Service, rule: &Rule, around: &Around, routes: &mut Vec<Route>) {
    let headers = rule.headers.as_ref();
    let (request_headers_to_remove, request_headers_to_add) =
        matching::edits(headers.and_then(|headers| headers.request.as_ref()));
    let (response_headers_to_remove, response_headers_to_add) =
        matching::edits(headers.and_then(|headers| headers.response.as_ref()));
    let mut route = Route {
        name: rule.name.clone().unwrap_or_default(),
        r#match: Some(matches(&rule.matches)),
        request_headers_to_remove,
        request_headers_to_add,
        response_headers_to_remove,
        response_headers_to_add,
        typed_per_filter_config: of_route(service, rule),
        ..Route::default()
    };
    if let Some(action) = redirect(rule) {
        route.action = Some(Action::Redirect(action));
        routes.push(route);
    } else if let Some(respond) = &rule.respond {
        // Before the changes that the route makes to every answer.
        let own = respond.headers.iter();
        let own = own
            .map(|(name, value)| matching::header(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd));
        route.response_headers_to_add.splice(..0, own);
        let body = DataSource {
            specifier: Some(Specifier::InlineString(respond.body.clone())),
            ..DataSource::default()
        };
        route.action = Some(Action::DirectResponse(DirectResponseAction {
            status: respond.status.into(),
            body: (!respond.body.is_empty()).then_some(body),
            ..DirectResponseAction::default()
        }));
        routes.push(route);
    } else {
        route.action = Some(Action::Route(forward(service, rule)));
        let policy = Policy::of_route(service, rule, around);
        // Each route has a bucket of its own: two would let twice as much through.
        by_method(&route, &policy, held(&rule.rate_limit).next().is_none(), routes);
    }
}

fn matches(rule: &RuleMatch) -> RouteMatch {
    let mut headers = Vec::new();
    headers.extend(
        rule.method.as_ref().map(|method| matching::header_regex(":method", matching::escaped(method))),
    );
    if !rule.hosts.is_empty() {
        headers.push(matching::header_regex(":authority", matching::hosts(&rule.hosts)));
    }
    headers.extend(matching::headers(rule));
    RouteMatch {
        path_specifier: Some(matching::path(rule.path.as_ref(), true)),
        headers,
        query_parameters: matching::query(rule),
        ..RouteMatch::default()
    }
}

/// Where the requests go, and how they are changed.
fn forward(service: &Service, rule: &Rule) -> RouteAction {
    let mut action = RouteAction::default();
    match rule.to.as_slice() {
        [] => action.cluster_specifier = Some(ClusterSpecifier::Cluster(service.discovery_name.clone())),
        [to] => {
            action.cluster_specifier = Some(ClusterSpecifier::Cluster(to.service.clone()));
            action.metadata_match = part(&to.subset);
        }
        targets => {
            let weight = |to: &RouteTarget| ClusterWeight {
                name: to.service.clone(),
                weight: uint(to.weight),
                metadata_match: part(&to.subset),
                ..ClusterWeight::default()
            };
            let by_hash = RandomValueSpecifier::UseHashPolicy(BoolValue { value: true });
            action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: targets.iter().map(weight).collect(),
                random_value_specifier: rule.split_by.as_ref().map(|_| by_hash),
                ..WeightedCluster::default()
            }));
            action.hash_policy = rule.split_by.as_ref().map(hash_on).into_iter().collect();
        }
    }
    match new_path(rule) {
        NewPath::Same => {}
        NewPath::Prefix(prefix) => action.prefix_rewrite = prefix,
        NewPath::Regex(regex) => action.regex_rewrite = Some(regex),
    }
    let host = rule.rewrite.as_ref().and_then(|rewrite| rewrite.host.clone());
    action.host_rewrite_specifier = host.map(HostRewriteSpecifier::HostRewriteLiteral);
    let mirror = rule.mirror.as_ref().map(|mirror| RequestMirrorPolicy {
        cluster: mirror.service.clone(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(percent(mirror.percent)),
            ..RuntimeFractionalPercent::default()
        }),
        // Ours get the same host as the request itself.
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    });
    action.request_mirror_policies = mirror.into_iter().collect();
    action
}

/// The part of a service that has these labels.
pub(super) fn part(subset: &BTreeMap<String, String>) -> Option<Metadata> {
    let filter_metadata = [(LABELS.to_owned(), labels(subset))].into_iter().collect();
    (!subset.is_empty()).then(|| Metadata { filter_metadata, ..Metadata::default() })
}

fn redirect(rule: &Rule) -> Option<RedirectAction> {
    let redirect = rule.redirect.as_ref()?;
    let code = match redirect.status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    let path = match (&redirect.path, new_path(rule)) {
        (Some(path), _) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
        (None, NewPath::Same) => None,
        (None, NewPath::Prefix(prefix)) => Some(PathRewriteSpecifier::PrefixRewrite(prefix)),
        (None, NewPath::Regex(regex)) => Some(PathRewriteSpecifier::RegexRewrite(regex)),
    };
    Some(RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.map(u32::from).unwrap_or_default(),
        response_code: code.into(),
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..RedirectAction::default()
    })
}

/// A route with what holds for its requests. `divided`: by the method, where that matters.
fn by_method(route: &Route, policy: &Policy<'_>, divided: bool, routes: &mut Vec<Route>) {
    let detected = match policy.service.app_protocol {
        Some(AppProtocol::Grpc) => AppProtocol::Grpc,
        _ => AppProtocol::Http,
    };
    let twice = policy.conditions(detected, true);
    let once = policy.conditions(detected, false);
    let with = |conditions: &RetryConditions| {
        let mut route = route.clone();
        if let Some(Action::Route(action)) = &mut route.action {
            complete(action, policy, conditions);
        }
        route
    };
    if twice != once && divided {
        let mut route = with(&twice);
        if let Some(matches) = &mut route.r#match {
            matches.headers.push(matching::header_regex(":method", IDEMPOTENT.to_owned()));
        }
        routes.push(route);
    }
    routes.push(with(&once));
}

fn complete(action: &mut RouteAction, policy: &Policy<'_>, conditions: &RetryConditions) {
    // Envoy's bounds the whole response, as `perRequestTimeoutSeconds` does; unset it would be 15 s.
    action.timeout = Some(duration(policy.timeout.per_request().unwrap_or_default()));
    action.idle_timeout = policy.timeout.idle_timeout_seconds.map(|idle| duration(idle.get()));
    action.retry_policy = retry_policy(policy, conditions);
    if action.hash_policy.is_empty() {
        action.hash_policy = policy.hash.map(hash_on).into_iter().collect();
    }
}

fn retry_policy(policy: &Policy<'_>, conditions: &RetryConditions) -> Option<RetryPolicy> {
    let mut on = Vec::new();
    // Ours includes requests of which nothing was written.
    on.extend(conditions.connect_failure.then_some("connect-failure,reset-before-request"));
    on.extend(conditions.refused_stream.then_some("refused-stream"));
    // What a timeout of an attempt is to Envoy.
    on.extend((conditions.reset || conditions.timeout).then_some("reset"));
    on.extend(conditions.unavailable.then_some("unavailable"));
    on.extend((!conditions.statuses.is_empty()).then_some("retriable-status-codes"));
    let spoken = policy.service.app_protocol.unwrap_or(AppProtocol::Http);
    // The only timeout of Envoy's that ends with the response's headers is an attempt's.
    let headers = policy.timeout.response_headers(spoken);
    let attempt = match policy.timeout.per_attempt_seconds {
        AttemptTimeout::Auto => None,
        AttemptTimeout::Fixed(seconds) => seconds.limit(),
    };
    let per_try_timeout = [headers, attempt].into_iter().flatten().min().map(duration);
    if on.is_empty() && per_try_timeout.is_none() {
        return None;
    }
    let predicate = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(PredicateConfig::TypedConfig(pack(&PreviousHostsPredicate {}))),
    };
    Some(RetryPolicy {
        retry_on: on.join(","),
        num_retries: uint(policy.retry.retries),
        per_try_timeout,
        retriable_status_codes: conditions.statuses.iter().map(|status| u32::from(*status)).collect(),
        retry_host_predicate: vec![predicate],
        // A dead endpoint has nothing in flight, and is drawn again and again.
        host_selection_retry_max_attempts: 20,
        retry_back_off: Some(back_off(policy)),
        ..RetryPolicy::default()
    })
}

/// The waits between attempts, which can't be nothing.
pub(crate) fn back_off(policy: &Policy<'_>) -> RetryBackOff {
    let interval =
        |wait: Duration| -> Option<PbDuration> { Some(duration(wait.max(Duration::from_millis(1)))) };
    let backoff = &policy.retry.backoff;
    RetryBackOff { base_interval: interval(backoff.base()), max_interval: interval(backoff.max()) }
}

fn without_query() -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(matching::regex("\\?.*$".to_owned())),
        substitution: String::new(),
    }
}

/// What is hashed.
pub(crate) fn hash_on(on: &HashOn) -> HashPolicy {
    let policy = match on {
        HashOn::ClientAddress => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashOn::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
        }
        HashOn::Cookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            // With a lifetime Envoy sets it where there is none; 0 lasts for the session there too.
            ttl: Some(duration(Duration::from_secs(cookie.ttl_seconds.into()))),
            path: cookie.path.clone(),
            ..Cookie::default()
        }),
        HashOn::Path => PolicySpecifier::Header(Header {
            // The path with its query, as Envoy has it: cut off at the query.
            header_name: ":path".to_owned(),
            regex_rewrite: Some(without_query()),
        }),
        HashOn::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() }),
    };
    HashPolicy { policy_specifier: Some(policy), ..HashPolicy::default() }
}
