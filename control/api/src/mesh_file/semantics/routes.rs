//! Routes, and what else says what becomes of a request: what the proxy could not compile, or what could never happen.

use std::collections::{BTreeMap, BTreeSet};

use super::{Located, Problem, Step};
use crate::model::{
    AppProtocol, Fault, HashOn, HeaderEdits, Mirror, PathMatch, Redirect, Respond, Rewrite, Route,
    RouteHeaders,
};

mod path;
mod words;

use path::{template_names, wrong_path, wrong_target};
pub use words::header_kept_from_rules;
use words::{wrong_header_name, wrong_header_value, wrong_host};

/// What each service of the mesh speaks.
pub(super) type Protocols<'a> = BTreeMap<&'a str, Option<AppProtocol>>;

pub(super) fn check(located: &Located<'_>, protocols: &Protocols<'_>, problems: &mut Vec<Problem>) {
    let service = &located.service;
    only_http(located, problems);
    if let Some(headers) = &service.headers {
        edits(&mut At { located, steps: vec![Step::Key("headers")], problems }, headers);
    }
    for (i, alias) in service.client_aliases.iter().enumerate() {
        let Some(rules) = &alias.test_traffic_rules else { continue };
        let steps = vec![
            Step::Key("clientAliases"),
            Step::Index(i),
            Step::Key("testTrafficRules"),
            Step::Key("header"),
            Step::Key("name"),
        ];
        let mut at = At { located, steps, problems };
        at.wrong(&[], wrong_header_name(&rules.header.name));
    }
    let mut names = BTreeSet::new();
    for (i, route) in service.routes.iter().enumerate() {
        let mut at = At { located, steps: vec![Step::Key("routes"), Step::Index(i)], problems };
        let name = route.name.clone().unwrap_or_else(|| i.to_string());
        if !names.insert(name.clone()) {
            let message = format!("another route is called {name:?} already");
            let help = "a route without a name is called by its place in the list, from 0";
            at.problem(&[Step::Key("name")], message, Some(help));
        }
        matches(&mut at, route);
        ways(&mut at, route);
        targets(&mut at, route, protocols);
        if let Some(rewrite) = &route.rewrite {
            rewrites(&mut at, route, rewrite);
        }
        if let Some(headers) = &route.headers {
            at.below(Step::Key("headers"), |at| edits(at, headers));
        }
        if let Some(fault) = &route.fault {
            at.below(Step::Key("fault"), |at| faults(at, fault));
        }
        if let Some(redirect) = &route.redirect {
            at.below(Step::Key("redirect"), |at| redirects(at, route, redirect));
        }
        if let Some(respond) = &route.respond {
            at.below(Step::Key("respond"), |at| responds(at, respond));
        }
    }
}

/// A place in the file.
struct At<'a, 'f> {
    located: &'a Located<'f>,
    steps: Vec<Step<'a>>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> At<'a, '_> {
    fn problem(&mut self, below: &[Step<'_>], message: String, help: Option<&str>) {
        let steps: Vec<Step<'_>> = self.steps.iter().chain(below).copied().collect();
        let problem = self.located.problem(&steps, message, help);
        self.problems.push(problem);
    }

    /// A problem, if there is one.
    fn wrong(&mut self, below: &[Step<'_>], wrong: Option<String>) {
        if let Some(message) = wrong {
            self.problem(below, message, None);
        }
    }

    fn below(&mut self, step: Step<'a>, run: impl FnOnce(&mut Self)) {
        self.steps.push(step);
        run(self);
        self.steps.pop();
    }
}

/// A TCP service has no requests to look at.
fn only_http(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let service = &located.service;
    if service.app_protocol != Some(AppProtocol::Tcp) {
        return;
    }
    let help = Some("take it out, or declare another appProtocol");
    let message = || "it looks at requests, and a service of appProtocol tcp has none".to_owned();
    if !service.routes.is_empty() {
        problems.push(located.problem(&[Step::Key("routes")], message(), help));
    }
    if service.headers.is_some() {
        problems.push(located.problem(&[Step::Key("headers")], message(), help));
    }
    for (i, alias) in service.client_aliases.iter().enumerate() {
        if alias.test_traffic_rules.is_some() {
            let steps = [Step::Key("clientAliases"), Step::Index(i), Step::Key("testTrafficRules")];
            problems.push(located.problem(&steps, message(), help));
        }
    }
}

fn matches(at: &mut At<'_, '_>, route: &Route) {
    let matches = &route.matches;
    let below = |key: &'static str| [Step::Key("match"), Step::Key("path"), Step::Key(key)];
    match &matches.path {
        None | Some(PathMatch::Regex(_)) => {}
        Some(PathMatch::Exact(path)) => at.wrong(&below("exact"), wrong_path(path)),
        Some(PathMatch::Prefix(path)) => at.wrong(&below("prefix"), wrong_path(path)),
        Some(PathMatch::Template(path)) => {
            at.wrong(&below("template"), wrong_path(path).or_else(|| template_names(path).err()));
        }
    }
    for (i, host) in matches.hosts.iter().enumerate() {
        let wrong = wrong_host(host.strip_prefix("*.").unwrap_or(host), false);
        at.wrong(&[Step::Key("match"), Step::Key("hosts"), Step::Index(i)], wrong);
    }
    for name in matches.headers.keys() {
        at.wrong(&[Step::Key("match"), Step::Key("headers"), Step::Key(name)], wrong_header_name(name));
    }
}

/// Where the requests go: one way.
fn ways(at: &mut At<'_, '_>, route: &Route) {
    let ways = [
        ("to", !route.to.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("respond", route.respond.is_some()),
    ];
    let mut set = ways.iter().filter(|(_, set)| *set);
    let Some((first, _)) = set.next() else { return };
    if let Some((second, _)) = set.next() {
        at.problem(
            &[Step::Key(second)],
            format!("a route has one of to, redirect and respond, not {first} and {second}"),
            None,
        );
        return;
    }
    if *first == "to" {
        return;
    }
    for (key, set) in [
        ("splitBy", route.split_by.is_some()),
        ("timeout", route.timeout.is_some()),
        ("retry", route.retry.is_some()),
        ("mirror", route.mirror.is_some()),
    ] {
        if set {
            at.problem(
                &[Step::Key(key)],
                format!("with {first} nothing is sent on: {key} would never count"),
                None,
            );
        }
    }
}

fn targets(at: &mut At<'_, '_>, route: &Route, protocols: &Protocols<'_>) {
    let is_tcp = |name: &str| protocols.get(name).is_some_and(|p| *p == Some(AppProtocol::Tcp));
    let to_tcp = |name: &str| format!("service {name:?} is of appProtocol tcp, and takes no requests");
    for (j, target) in route.to.iter().enumerate() {
        if is_tcp(&target.service) {
            at.problem(
                &[Step::Key("to"), Step::Index(j), Step::Key("service")],
                to_tcp(&target.service),
                None,
            );
        }
    }
    if let Some(Mirror { service, .. }) = &route.mirror
        && is_tcp(service)
    {
        at.problem(&[Step::Key("mirror"), Step::Key("service")], to_tcp(service), None);
    }
    if !route.to.is_empty() && route.to.iter().all(|target| target.weight == 0) {
        let message = "all weights are 0: the requests could go nowhere".to_owned();
        at.problem(&[Step::Key("to")], message, Some("give one of them a weight, or use respond"));
    }
    let Some(by) = &route.split_by else { return };
    if route.to.len() < 2 && route.redirect.is_none() && route.respond.is_none() {
        let message = "splitBy needs two targets to split between".to_owned();
        at.problem(&[Step::Key("splitBy")], message, Some("name them in to"));
    }
    match by {
        HashOn::Header(name) => {
            at.wrong(&[Step::Key("splitBy"), Step::Key("header")], wrong_header_name(name));
        }
        HashOn::Cookie(cookie) => {
            let wrong = wrong_header_name(&cookie.name)
                .map(|_| format!("{:?} can't be the name of a cookie", cookie.name));
            at.wrong(&[Step::Key("splitBy"), Step::Key("cookie"), Step::Key("name")], wrong);
            let fit = cookie.path.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b';');
            let wrong = (!fit).then(|| format!("{:?} can't be the path of a cookie", cookie.path));
            at.wrong(&[Step::Key("splitBy"), Step::Key("cookie"), Step::Key("path")], wrong);
        }
        HashOn::ClientAddress | HashOn::Query(_) | HashOn::Path => {}
    }
}

/// The names that a new path may use: those of the template that the route matches.
fn names_of(route: &Route) -> Option<BTreeSet<&str>> {
    match &route.matches.path {
        Some(PathMatch::Template(template)) => template_names(template).ok(),
        _ => None,
    }
}

/// Why this can't be the new path of a route's requests.
fn wrong_new_path(route: &Route, path: &str) -> Option<String> {
    let is_template = matches!(route.matches.path, Some(PathMatch::Template(_)));
    if let Some(wrong) = wrong_target(path, is_template) {
        return Some(wrong);
    }
    if !is_template {
        return None;
    }
    let used = match template_names(path) {
        Ok(used) => used,
        Err(wrong) => return Some(wrong),
    };
    // A template that is wrong itself is told where it stands.
    let known = names_of(route)?;
    let unknown = used.iter().find(|name| !known.contains(**name))?;
    Some(format!("the route's template has no {{{unknown}}}"))
}

fn rewrites(at: &mut At<'_, '_>, route: &Route, rewrite: &Rewrite) {
    let Rewrite { prefix, path, host } = rewrite;
    let key = |key: &'static str| [Step::Key("rewrite"), Step::Key(key)];
    if prefix.is_none() && path.is_none() && host.is_none() {
        at.problem(&[Step::Key("rewrite")], "it has none of prefix, path and host".to_owned(), None);
    }
    if prefix.is_some() && path.is_some() {
        at.problem(&key("path"), "expected one of prefix and path, not both".to_owned(), None);
    }
    if let Some(prefix) = prefix {
        let has_prefix = matches!(route.matches.path, Some(PathMatch::Prefix(_) | PathMatch::Exact(_)));
        if !has_prefix {
            let message = "the route's match has no prefix and no exact path that it could take the place of"
                .to_owned();
            at.problem(
                &key("prefix"),
                message,
                Some("set match.path.prefix, or rewrite the whole path with path"),
            );
        }
        let wrong = match prefix.as_str() {
            "" => None,
            prefix if prefix.contains('?') => Some(format!("{prefix:?} is no path: a ? begins the query")),
            prefix => wrong_target(prefix, false),
        };
        at.wrong(&key("prefix"), wrong);
    }
    if let Some(path) = path {
        at.wrong(&key("path"), wrong_new_path(route, path));
    }
    if let Some(host) = host {
        at.wrong(&key("host"), wrong_host(host, true));
        if route.redirect.is_some() {
            at.problem(
                &key("host"),
                "with redirect nothing is sent on".to_owned(),
                Some("use redirect.host"),
            );
        }
    }
    if route.respond.is_some() {
        let message = "with respond nothing is sent on: rewrite would never count".to_owned();
        at.problem(&[Step::Key("rewrite")], message, None);
    }
    if route.redirect.as_ref().is_some_and(|redirect| redirect.path.is_some())
        && (prefix.is_some() || path.is_some())
    {
        let message = "redirect.path takes the place of what rewrite makes".to_owned();
        at.problem(&[Step::Key("rewrite")], message, Some("leave one of them out"));
    }
}

fn edits(at: &mut At<'_, '_>, headers: &RouteHeaders) {
    for (key, edits) in [("request", &headers.request), ("response", &headers.response)] {
        let Some(HeaderEdits { remove, set, add }) = edits else { continue };
        for (i, name) in remove.iter().enumerate() {
            at.wrong(&[Step::Key(key), Step::Key("remove"), Step::Index(i)], wrong_change(name));
        }
        for (kind, values) in [("set", set), ("add", add)] {
            for (name, value) in values {
                let wrong = wrong_change(name).or_else(|| wrong_header_value(value));
                at.wrong(&[Step::Key(key), Step::Key(kind), Step::Key(name)], wrong);
            }
        }
    }
}

/// Why a header of this name can't be changed.
fn wrong_change(name: &str) -> Option<String> {
    let kept = || header_kept_from_rules(name).map(|why| format!("{name} can't be changed: {why}"));
    wrong_header_name(name).or_else(kept)
}

fn faults(at: &mut At<'_, '_>, fault: &Fault) {
    if fault.delay.is_none() && fault.abort.is_none() {
        at.problem(&[], "it has neither delay nor abort".to_owned(), None);
    }
    if let Some(name) = &fault.only_with_header {
        at.wrong(&[Step::Key("onlyWithHeader")], wrong_header_name(name));
    }
}

fn redirects(at: &mut At<'_, '_>, route: &Route, redirect: &Redirect) {
    let Redirect { status, scheme, host, port, path } = redirect;
    if matches!(status, 304..=306) {
        at.problem(
            &[Step::Key("status")],
            format!("{status} is no redirect"),
            Some("use 301, 302, 303, 307 or 308"),
        );
    }
    if let Some(scheme) = scheme
        && !matches!(scheme.as_str(), "http" | "https")
    {
        at.problem(&[Step::Key("scheme")], format!("{scheme:?} is neither http nor https"), None);
    }
    if let Some(host) = host {
        at.wrong(&[Step::Key("host")], wrong_host(host, false));
    }
    if let Some(path) = path {
        at.wrong(&[Step::Key("path")], wrong_new_path(route, path));
    }
    let rewritten = route.rewrite.as_ref().is_some_and(|r| r.prefix.is_some() || r.path.is_some());
    if scheme.is_none() && host.is_none() && port.is_none() && path.is_none() && !rewritten {
        let message = "it changes nothing: the caller would be sent where it came from".to_owned();
        at.problem(&[], message, Some("set scheme, host, port or path"));
    }
}

fn responds(at: &mut At<'_, '_>, respond: &Respond) {
    if matches!(respond.status, 204 | 205 | 304) && !respond.body.is_empty() {
        at.problem(
            &[Step::Key("body")],
            format!("a response of status {} has no body", respond.status),
            None,
        );
    }
    for (name, value) in &respond.headers {
        let wrong = wrong_change(name).or_else(|| wrong_header_value(value));
        at.wrong(&[Step::Key("headers"), Step::Key(name)], wrong);
    }
}
