//! Routes, as far as gRPC knows them: it passes over a route that looks at queries, and calls fail that meet one that
//! doesn't lead to a cluster. All calls are POSTs without a query to the name that was dialled, so whatever of a route
//! hangs on these is known before.

use bowline_api::Service;
use bowline_api::model::{AppProtocol, BalancingPolicy, HashOn, Route as Rule, RouteTarget, TextMatch};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, MaxStreamDuration};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    NonForwardingAction, RetryPolicy, Route, RouteAction, RouteMatch, WeightedCluster,
};

use crate::encode::around::Around;
use crate::encode::common::{duration, route_all, uint};
use crate::encode::envoy::routes::{back_off, hash_on};
use crate::encode::matching;
use crate::encode::policy::Policy;

/// The routes of a service that is dialled by this name.
pub(super) fn routes(service: &Service, dialled: &str, around: &Around) -> Vec<Route> {
    let fits = |rule: &&Rule| can_fit(rule, dialled);
    let mut routes: Vec<Route> =
        service.routes.iter().filter(fits).map(|rule| route(service, rule, around)).collect();
    let all = ClusterSpecifier::Cluster(service.discovery_name.clone());
    routes.push(route_all(action(all, &Policy::of(service))));
    routes
}

/// Whether a call can fit at all.
fn can_fit(rule: &Rule, dialled: &str) -> bool {
    let matches = &rule.matches;
    matches.method.as_ref().is_none_or(|method| method == "POST")
        && matches.query.values().all(|rule| *rule == TextMatch::Present(false))
        && matching::host_fits(&matches.hosts, dialled)
}

fn route(service: &Service, rule: &Rule, around: &Around) -> Route {
    let matches = RouteMatch {
        path_specifier: Some(matching::path(rule.matches.path.as_ref(), false)),
        headers: matching::headers(&rule.matches),
        ..RouteMatch::default()
    };
    let action = if rule.redirect.is_some() || rule.respond.is_some() {
        // Such calls must not reach the service, and an answer can't be made up.
        Action::NonForwardingAction(NonForwardingAction {})
    } else {
        Action::Route(action(clusters(service, rule), &Policy::of_route(service, rule, around)))
    };
    Route {
        name: rule.name.clone().unwrap_or_default(),
        r#match: Some(matches),
        action: Some(action),
        ..Route::default()
    }
}

fn clusters(service: &Service, rule: &Rule) -> ClusterSpecifier {
    match rule.to.as_slice() {
        [] => ClusterSpecifier::Cluster(service.discovery_name.clone()),
        [to] => ClusterSpecifier::Cluster(to.service.clone()),
        targets => {
            let weight = |to: &RouteTarget| ClusterWeight {
                name: to.service.clone(),
                weight: uint(to.weight),
                ..ClusterWeight::default()
            };
            let clusters = targets.iter().map(weight).collect();
            ClusterSpecifier::WeightedClusters(WeightedCluster { clusters, ..WeightedCluster::default() })
        }
    }
}

fn action(clusters: ClusterSpecifier, policy: &Policy<'_>) -> RouteAction {
    let conditions = policy.conditions(AppProtocol::Grpc, false);
    let words = conditions.unavailable.then(|| "unavailable".to_owned());
    let retry_policy = words.filter(|_| policy.retry.retries > 0).map(|retry_on| RetryPolicy {
        retry_on,
        num_retries: uint(policy.retry.retries),
        retry_back_off: Some(back_off(policy)),
        ..RetryPolicy::default()
    });
    // Its `timeout` is passed over by gRPC, whose callers bring their own deadlines.
    let bound = policy.timeout.per_request().map(|timeout| MaxStreamDuration {
        max_stream_duration: Some(duration(timeout)),
        ..MaxStreamDuration::default()
    });
    RouteAction {
        cluster_specifier: Some(clusters),
        max_stream_duration: bound,
        retry_policy,
        hash_policy: policy.hash.filter(|_| hashes(policy.service)).map(hash_on).into_iter().collect(),
        ..RouteAction::default()
    }
}

/// Whether the service's endpoints can be picked by a hash: gRPC knows the ring, and headers.
pub(crate) fn hashes(service: &Service) -> bool {
    let balancing = &service.load_balancing;
    matches!(balancing.policy, BalancingPolicy::RingHash | BalancingPolicy::Maglev)
        && matches!(balancing.hash, Some(HashOn::Header(_)))
}
