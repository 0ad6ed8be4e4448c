//! The rules that a service's requests are under: its `routes` and `headers`, compiled once a snapshot.
//!
//! What a request pays for them: a look whether there are any, then the look-up in [`Table`], and what its route says.

mod counters;
mod edits;
mod parts;
mod test_traffic;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bowline_api::model;
use bowline_core::route::{Mismatch, Rewrite};
use bowline_core::route::{PathRewrite, PathRule, Request, RouteErrorKind, Rule, Split, Table, TextRule};

pub use self::counters::{Mirrored, RouteCounters, RouteCounts};
pub use self::edits::{Edits, forbidden};
pub use self::parts::{Abort, Delay, Fault, Host, Mirror, Redirect, Respond};
pub use self::test_traffic::TestTraffic;
use super::{HashKey, Policy, variant_key};
use crate::guard::RateLimits;

/// What a service's requests are under.
#[derive(Debug)]
pub struct Rules {
    table: Table,
    routes: Box<[Arc<Route>]>,
    /// What holds for requests that no route is for.
    rest: Option<Arc<Route>>,
    /// Which requests are test traffic, and where that goes.
    pub test_traffic: Option<TestTraffic>,
    /// Whether it matters which host a request names.
    pub look_at_hosts: bool,
}

/// One route, or what holds for requests that none is for.
#[derive(Debug)]
pub struct Route {
    /// What metrics, traces and `/explain` call it; `None`: it is none of the mesh file's.
    pub name: Option<Arc<str>>,
    /// What is counted of it.
    pub counters: Arc<RouteCounters>,
    /// What becomes of its requests.
    pub action: Action,
    /// Changes to the headers on the way to the service: the service's own, then the route's.
    pub request: Edits,
    /// Changes to the headers on the way back.
    pub response: Edits,
    /// The change of the path.
    pub rewrite: Rewrite,
    /// The new host.
    pub host: Option<Host>,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
    /// Trouble made on purpose.
    pub fault: Option<Fault>,
    /// Rate limits in callers' proxies.
    pub outbound: RateLimits,
    /// Rate limits where requests come in.
    pub inbound: RateLimits,
    /// Who is turned away last when load is shed.
    pub priority: Option<model::Priority>,
    /// Needs neither key nor token.
    pub public: bool,
}

/// What becomes of a route's requests.
#[derive(Debug)]
pub enum Action {
    /// They go on to one of these.
    To(Targets),
    /// They are answered with a redirect.
    Redirect(Box<Redirect>),
    /// They are answered with a fixed response.
    Respond(Box<Respond>),
}

/// Where a route leads.
#[derive(Debug)]
pub struct Targets {
    /// By weight.
    pub split: Split,
    /// What keeps a caller with one of them.
    pub split_by: Option<HashKey>,
    /// In the order of the split.
    pub list: Box<[Target]>,
}

/// One service that a route leads to.
#[derive(Debug)]
pub struct Target {
    /// The key of its cluster; `None`: the service whose route it is.
    pub key: Option<Box<str>>,
    /// As the mesh file has it.
    pub service: Box<str>,
    /// The labels that it is narrowed to.
    pub subset: BTreeMap<String, String>,
    /// Its share against the others.
    pub weight: u32,
    /// How its requests are handled, where this differs from the service's own policy.
    pub policy: Option<Arc<Policy>>,
}

/// A route that is left out, because it can't be compiled. `bowline check` lets none through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRoute {
    /// Its place in the list, from 0; `None`: it is none, but the service's `headers` or `testTrafficRules`.
    pub route: Option<usize>,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.route {
            Some(route) => write!(f, "routes[{route}]: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for BadRoute {}

impl Rules {
    /// The rules of a service; `None` where it has none. `mesh` are all services, `counts` is where counts are kept. What
    /// can't be compiled is left out, and told in the log.
    pub(super) fn of(
        service: &model::Service,
        mesh: &[model::Service],
        counts: &RouteCounts,
        before: Option<&Rules>,
    ) -> Option<Arc<Self>> {
        let (rules, bad) = Self::compile(service, mesh, counts, before);
        for bad in bad {
            tracing::error!(service = service.discovery_name, %bad, "a route is left out: it can't be compiled");
        }
        rules.map(Arc::new)
    }

    /// The same, with what could not be compiled.
    pub fn compile(
        service: &model::Service,
        mesh: &[model::Service],
        counts: &RouteCounts,
        before: Option<&Rules>,
    ) -> (Option<Self>, Vec<BadRoute>) {
        let mut bad = Vec::new();
        let test_traffic = TestTraffic::of(service, &mut bad);
        if service.routes.is_empty() && service.headers.is_none() && test_traffic.is_none() {
            counts.keep(&[]);
            return (None, bad);
        }
        let headers = match Headers::new(service.headers.as_ref()) {
            Ok(headers) => headers,
            Err(why) => {
                bad.push(BadRoute { route: None, why });
                Headers::default()
            }
        };
        let (mut rules, mut routes) = (Vec::new(), Vec::new());
        for (index, route) in service.routes.iter().enumerate() {
            let rule = rule(&route.matches);
            let name: Arc<str> = route.name.clone().unwrap_or_else(|| index.to_string()).into();
            let known = before.and_then(|before| before.named(&name));
            let compiled = Table::new(std::slice::from_ref(&rule))
                .map_err(|errors| errors.first().map(|error| error.kind.to_string()).unwrap_or_default())
                .and_then(|_| Route::new(name, route, &rule.path, &headers, (service, mesh), counts, known));
            match compiled {
                Ok(compiled) => {
                    rules.push(rule);
                    routes.push(Arc::new(compiled));
                }
                Err(why) => bad.push(BadRoute { route: Some(index), why }),
            }
        }
        counts.keep(&routes);
        let rest = service.headers.is_some().then(|| Arc::new(Route::rest(headers)));
        // Each has been compiled by itself already.
        let table = Table::new(&rules).unwrap_or_default();
        let look_at_hosts = table.looks_at_hosts() || test_traffic.is_some();
        (Some(Self { table, routes: routes.into(), rest, test_traffic, look_at_hosts }), bad)
    }

    /// The route that a request takes, or what holds for those that none is for.
    #[inline]
    pub fn find(&self, request: &Request<'_>) -> Option<&Arc<Route>> {
        match self.table.find(request) {
            Some(index) => self.routes.get(index),
            None => self.rest.as_ref(),
        }
    }

    /// Whether a route, and not only what holds for the rest, is for a request with this head and host.
    pub fn has_route(&self, head: &http::request::Parts, host: &str) -> bool {
        let request = Request {
            method: &head.method,
            host,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
        };
        self.table.find(&request).is_some()
    }

    /// The routes in their order, each with why a request doesn't take it; `None`: it fits.
    pub fn explain<'a>(
        &'a self,
        request: &'a Request<'_>,
    ) -> impl Iterator<Item = (&'a Route, Option<Mismatch<'a>>)> {
        self.routes.iter().enumerate().map(|(index, route)| (&**route, self.table.mismatch(index, request)))
    }

    fn named(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.name.as_deref() == Some(name)).map(AsRef::as_ref)
    }

    /// All routes, in their order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The longest idle timeout that a route gives.
    pub fn longest_idle(&self) -> Option<Option<std::time::Duration>> {
        let targets = self.routes.iter().filter_map(|route| match &route.action {
            Action::To(targets) => Some(targets.list.iter()),
            Action::Redirect(_) | Action::Respond(_) => None,
        });
        let idle = targets.flatten().filter_map(|target| target.policy.as_ref()).map(|policy| policy.idle);
        idle.max_by_key(|idle| idle.unwrap_or(std::time::Duration::MAX))
    }
}

/// A service's own changes of headers, which come before a route's.
#[derive(Clone, Debug, Default)]
struct Headers {
    request: Edits,
    response: Edits,
}

impl Headers {
    fn new(model: Option<&model::RouteHeaders>) -> Result<Self, String> {
        Self::default().then(model)
    }

    /// These, and then a route's.
    fn then(&self, model: Option<&model::RouteHeaders>) -> Result<Self, String> {
        let Some(model) = model else { return Ok(self.clone()) };
        Ok(Self {
            request: self.request.then(model.request.as_ref())?,
            response: self.response.then(model.response.as_ref())?,
        })
    }
}

impl Route {
    fn new(
        name: Arc<str>,
        model: &model::Route,
        path: &PathRule,
        headers: &Headers,
        (service, mesh): (&model::Service, &[model::Service]),
        counts: &RouteCounts,
        known: Option<&Route>,
    ) -> Result<Self, String> {
        let text = |error: RouteErrorKind| error.to_string();
        let headers = headers.then(model.headers.as_ref())?;
        let change = match &model.rewrite {
            Some(model::Rewrite { path: Some(path), .. }) => PathRewrite::Path(path.clone()),
            Some(model::Rewrite { prefix: Some(prefix), .. }) => PathRewrite::Prefix(prefix.clone()),
            _ => PathRewrite::Keep,
        };
        let host = model.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_deref());
        let action = match (&model.redirect, &model.respond) {
            (Some(redirect), _) => Action::Redirect(Box::new(Redirect::new(redirect, path)?)),
            (None, Some(respond)) => Action::Respond(Box::new(Respond::new(respond)?)),
            (None, None) => Action::To(Targets::new(model, service, mesh)),
        };
        let counters = counts.of(&name);
        let limits = |side, known| RateLimits::new(&model.rate_limit, side, known);
        let inbound = limits(model::Side::Inbound, known.map(|route| &route.inbound));
        let outbound = limits(model::Side::Outbound, known.map(|route| &route.outbound));
        Ok(Self {
            counters,
            name: Some(name),
            inbound,
            outbound,
            action,
            request: headers.request,
            response: headers.response,
            rewrite: Rewrite::new(path, &change).map_err(text)?,
            host: host.map(Host::new).transpose()?,
            mirror: model.mirror.as_ref().map(Mirror::new),
            fault: model.fault.as_ref().map(Fault::new).transpose()?,
            priority: model.priority,
            public: model.public,
        })
    }

    /// What holds where no route is for a request.
    fn rest(headers: Headers) -> Self {
        Self {
            name: None,
            counters: Arc::default(),
            action: Action::To(Targets::own()),
            request: headers.request,
            response: headers.response,
            rewrite: Rewrite::default(),
            host: None,
            mirror: None,
            fault: None,
            inbound: RateLimits::default(),
            outbound: RateLimits::default(),
            priority: None,
            public: false,
        }
    }

    /// Whether it does something before, or instead of, sending a request on.
    #[inline]
    pub fn intervenes(&self) -> bool {
        self.fault.is_some() || !matches!(self.action, Action::To(_))
    }

    /// Whether it changes the head on the way to the service.
    #[inline]
    pub fn changes_request(&self) -> bool {
        !self.request.is_empty() || !self.rewrite.is_keep() || self.host.is_some()
    }
}

impl Targets {
    /// The service itself.
    fn own() -> Self {
        let own = Target { key: None, service: "".into(), subset: BTreeMap::new(), weight: 1, policy: None };
        Self { split: Split::new(&[1]), split_by: None, list: [own].into() }
    }

    fn new(route: &model::Route, own: &model::Service, mesh: &[model::Service]) -> Self {
        let to_itself =
            [model::RouteTarget { service: own.discovery_name.clone(), subset: BTreeMap::new(), weight: 1 }];
        let to = if route.to.is_empty() { &to_itself[..] } else { &route.to };
        let list = to.iter().map(|target| Target::new(target, route, own, mesh)).collect();
        let weights: Vec<u32> = to.iter().map(|target| target.weight).collect();
        Self { split: Split::new(&weights), split_by: route.split_by.as_ref().and_then(HashKey::new), list }
    }
}

impl Target {
    fn new(
        target: &model::RouteTarget,
        route: &model::Route,
        own: &model::Service,
        mesh: &[model::Service],
    ) -> Self {
        let is_own = target.service == own.discovery_name && target.subset.is_empty();
        let model = mesh.iter().find(|service| service.discovery_name == target.service);
        let policy = match (model, &route.timeout, &route.retry) {
            (None, ..) | (_, None, None) => None,
            (Some(model), timeout, retry) => {
                let timeout =
                    timeout.as_ref().map_or_else(|| model.timeout.clone(), |t| t.over(&model.timeout));
                let retry = retry.as_ref().map_or_else(|| model.retry.clone(), |r| r.over(&model.retry));
                Some(Arc::new(Policy::with(model, &timeout, &retry)))
            }
        };
        Self {
            key: (!is_own).then(|| variant_key(&target.service, &target.subset).into()),
            service: target.service.as_str().into(),
            subset: target.subset.clone(),
            weight: target.weight,
            policy,
        }
    }
}

/// A rule in core's words.
fn rule(matches: &model::RouteMatch) -> Rule {
    let text = |(name, text): (&String, &model::TextMatch)| {
        let rule = match text {
            model::TextMatch::Exact(text) => TextRule::Exact(text.clone()),
            model::TextMatch::Prefix(text) => TextRule::Prefix(text.clone()),
            model::TextMatch::Regex(text) => TextRule::Regex(text.clone()),
            model::TextMatch::Present(true) => TextRule::Present,
            model::TextMatch::Present(false) => TextRule::Absent,
        };
        (name.clone(), rule)
    };
    Rule {
        path: match &matches.path {
            None => PathRule::Any,
            Some(model::PathMatch::Exact(path)) => PathRule::Exact(path.clone()),
            Some(model::PathMatch::Prefix(path)) => PathRule::Prefix(path.clone()),
            Some(model::PathMatch::Template(path)) => PathRule::Template(path.clone()),
            Some(model::PathMatch::Regex(path)) => PathRule::Regex(path.clone()),
        },
        method: matches.method.clone(),
        hosts: matches.hosts.clone(),
        headers: matches.headers.iter().map(text).collect(),
        query: matches.query.iter().map(text).collect(),
    }
}
