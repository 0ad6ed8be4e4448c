//! What of a service other kinds of clients can't do, or do in another way: for the docs, and for `/clients`.

use bowline_api::Service;
use bowline_api::model::{
    AppProtocol, BalancingPolicy, OutlierDetection, PathMatch, RateLimit, Redirect, RetryBudget, Route, Side,
};

use crate::kind::ClientKind;

/// What is lost or only near for clients of this kind, in plain words; nothing for our own.
///
/// Only what the service uses or would get by default is named, so that the list is empty where nothing is lost.
#[must_use]
pub fn lost(kind: ClientKind, service: &Service) -> Vec<String> {
    let words = match kind {
        ClientKind::Bowline => Vec::new(),
        ClientKind::Envoy => for_envoy(service),
        ClientKind::Grpc => for_grpc(service),
    };
    words.into_iter().map(str::to_owned).collect()
}

fn for_envoy(service: &Service) -> Vec<&'static str> {
    let tcp = service.app_protocol == Some(AppProtocol::Tcp);
    let mut lost = Vec::new();
    let mut note = |when: bool, what: &'static str| lost.extend(when.then_some(what));
    let balancing = &service.load_balancing;
    note(balancing.policy == BalancingPolicy::PeakEwma, "peakEwma: least request instead");
    note(balancing.zone_aware && balancing.zone_weights.is_empty(), "zone awareness");
    note(
        balancing.slow_start_seconds.limit().is_some() && balancing.policy == BalancingPolicy::Random,
        "slow start of policy random",
    );
    note(!balancing.zone_weights.is_empty() && hashes(service), "zoneWeights of a hash policy");
    note(service.app_protocol.is_none(), "detection of TCP: HTTP is taken for granted");
    note(!tcp && service.retry.retries > 0, "attempt timeout auto: the response headers' timeout instead");
    note(!tcp, "responseHeadersSeconds: a timeout of each attempt instead of all together");
    note(!tcp && service.retry.retries > 0, "retry maxBodyBytes: the buffer limit of the connection instead");
    note(!tcp && service.retry.retries > 0, "retry budget");
    note(service.limits.is_some(), "limits: refused at once instead of by age under overload");
    let adaptive = service.limits.as_ref().and_then(|limits| limits.adaptive_concurrency.as_ref());
    note(
        adaptive.is_some(),
        "adaptive concurrency: at VIPs only, its initial limit and priorities not at all",
    );
    note(
        adaptive.is_some_and(|bounds| bounds.buffer_percent > 100),
        "adaptive concurrency bufferPercent over 100: 100",
    );
    note(
        service.health_check.is_some(),
        "health checks: a new endpoint gets requests after its first good one",
    );
    routes_for_envoy(service, &mut note);
    let mut limits =
        service.rate_limit.iter().chain(service.routes.iter().flat_map(|route| &route.rate_limit));
    let limits: Vec<&RateLimit> = limits.by_ref().filter(|limit| limit.side == Side::Outbound).collect();
    note(limits.iter().any(|limit| limit.key.is_some()), "rate limits with a key");
    let held = |limit: &&&RateLimit| limit.key.is_none();
    note(
        limits.iter().any(|limit| held(&limit)),
        "rate limits: a bucket at each alias, and one more at the forward proxy",
    );
    note(
        limits.iter().filter(held).any(|limit| limit.at_once.is_some()),
        "rate limit atOnce: what is beyond the burst is refused, nothing waits",
    );
    common(service, &mut note);
    lost
}

fn routes_for_envoy(service: &Service, note: &mut impl FnMut(bool, &'static str)) {
    let routes = &service.routes;
    let several = |route: &Route| {
        route.to.first().is_some_and(|first| route.to.iter().any(|to| to.service != first.service))
    };
    note(routes.iter().any(several), "routes to several services: timeouts, retries and hash of the first");
    note(
        routes.iter().any(|route| route.split_by.is_some() && hashes(service)),
        "splitBy: the endpoint is picked by the same",
    );
    let limited = |route: &Route| {
        let retried = service.retry.retries > 0 && service.retry.on.is_none();
        retried && route.rate_limit.iter().any(|limit| limit.side == Side::Outbound && limit.key.is_none())
    };
    note(routes.iter().any(limited), "a route with a rate limit: GET is tried again as POST is");
    let asks = |path: &String| path.contains('?');
    let query = |route: &Route| route.rewrite.as_ref().and_then(|it| it.path.as_ref()).is_some_and(asks);
    note(routes.iter().any(query), "rewrite.path with a query: the old query comes after it");
    let names = |route: &Route| match &route.matches.path {
        Some(PathMatch::Template(path)) => path.split('/').filter(|one| one.starts_with('{')).count(),
        _ => 0,
    };
    note(
        routes
            .iter()
            .any(|route| names(route) > 9 && route.rewrite.as_ref().is_some_and(|it| it.path.is_some())),
        "rewrite.path with more than nine names",
    );
    note(
        routes.iter().any(|route| matches!(route.redirect, Some(Redirect { status: 300, .. }))),
        "redirects of status 300: 302 instead",
    );
    note(routes.iter().any(|route| route.priority.is_some()), "priority of routes");
}

fn for_grpc(service: &Service) -> Vec<&'static str> {
    let mut lost = Vec::new();
    let mut note = |when: bool, what: &'static str| lost.extend(when.then_some(what));
    note(service.app_protocol == Some(AppProtocol::Tcp), "the service itself: it doesn't speak gRPC");
    if service.app_protocol == Some(AppProtocol::Tcp) {
        return lost;
    }
    let balancing = &service.load_balancing;
    let by_hash = crate::encode::grpc::routes::hashes(service);
    note(by_hash && balancing.policy == BalancingPolicy::Maglev, "maglev: the ring instead");
    note(
        !by_hash && balancing.policy != BalancingPolicy::RoundRobin,
        "balancing policy: round robin instead",
    );
    note(balancing.bounded_load_percent > 0, "boundedLoadPercent");
    note(balancing.slow_start_seconds.limit().is_some(), "slow start");
    note(balancing.zone_aware && balancing.zone_weights.is_empty(), "zone awareness");
    note(balancing.panic_percent > 0, "panicPercent");
    let parts = service.routes.iter().flat_map(|route| &route.to).any(|to| !to.subset.is_empty());
    note(parts || !balancing.subset.is_empty(), "subset: all endpoints");
    let safe = service.retry.on.is_none();
    note(service.retry.retries > 0 && !safe, "retry conditions other than unavailable");
    note(service.retry.retries > 4, "more than 4 retries");
    note(service.retry.retries > 0 && service.retry.budget != off(), "retry budget");
    note(service.timeout.response_headers_seconds.is_some(), "responseHeadersSeconds");
    note(service.timeout.idle_timeout_seconds.is_some(), "idleTimeoutSeconds");
    note(service.outlier_detection.consecutive_failures > 0, OUTLIER);
    note(service.limits.is_some(), "limits");
    note(service.health_check.is_some(), "active health checks");
    note(service.headers.is_some(), "changes of headers");
    let limits = service.rate_limit.iter().chain(service.routes.iter().flat_map(|route| &route.rate_limit));
    note(limits.into_iter().any(|limit| limit.side == Side::Outbound), "rate limits");
    routes_for_grpc(service, &mut note);
    common(service, &mut note);
    lost
}

fn routes_for_grpc(service: &Service, note: &mut impl FnMut(bool, &'static str)) {
    let mut any = |has: fn(&Route) -> bool, what: &'static str| note(service.routes.iter().any(has), what);
    any(
        |route| route.redirect.is_some() || route.respond.is_some(),
        "routes that redirect or respond: calls fail with UNAVAILABLE",
    );
    any(|route| route.rewrite.is_some(), "rewrites");
    any(|route| route.headers.is_some(), "changes of headers by routes");
    any(|route| route.mirror.is_some(), "mirrors");
    any(|route| route.fault.is_some(), "faults");
    any(|route| route.split_by.is_some(), "splitBy: each call is drawn anew");
    any(|route| route.priority.is_some(), "priority of routes");
    any(
        |route| route.to.first().is_some_and(|first| route.to.iter().any(|to| to.service != first.service)),
        "routes to several services: timeouts, retries and hash of the first",
    );
}

fn hashes(service: &Service) -> bool {
    matches!(service.load_balancing.policy, BalancingPolicy::RingHash | BalancingPolicy::Maglev)
}

const OUTLIER: &str = "outlier detection by consecutive failures";

fn off() -> RetryBudget {
    RetryBudget { percent: 0, ..RetryBudget::default() }
}

/// What only our own proxies do.
fn common(service: &Service, note: &mut impl FnMut(bool, &'static str)) {
    let outlier: &OutlierDetection = &service.outlier_detection;
    note(outlier.is_on(), "an ejected endpoint's way back: at once instead of by one probe");
    note(service.hedge.is_some(), "hedging");
    note(service.circuit_breaker.is_some(), "circuit breaker");
    let limits = service.rate_limit.iter().chain(service.routes.iter().flat_map(|route| &route.rate_limit));
    note(limits.into_iter().any(|limit| limit.side == Side::Inbound), "rate limits where calls come in");
    let test_traffic = service.client_aliases.iter().any(|alias| alias.test_traffic_rules.is_some());
    note(test_traffic, "testTrafficRules");
    note(service.access.is_some(), "access: only where calls come in");
    note(service.tls.is_some(), "TLS");
    note(service.ingress.is_some(), "ingress: only our own proxies are one");
}

#[cfg(test)]
mod tests {
    use bowline_api::model::{Endpoints, Limits};

    use super::*;

    #[test]
    fn nothing_is_lost_for_our_own_and_words_are_said_for_others() {
        let mut service = Service::new("server", Endpoints::Static(Vec::new()));
        service.limits = Some(Limits::default());
        assert_eq!(lost(ClientKind::Bowline, &service), Vec::<String>::new());
        let envoy = lost(ClientKind::Envoy, &service);
        assert!(envoy.contains(&"peakEwma: least request instead".to_owned()), "{envoy:?}");
        assert!(lost(ClientKind::Grpc, &service).contains(&"limits".to_owned()));
        service.load_balancing.policy = BalancingPolicy::LeastRequest;
        assert!(!lost(ClientKind::Envoy, &service).iter().any(|word| word.contains("peakEwma")));
        service.app_protocol = Some(AppProtocol::Tcp);
        assert_eq!(lost(ClientKind::Grpc, &service).len(), 1);
    }

    /// What keys add to what is lost of a service without them.
    fn of(kind: ClientKind, keys: &str) -> String {
        let mut service = Service::new("server", Endpoints::Static(Vec::new()));
        service.app_protocol = Some(AppProtocol::Http);
        let before = lost(kind, &service);
        let mut json = serde_json::to_value(&service).unwrap();
        let keys: serde_json::Value = serde_json::from_str(keys).unwrap();
        json.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let after = lost(kind, &serde_json::from_value(json).unwrap());
        after.into_iter().filter(|word| !before.contains(word)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_lost_of_traffic_policy_is_said() {
        let route = |keys: &str| format!(r#"{{"routes":[{keys}]}}"#);
        for (keys, envoy, grpc) in [
            (r#"{"healthCheck":{"tcp":{}}}"#.to_owned(), "its first good one", "active health checks"),
            (r#"{"hedge":{}}"#.to_owned(), "hedging", "hedging"),
            (r#"{"circuitBreaker":{}}"#.to_owned(), "circuit breaker", "circuit breaker"),
            (r#"{"access":{}}"#.to_owned(), "access", "access"),
            (r#"{"ingress":{}}"#.to_owned(), "ingress", "ingress"),
            (r#"{"headers":{}}"#.to_owned(), "", "changes of headers"),
            (r#"{"loadBalancing":{"subset":{"a":"b"}}}"#.to_owned(), "", "subset"),
            (r#"{"loadBalancing":{"slowStartSeconds":1}}"#.to_owned(), "", "slow start"),
            (
                r#"{"loadBalancing":{"policy":"random","slowStartSeconds":1}}"#.to_owned(),
                "slow start",
                "slow start",
            ),
            (r#"{"loadBalancing":{"policy":"maglev","zoneWeights":{"a":1}}}"#.to_owned(), "zoneWeights", ""),
            (
                r#"{"loadBalancing":{"policy":"maglev","hash":{"header":"a"}}}"#.to_owned(),
                "",
                "the ring instead",
            ),
            (
                r#"{"rateLimit":[{"requestsPerSecond":1}]}"#.to_owned(),
                "where calls come in",
                "where calls come in",
            ),
            (
                r#"{"rateLimit":[{"requestsPerSecond":1,"side":"outbound"}]}"#.to_owned(),
                "a bucket at each",
                "rate limits",
            ),
            (
                r#"{"rateLimit":[{"requestsPerSecond":1,"side":"outbound","key":"clientAddress"}]}"#
                    .to_owned(),
                "with a key",
                "rate limits",
            ),
            (
                r#"{"rateLimit":[{"requestsPerSecond":1,"side":"outbound","atOnce":1}]}"#.to_owned(),
                "atOnce",
                "rate limits",
            ),
            (r#"{"limits":{"adaptiveConcurrency":{}}}"#.to_owned(), "at VIPs only", "limits"),
            (route(r#"{"match":{"path":{"prefix":"/a"}}}"#), "", ""),
            (route(r#"{"to":[{"service":"b"}],"timeout":{},"retry":{}}"#), "", ""),
            (route(r#"{"to":[{"service":"b","subset":{"a":"b"}}]}"#), "", "subset"),
            (route(r#"{"to":[{"service":"b"},{"service":"c"}]}"#), "of the first", "of the first"),
            (route(r#"{"to":[{"service":"b"},{"service":"b"}],"splitBy":"path"}"#), "", "splitBy"),
            (route(r#"{"rewrite":{"path":"/a"}}"#), "", "rewrites"),
            (route(r#"{"rewrite":{"path":"/a?b"}}"#), "with a query", "rewrites"),
            (route(r#"{"headers":{}}"#), "", "changes of headers by routes"),
            (route(r#"{"mirror":{"service":"b"}}"#), "", "mirrors"),
            (route(r#"{"fault":{}}"#), "", "faults"),
            (route(r#"{"redirect":{}}"#), "", "UNAVAILABLE"),
            (route(r#"{"redirect":{"status":300}}"#), "302 instead", "UNAVAILABLE"),
            (route(r#"{"respond":{}}"#), "", "UNAVAILABLE"),
            (route(r#"{"priority":"high"}"#), "priority", "priority"),
            (
                route(r#"{"rateLimit":[{"requestsPerSecond":1,"side":"outbound"}]}"#),
                "GET is tried again as POST is",
                "rate limits",
            ),
        ] {
            assert_eq!(of(ClientKind::Bowline, &keys), "", "{keys}");
            for (kind, wanted) in [(ClientKind::Envoy, envoy), (ClientKind::Grpc, grpc)] {
                let seen = of(kind, &keys);
                assert!(
                    seen.contains(wanted) && seen.is_empty() == wanted.is_empty(),
                    "{kind}: {keys}: {seen:?}"
                );
            }
        }
    }
}
