//! What a schema can't say: names that must be unique or must exist, and values that must fit each other.

mod balancing;
mod guards;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use regex_lite::Regex;

use super::tree::{Node, Position, Step};
use super::words::nearest;
use super::{Options, Problem};
use crate::Service;
use crate::model::{AttemptTimeout, DnsRecordType, Endpoint, Endpoints, PathMatch, Seconds, TextMatch};

pub use routes::header_kept_from_rules;

/// A service and where it was written.
pub(super) struct Located<'a> {
    pub(super) service: Service,
    pub(super) node: &'a Node,
    pub(super) file: &'a str,
    pub(super) index: usize,
}

impl Located<'_> {
    fn problem(&self, steps: &[Step<'_>], message: String, help: Option<&str>) -> Problem {
        let at = self.node.position_of(steps);
        let mut path = format!("services[{}]", self.index);
        for step in steps {
            match step {
                Step::Key(key) => path.extend([".", key]),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            path,
            message,
            help: help.map(str::to_owned),
        }
    }

    /// `line 7`, or `b.yaml:7` seen from another file.
    fn place(&self, steps: &[Step<'_>], seen_from: &str) -> String {
        let line = self.node.position_of(steps).line;
        if self.file == seen_from { format!("line {line}") } else { format!("{}:{line}", self.file) }
    }
}

/// Checks all services, each alone and against the others. `named` are the services there are, readable or not.
pub(super) fn check(services: &[Located<'_>], named: &[Named<'_>], options: &Options) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names: BTreeSet<&str> = named.iter().map(|n| n.name).collect();
    let protocols =
        services.iter().map(|l| (l.service.discovery_name.as_str(), l.service.app_protocol)).collect();
    for located in services {
        name(located, &mut problems);
        aliases(located, &mut problems);
        endpoints(located, options, &mut problems);
        durations(located, &mut problems);
        references(located, &names, &mut problems);
        balancing::check(located, &mut problems);
        guards::check(located, &mut problems);
        routes::check(located, &protocols, &mut problems);
        patterns(located, &mut problems);
    }
    unique_names(named, &mut problems);
    unique_aliases(services, &mut problems);
    vips(services, options, &mut problems);
    problems
}

fn name(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let name = &located.service.discovery_name;
    if name.is_empty() {
        let message = "missing key \"discoveryName\"".to_owned();
        problems.push(located.problem(
            &[],
            message,
            Some("every service needs discoveryName, or portName in its place"),
        ));
        return;
    }
    // Written out, the schema has checked it. From portName, it must be fit to be a name too.
    let fit = name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    if located.node.get("discoveryName").is_none() && !fit {
        let message = format!("{name:?} can't be the service's name: expected 1 to 64 of a-z, 0-9, _ and -");
        problems.push(located.problem(&[Step::Key("portName")], message, Some("give it a discoveryName")));
    }
}

fn aliases(located: &Located<'_>, problems: &mut Vec<Problem>) {
    for (i, alias) in located.service.client_aliases.iter().enumerate() {
        let steps = [Step::Key("clientAliases"), Step::Index(i), Step::Key("dnsName")];
        if alias.dns_name.parse::<IpAddr>().is_ok() {
            let message = format!("{:?} is an address; clients dial a name", alias.dns_name);
            problems.push(located.problem(&steps, message, None));
        }
        if alias.dns_name.len() > 253 {
            let message = format!("{:?} is longer than the 253 characters of a DNS name", alias.dns_name);
            problems.push(located.problem(&steps, message, None));
        }
    }
}

fn endpoints(located: &Located<'_>, options: &Options, problems: &mut Vec<Problem>) {
    match &located.service.endpoints {
        Endpoints::Static(list) => static_endpoints(located, list, options, problems),
        Endpoints::Dns(dns) => {
            if dns.name.parse::<IpAddr>().is_ok() {
                let message = format!("{:?} is an address, and no name to resolve", dns.name);
                let steps = [Step::Key("endpoints"), Step::Key("dns"), Step::Key("name")];
                problems.push(located.problem(&steps, message, Some("write it under `static`")));
            } else if !is_dns_name(&dns.name) {
                let message = format!("{:?} is no DNS name", dns.name);
                let steps = [Step::Key("endpoints"), Step::Key("dns"), Step::Key("name")];
                problems.push(located.problem(&steps, message, Some("names have no scheme, port or path")));
            }
            if dns.record_type != DnsRecordType::Srv && dns.port.is_none() {
                let message = "missing key \"port\": only SRV records bring their own".to_owned();
                problems.push(located.problem(&[Step::Key("endpoints"), Step::Key("dns")], message, None));
            }
        }
        Endpoints::CloudMap(_) | Endpoints::Registered(_) => {}
    }
}

/// Whether a resolver could ask for it: labels of 1 to 63 characters, perhaps a dot at the end.
fn is_dns_name(name: &str) -> bool {
    let wrong = |c: char| c.is_whitespace() || c.is_control() || "/:@?#\\".contains(c);
    let label = |label: &str| (1..=63).contains(&label.len()) && !label.contains(wrong);
    name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn static_endpoints(
    located: &Located<'_>,
    list: &[Endpoint],
    options: &Options,
    problems: &mut Vec<Problem>,
) {
    let mut seen = BTreeMap::new();
    for (i, endpoint) in list.iter().enumerate() {
        let steps = |i| [Step::Key("endpoints"), Step::Key("static"), Step::Index(i), Step::Key("address")];
        let address = endpoint.address;
        if let Some(why) = Endpoint::why_not(address, options.vip_range) {
            problems.push(located.problem(&steps(i), format!("{address} is no endpoint: {why}"), None));
        }
        if let Some(first) = seen.insert(address, i) {
            let place = located.place(&steps(first), located.file);
            let message = format!("duplicate endpoint {address}; it is on {place} already");
            problems.push(located.problem(
                &steps(i),
                message,
                Some("to give it more traffic, raise its weight"),
            ));
        }
    }
}

/// Durations that contradict each other.
fn durations(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let Service { timeout, retry, outlier_detection: outlier, health_check, .. } = &located.service;
    let (base, max) = (retry.backoff.base_milliseconds, retry.backoff.max_milliseconds);
    if base > max {
        let steps = [Step::Key("retry"), Step::Key("backoff"), Step::Key("maxMilliseconds")];
        let message = format!("maxMilliseconds ({max}) is less than baseMilliseconds ({base})");
        problems.push(located.problem(&steps, message, None));
    }
    let (base, max) = (outlier.base_ejection_seconds, outlier.max_ejection_seconds);
    if base > max {
        let steps = [Step::Key("outlierDetection"), Step::Key("maxEjectionSeconds")];
        let message = format!("maxEjectionSeconds ({max}) is less than baseEjectionSeconds ({base})");
        problems.push(located.problem(&steps, message, None));
    }
    if let AttemptTimeout::Fixed(attempt) = timeout.per_attempt_seconds {
        let bounds = [
            ("perRequestTimeoutSeconds", timeout.per_request_timeout_seconds),
            ("responseHeadersSeconds", timeout.response_headers_seconds),
        ];
        for (key, bound) in bounds {
            // 0 is off, and bounds nothing.
            if let Some(bound) = bound.filter(|bound| *bound > Seconds::default() && attempt > *bound) {
                let steps = [Step::Key("timeout"), Step::Key("perAttemptSeconds")];
                let message =
                    format!("one attempt may take {attempt}, but {key} ends the request after {bound}");
                problems.push(located.problem(&steps, message, None));
            }
        }
    }
    if let Some(health) = health_check {
        let ways = [health.http.is_some(), health.grpc.is_some(), health.tcp.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            let message = "expected exactly one of http, grpc and tcp".to_owned();
            problems.push(located.problem(&[Step::Key("healthCheck")], message, None));
        }
        if health.timeout_seconds > health.interval_seconds {
            let (timeout, interval) = (health.timeout_seconds, health.interval_seconds);
            let message = format!("a check may take {timeout}, but the next one starts after {interval}");
            let steps = [Step::Key("healthCheck"), Step::Key("timeoutSeconds")];
            problems.push(located.problem(&steps, message, None));
        }
    }
}

/// Every service that another one names must be there.
fn references(located: &Located<'_>, names: &BTreeSet<&str>, problems: &mut Vec<Problem>) {
    let mut exists = |name: &str, steps: &[Step<'_>]| {
        if names.contains(name) {
            return;
        }
        let near = nearest(name, names.iter().copied());
        let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        problems.push(located.problem(steps, format!("there is no service {name:?}{hint}"), None));
    };
    for (i, route) in located.service.routes.iter().enumerate() {
        let at = [Step::Key("routes"), Step::Index(i)];
        for (j, target) in route.to.iter().enumerate() {
            exists(&target.service, &[at[0], at[1], Step::Key("to"), Step::Index(j), Step::Key("service")]);
        }
        if let Some(mirror) = &route.mirror {
            exists(&mirror.service, &[at[0], at[1], Step::Key("mirror"), Step::Key("service")]);
        }
    }
    let fallback = located.service.circuit_breaker.as_ref().and_then(|b| b.fallback.as_ref());
    if let Some(service) = fallback.and_then(|f| f.service.as_ref()) {
        exists(service, &[Step::Key("circuitBreaker"), Step::Key("fallback"), Step::Key("service")]);
    }
    let exposed = located.service.ingress.iter().flat_map(|ingress| &ingress.expose).enumerate();
    for (i, service) in exposed {
        exists(service, &[Step::Key("ingress"), Step::Key("expose"), Step::Index(i)]);
    }
}

/// Regular expressions must compile.
fn patterns(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let mut compiles = |regex: &str, steps: &[Step<'_>]| {
        // By itself, and as it is used: for the whole text.
        if let Err(error) = Regex::new(regex).and_then(|_| Regex::new(&format!("^(?:{regex})$"))) {
            problems.push(located.problem(steps, format!("not a regular expression: {error}"), None));
        }
    };
    for (i, route) in located.service.routes.iter().enumerate() {
        let at = [Step::Key("routes"), Step::Index(i), Step::Key("match")];
        if let Some(PathMatch::Regex(regex)) = &route.matches.path {
            compiles(regex, &[at[0], at[1], at[2], Step::Key("path"), Step::Key("regex")]);
        }
        for (kind, matches) in [("headers", &route.matches.headers), ("query", &route.matches.query)] {
            for (name, text) in matches {
                if let TextMatch::Regex(regex) = text {
                    let steps = [at[0], at[1], at[2], Step::Key(kind), Step::Key(name), Step::Key("regex")];
                    compiles(regex, &steps);
                }
            }
        }
    }
}

/// A service's name where it was written, whether or not the rest of the service could be read.
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) at: Position,
    pub(super) key: &'static str,
    pub(super) file: &'a str,
    pub(super) index: usize,
}

fn unique_names(names: &[Named<'_>], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, &Named<'_>> = BTreeMap::new();
    for named in names {
        let Some(first) = seen.get(named.name) else {
            seen.insert(named.name, named);
            continue;
        };
        let place = if first.file == named.file {
            format!("line {}", first.at.line)
        } else {
            format!("{}:{}", first.file, first.at.line)
        };
        problems.push(Problem {
            file: named.file.to_owned(),
            line: named.at.line,
            column: named.at.column,
            path: format!("services[{}].{}", named.index, named.key),
            message: format!("duplicate service {:?}; it is on {place} already", named.name),
            help: None,
        });
    }
}

fn unique_aliases(services: &[Located<'_>], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(&str, u16), (&Located<'_>, usize)> = BTreeMap::new();
    for located in services {
        for (i, alias) in located.service.client_aliases.iter().enumerate() {
            let key = (alias.dns_name.as_str(), alias.port);
            let steps = |i| [Step::Key("clientAliases"), Step::Index(i)];
            match seen.get(&key) {
                Some((first, j)) => {
                    let message = format!(
                        "duplicate alias {}:{}; service {:?} has it on {} already",
                        alias.dns_name,
                        alias.port,
                        first.service.discovery_name,
                        first.place(&steps(*j), located.file)
                    );
                    problems.push(located.problem(&steps(i), message, None));
                }
                None => drop(seen.insert(key, (located, i))),
            }
        }
    }
}

/// A VIP belongs to one dnsName: pins must be usable, and agree.
fn vips(services: &[Located<'_>], options: &Options, problems: &mut Vec<Problem>) {
    let steps = [Step::Key("vip")];
    let mut by_name: BTreeMap<&str, (Ipv4Addr, &Located<'_>)> = BTreeMap::new();
    let mut by_vip: BTreeMap<Ipv4Addr, (&str, &Located<'_>)> = BTreeMap::new();
    for located in services {
        let Some(vip) = located.service.vip else { continue };
        if !options.vip_range.is_usable(vip) {
            let message = format!("{vip} is not a usable address of the VIP range {}", options.vip_range);
            problems.push(located.problem(&steps, message, None));
        }
        let names: BTreeSet<&str> =
            located.service.client_aliases.iter().map(|alias| alias.dns_name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let [name] = names.as_slice() else {
            let message = match names.as_slice() {
                [] => "a VIP is pinned for a dnsName, and this service has no clientAliases".to_owned(),
                several => {
                    format!("a VIP is pinned for one dnsName, and this service has {}", several.join(", "))
                }
            };
            problems.push(located.problem(&steps, message, None));
            continue;
        };
        if let Some((other, first)) = by_name.get(name).filter(|(other, _)| *other != vip) {
            let place = first.place(&steps, located.file);
            let message = format!("{name} is pinned to {other} on {place} already");
            problems.push(located.problem(&steps, message, Some("all ports of a name share one VIP")));
        } else if let Some((other, first)) = by_vip.get(&vip).filter(|(other, _)| other != name) {
            let place = first.place(&steps, located.file);
            problems.push(located.problem(
                &steps,
                format!("{vip} is pinned for {other} on {place} already"),
                None,
            ));
        }
        by_name.entry(name).or_insert((vip, located));
        by_vip.entry(vip).or_insert((name, located));
    }
}
