//! What guards a service: breakers, limits, keys and tokens.

use super::{Located, Problem, Step};
use crate::model::{AppProtocol, CircuitBreaker, Fallback, RateLimit, Side};

pub(super) fn check(located: &Located<'_>, problems: &mut Vec<Problem>) {
    only_http(located, problems);
    breaker(located, problems);
    adaptive(located, problems);
    let service = &located.service;
    rates(located, &service.rate_limit, &[], problems);
    for (i, route) in service.routes.iter().enumerate() {
        rates(located, &route.rate_limit, &[Step::Key("routes"), Step::Index(i)], problems);
    }
    access(located, problems);
}

/// Keys that look at requests, of which a TCP service has none.
fn only_http(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let service = &located.service;
    if service.app_protocol != Some(AppProtocol::Tcp) {
        return;
    }
    let adaptive = service.limits.as_ref().is_some_and(|limits| limits.adaptive_concurrency.is_some());
    for (set, steps) in [
        (service.hedge.is_some(), &[Step::Key("hedge")][..]),
        (service.circuit_breaker.is_some(), &[Step::Key("circuitBreaker")]),
        (!service.rate_limit.is_empty(), &[Step::Key("rateLimit")]),
        (adaptive, &[Step::Key("limits"), Step::Key("adaptiveConcurrency")]),
        (service.access.is_some(), &[Step::Key("access")]),
        (service.ingress.is_some(), &[Step::Key("ingress")]),
    ] {
        if set {
            let message = "it looks at requests, and a service of appProtocol tcp has none".to_owned();
            problems.push(located.problem(
                steps,
                message,
                Some("take it out, or declare another appProtocol"),
            ));
        }
    }
}

fn breaker(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let Some(breaker) = &located.service.circuit_breaker else { return };
    let at = Step::Key("circuitBreaker");
    let CircuitBreaker { per_endpoint, fallback, .. } = breaker;
    let never = "errorPercent and consecutiveFailures are both 0: it would never open";
    let help = Some("set one of them");
    // With those of endpoints beside it, it may be off.
    if breaker.error_percent == 0 && breaker.consecutive_failures == 0 && per_endpoint.is_none() {
        problems.push(located.problem(&[at], never.to_owned(), help));
    }
    if per_endpoint.as_ref().is_some_and(|b| b.error_percent == 0 && b.consecutive_failures == 0) {
        problems.push(located.problem(&[at, Step::Key("perEndpoint")], never.to_owned(), help));
    }
    let fallback_at = [at, Step::Key("fallback")];
    match fallback {
        Some(Fallback { service: Some(_), respond: Some(_) }) => {
            let message = "expected one of service and respond, not both".to_owned();
            problems.push(located.problem(&fallback_at, message, None));
        }
        Some(Fallback { service: Some(name), .. }) if *name == located.service.discovery_name => {
            let message = format!("{name:?} is the service itself, whose breaker is open then");
            let steps = [at, Step::Key("fallback"), Step::Key("service")];
            problems.push(located.problem(&steps, message, None));
        }
        _ => {}
    }
}

fn adaptive(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let limits = located.service.limits.as_ref();
    let Some(adaptive) = limits.and_then(|limits| limits.adaptive_concurrency.as_ref()) else { return };
    let at = [Step::Key("limits"), Step::Key("adaptiveConcurrency")];
    let (min, max) = (adaptive.min_concurrency, adaptive.max_concurrency);
    if min > max {
        let message = format!("maxConcurrency ({max}) is less than minConcurrency ({min})");
        problems.push(located.problem(&[at[0], at[1], Step::Key("maxConcurrency")], message, None));
    }
    if let Some(name) = &adaptive.priority_header {
        header_name(located, name, &[at[0], at[1], Step::Key("priorityHeader")], problems);
    }
}

fn rates(located: &Located<'_>, limits: &[RateLimit], within: &[Step<'_>], problems: &mut Vec<Problem>) {
    for (i, limit) in limits.iter().enumerate() {
        let at = |key: Option<&'static str>| {
            let mut steps = within.to_vec();
            steps.extend([Step::Key("rateLimit"), Step::Index(i)]);
            steps.extend(key.map(Step::Key));
            steps
        };
        let rate = match (limit.requests_per_second, limit.requests_per_minute) {
            (Some(rate), None) | (None, Some(rate)) => rate,
            (None, None) => {
                let message =
                    "missing key \"requestsPerSecond\", or \"requestsPerMinute\" in its place".to_owned();
                problems.push(located.problem(&at(None), message, None));
                continue;
            }
            (Some(_), Some(_)) => {
                let message = "expected one of requestsPerSecond and requestsPerMinute, not both".to_owned();
                problems.push(located.problem(
                    &at(Some("requestsPerMinute")),
                    message,
                    Some("write two limits"),
                ));
                continue;
            }
        };
        let burst = limit.burst.unwrap_or(rate);
        if let Some(at_once) = limit.at_once.filter(|at_once| *at_once > burst) {
            let message =
                format!("atOnce ({at_once}) is more than the burst ({burst}) of which it is a part");
            problems.push(located.problem(&at(Some("atOnce")), message, None));
        }
        if let Some(crate::model::RateLimitKey::Header(name)) = &limit.key {
            let mut steps = at(Some("key"));
            steps.push(Step::Key("header"));
            header_name(located, name, &steps, problems);
        }
        if limit.side == Side::Outbound && limit.key == Some(crate::model::RateLimitKey::ClientAddress) {
            let message = "in a caller's own proxy there is one client, the app itself".to_owned();
            problems.push(located.problem(&at(Some("key")), message, Some("leave side out, or key")));
        }
    }
}

fn access(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let Some(access) = &located.service.access else { return };
    let at = Step::Key("access");
    if access.api_key.is_none() && access.jwt.is_none() {
        let message = "expected apiKey, jwt or both".to_owned();
        problems.push(located.problem(&[at], message, None));
    }
    if let Some(key) = &access.api_key {
        let within = [at, Step::Key("apiKey")];
        header_name(located, &key.header, &[within[0], within[1], Step::Key("header")], problems);
        if key.sha256.is_empty() {
            let steps = [within[0], within[1], Step::Key("sha256")];
            problems.push(located.problem(&steps, "without a key nobody could call".to_owned(), None));
        }
        for (caller, hash) in &key.sha256 {
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                let steps = [within[0], within[1], Step::Key("sha256"), Step::Key(caller)];
                let message = "expected a SHA-256 as 64 hexadecimal digits".to_owned();
                problems.push(located.problem(&steps, message, Some("printf %s KEY | sha256sum")));
            }
        }
    }
    if let Some(jwt) = &access.jwt {
        let within = [at, Step::Key("jwt")];
        header_name(located, &jwt.header, &[within[0], within[1], Step::Key("header")], problems);
        for (claim, header) in &jwt.claims_to_headers {
            let steps = [within[0], within[1], Step::Key("claimsToHeaders"), Step::Key(claim)];
            header_name(located, header, &steps, problems);
            if let Some(why) = super::header_kept_from_rules(header) {
                let message = format!("{header} can't carry a claim: {why}");
                problems.push(located.problem(&steps, message, None));
            }
        }
        if let crate::model::Jwks::Url(url) = &jwt.jwks
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            let steps = [within[0], within[1], Step::Key("jwks"), Step::Key("url")];
            problems.push(located.problem(&steps, format!("{url:?} is no http or https URL"), None));
        }
    }
}

/// A header's name must be one (RFC 9110, 5.1).
pub(super) fn header_name(
    located: &Located<'_>,
    name: &str,
    steps: &[Step<'_>],
    problems: &mut Vec<Problem>,
) {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(fits) {
        problems.push(located.problem(steps, format!("{name:?} is not the name of a header"), None));
    }
}
