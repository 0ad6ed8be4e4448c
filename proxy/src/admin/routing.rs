//! By which route a request would go, for `/explain`.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::route::{Mismatch, Request};
use http::{HeaderMap, Method, Uri};

use super::pages::percent_decode;
use crate::snapshot::rules::{Action, Route, Rules, Targets};
use crate::snapshot::{Policy, Service, Snapshot};

/// What `/explain` is asked about.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) uri: Uri,
    method: Method,
    headers: HeaderMap,
}

impl Asked {
    /// `url=…`, and perhaps `method=…` and `header=Name: value`, this one as often as there are headers.
    pub(super) fn new(query: &str) -> Result<Self, String> {
        let usage = "say which: /explain?url=http://server.hello-world.com:5000/\
                     [&method=POST][&header=x-user:%20ann]\n";
        let (mut url, mut method, mut headers) = (None, Method::GET, HeaderMap::new());
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode(value);
            match key {
                "url" => url = Some(value),
                "method" => method = value.parse().map_err(|_| format!("{value:?} is not a method\n"))?,
                "header" => {
                    let header = || {
                        let (name, value) = value.split_once(':')?;
                        Some((name.trim().parse::<http::HeaderName>().ok()?, value.trim().parse().ok()?))
                    };
                    let (name, value) = header()
                        .ok_or_else(|| format!("{value:?} is not a header, such as x-user: ann\n"))?;
                    headers.append(name, value);
                }
                _ => {}
            }
        }
        let url = url.ok_or_else(|| usage.to_owned())?;
        match url.parse::<Uri>() {
            Ok(uri) if uri.authority().is_some() => Ok(Asked { url, uri, method, headers }),
            _ => Err(format!("{url} is not an absolute URL\n")),
        }
    }

    /// The name and port that are called.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            host: self.authority(),
            path: self.uri.path(),
            query: self.uri.query().unwrap_or_default(),
            headers: &self.headers,
        }
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Goes {
    /// To one of these.
    To(Vec<Arc<Service>>),
    /// Nowhere: it is answered with this status.
    Answered(u16),
}

/// Where a request for this service goes, and each step of the decision.
pub(super) fn of(
    snapshot: &Snapshot,
    service: &Arc<Service>,
    asked: &Asked,
    dialled: &str,
) -> (Vec<String>, Goes) {
    let mut steps = Vec::new();
    let Some(rules) = &service.rules else { return (steps, Goes::To(vec![service.clone()])) };
    let request = asked.request();
    let mut fits = None;
    for (route, mismatch) in rules.explain(&request) {
        match mismatch {
            None => {
                fits = Some(route);
                break;
            }
            Some(why) => steps.push(format!("{} does not fit: {}", called(route), said(why))),
        }
    }
    let Some(route) = fits else {
        if !rules.routes().is_empty() {
            steps.push("no route fits: it goes to the service itself".to_owned());
        }
        let own = test_traffic(snapshot, service, rules, asked, dialled, &mut steps);
        return (steps, Goes::To(vec![own]));
    };
    steps.push(format!("{} is the first that fits", called(route)));
    trouble(route, &mut steps);
    let targets = match &route.action {
        Action::Redirect(redirect) => {
            let (path, query) = (asked.uri.path(), asked.uri.query());
            let rewritten = route.rewrite.apply(path, query);
            let (path, query) = match rewritten.as_deref().map(|target| target.split_once('?')) {
                Some(Some((path, query))) => (path, Some(query)),
                Some(None) => (rewritten.as_deref().unwrap_or(path), None),
                None => (path, query),
            };
            let scheme = asked.uri.scheme_str().unwrap_or("http");
            let location = redirect.location(scheme, asked.authority(), path, query);
            steps.push(format!("it is answered with {} to {location}", redirect.status.as_u16()));
            return (steps, Goes::Answered(redirect.status.as_u16()));
        }
        Action::Respond(respond) => {
            let (status, length) = (respond.status.as_u16(), respond.body.len());
            steps.push(format!("it is answered with {status} and a body of {length} bytes"));
            return (steps, Goes::Answered(status));
        }
        Action::To(targets) => targets,
    };
    if let Some(path) = route.rewrite.apply(asked.uri.path(), asked.uri.query()) {
        steps.push(format!("it asks for {path} there"));
    }
    if let Some(host) = &route.host {
        steps.push(format!("its host becomes {}", host.authority));
    }
    if let Some(mirror) = &route.mirror {
        steps.push(format!("a copy of {} % of its requests goes to {}", mirror.percent, mirror.service));
    }
    let mut goes = Vec::new();
    leads(targets, &mut steps);
    for target in targets.list.iter().filter(|target| target.weight > 0) {
        let found = match &target.key {
            None => Some(test_traffic(snapshot, service, rules, asked, dialled, &mut steps)),
            Some(key) => snapshot.services.iter().chain(&snapshot.variants).find(|s| s.key == **key).cloned(),
        };
        match found {
            Some(found) => {
                if let Some(policy) = target.policy.as_deref().filter(|_| !found.bypassed) {
                    steps.push(format!("{}: {}", found.key, timeouts(policy)));
                }
                goes.push(found);
            }
            None => steps.push(format!("this proxy knows nothing of {}", target.service)),
        }
    }
    (steps, Goes::To(goes))
}

fn called(route: &Route) -> String {
    format!("route {}", route.name.as_deref().unwrap_or_default())
}

fn said(why: Mismatch<'_>) -> String {
    match why {
        Mismatch::Method => "it is for another method".to_owned(),
        Mismatch::Path => "it is for other paths".to_owned(),
        Mismatch::Host => "it is for other hosts".to_owned(),
        Mismatch::Header(name) => format!("header {name}"),
        Mismatch::Query(name) => format!("query parameter {name}"),
    }
}

fn trouble(route: &Route, steps: &mut Vec<String>) {
    let Some(fault) = &route.fault else { return };
    let only = fault.only_with.as_ref().map(|name| format!(", with header {name} only")).unwrap_or_default();
    if let Some(delay) = &fault.delay {
        let seconds = delay.time.as_secs_f64();
        steps.push(format!("{} % are held up for {seconds} s on purpose{only}", delay.percent));
    }
    if let Some(abort) = &fault.abort {
        steps.push(format!(
            "{} % are answered with {} on purpose{only}",
            abort.percent,
            abort.status.as_u16()
        ));
    }
}

fn leads(targets: &Targets, steps: &mut Vec<String>) {
    if targets.list.len() < 2 {
        if let Some(key) = targets.list.first().and_then(|target| target.key.as_deref()) {
            steps.push(format!("it leads to {key}"));
        }
        return;
    }
    let sum: u64 = targets.list.iter().map(|target| u64::from(target.weight)).sum();
    let share = |weight: u32| 100.0 * f64::from(weight) / sum.max(1) as f64;
    let each: Vec<String> = targets
        .list
        .iter()
        .map(|target| {
            let key = target.key.as_deref().unwrap_or("the service itself");
            format!("{key} ({:.4} %)", share(target.weight)).replace(".0000 %", " %")
        })
        .collect();
    let by = match &targets.split_by {
        Some(key) => format!("by {}", key.describe()),
        None => "request by request".to_owned(),
    };
    steps.push(format!("it leads to {}, {by}", each.join(", ")));
}

/// The endpoints for test traffic, where it is that and there are some; else the service itself.
fn test_traffic(
    snapshot: &Snapshot,
    service: &Arc<Service>,
    rules: &Rules,
    asked: &Asked,
    dialled: &str,
    steps: &mut Vec<String>,
) -> Arc<Service> {
    let test = rules.test_traffic.as_ref().filter(|test| test.fits(&asked.headers, || dialled.to_owned()));
    let Some(test) = test else { return service.clone() };
    match snapshot.variants.iter().find(|variant| variant.key == *test.key) {
        Some(variant) if !variant.endpoints.is_empty() => {
            steps.push("it is test traffic (testTrafficRules)".to_owned());
            variant.clone()
        }
        _ => {
            steps.push("it is test traffic, and there are no endpoints for that".to_owned());
            service.clone()
        }
    }
}

fn timeouts(policy: &Policy) -> String {
    let seconds = |limit: Option<Duration>| match limit {
        Some(limit) => format!("{} s", limit.as_secs_f64()),
        None => "no limit".to_owned(),
    };
    format!(
        "{} for the whole request, {} to the response head, {} of standing still; at most {} retries",
        seconds(policy.per_request),
        seconds(policy.response_headers),
        seconds(policy.idle),
        policy.retry.retries
    )
}
