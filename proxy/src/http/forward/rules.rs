//! What the rules of a service make of a request: where it goes, what becomes of it before that, or in place of it.

use std::rc::Rc;
use std::sync::Arc;

use bowline_core::route;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode, request};

use super::Call;
use super::rare::Rare;
use crate::cluster::Cluster;
use crate::error::Reason;
use crate::http::body::Body;
use crate::http::hash_key::{self, Hashed};
use crate::http::headers::{self, Scan};
use crate::http::mirror::Copy;
use crate::http::outcome::class;
use crate::http::respond;
use crate::listen::Downstream;
use crate::snapshot::Service;
use crate::snapshot::rules::{Action, Redirect, Respond, Route, Rules};
use crate::telemetry::metrics::Class;

/// Where a request goes.
pub(super) struct Ruled {
    /// Where it goes.
    pub(super) cluster: Rc<Cluster>,
    /// The same, as it is now.
    pub(super) service: Arc<Service>,
    /// By which route, and what follows from that.
    pub(super) rare: Option<Box<Rare>>,
}

/// What the rules of its service make of a request.
#[inline]
pub(super) fn rule(app: &Downstream, cluster: Rc<Cluster>, head: &request::Parts, scan: &Scan) -> Ruled {
    let service = cluster.service();
    match &service.rules {
        None => Ruled { cluster, service, rare: None },
        Some(rules) => {
            let (rare, to) = by_rules(app, rules, head, scan);
            led(Ruled { cluster, service, rare }, to)
        }
    }
}

/// A request that rules have led somewhere; `None`: to the service whose rules they are.
fn led(own: Ruled, to: Option<Rc<Cluster>>) -> Ruled {
    let mut ruled = match to {
        None => own,
        Some(cluster) => {
            let Ruled { service: owner, mut rare, .. } = own;
            let service = cluster.service();
            if owner.name != service.name {
                rare.get_or_insert_default().owner = Some(owner);
            }
            Ruled { cluster, service, rare }
        }
    };
    // A service that is bypassed has no policy, of a route neither.
    if ruled.service.bypassed
        && let Some(rare) = &mut ruled.rare
    {
        rare.own_policy = None;
    }
    ruled
}

/// The route that a request to this service takes, whoever carries it.
pub(super) fn route_of<'a>(
    app: &Downstream,
    service: &'a Service,
    head: &request::Parts,
    scan: &Scan,
) -> Option<&'a Arc<Route>> {
    let rules = service.rules.as_ref()?;
    rules.find(&looked_at(head, host(app, rules, head, scan)))
}

/// The host that a request names; empty where nobody looks.
#[inline]
fn host<'a>(app: &'a Downstream, rules: &Rules, head: &'a request::Parts, scan: &Scan) -> &'a str {
    match rules.look_at_hosts {
        true => headers::authority(head, scan).ok().flatten().unwrap_or_else(|| app.alias()),
        false => "",
    }
}

/// What routes look at.
fn looked_at<'a>(head: &'a request::Parts, host: &'a str) -> route::Request<'a> {
    route::Request {
        method: &head.method,
        host,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    }
}

/// The route that a request takes with what follows from it, and where that leads to; `None`: to the service itself.
fn by_rules(
    app: &Downstream,
    rules: &Rules,
    head: &request::Parts,
    scan: &Scan,
) -> (Option<Box<Rare>>, Option<Rc<Cluster>>) {
    let host = host(app, rules, head, scan);
    let Some(route) = rules.find(&looked_at(head, host)) else {
        return (None, to_test(app, rules, head, host));
    };
    let mut rare = Box::new(Rare { route: Some(route.clone()), ..Rare::default() });
    let Action::To(targets) = &route.action else { return (Some(rare), None) };
    let hashed = targets.split_by.as_ref().and_then(|on| hash_key::of(on, app, head));
    let picked = match hashed {
        Some(Hashed { hash, set_cookie }) => {
            rare.set_cookies.extend(set_cookie);
            targets.split.pick_for(hash)
        }
        None => targets.split.pick(&mut app.worker().rng()),
    };
    let Some(target) = picked.and_then(|index| targets.list.get(index)) else {
        rare.astray = Some(format!("none of the targets of {} has a weight", said(route)).into());
        return (Some(rare), None);
    };
    rare.own_policy.clone_from(&target.policy);
    let to = match &target.key {
        None => to_test(app, rules, head, host),
        Some(key) => {
            let cluster = app.worker().cluster_by_name(key);
            if cluster.is_none() {
                let why = format!("{} leads to {key}, which this proxy knows nothing of", said(route));
                rare.astray = Some(why.into());
            }
            cluster
        }
    };
    (Some(rare), to)
}

/// Test traffic goes to the endpoints that are there for it, if there are some.
#[inline]
fn to_test(app: &Downstream, rules: &Rules, head: &request::Parts, host: &str) -> Option<Rc<Cluster>> {
    let test = rules.test_traffic.as_ref()?;
    if !test.fits(&head.headers, || app.dialled(host)) {
        return None;
    }
    app.worker().cluster_by_name(&test.key).filter(|cluster| !cluster.service().endpoints.is_empty())
}

fn said(route: &Route) -> String {
    format!("route {}", route.name.as_deref().unwrap_or_default())
}

impl Call<'_> {
    /// What the route does then; `None`: the request goes on.
    pub(super) async fn intervene(
        &mut self,
        app: &Downstream,
        head: &request::Parts,
        scan: &Scan,
    ) -> Option<Response<Body>> {
        let route = self.route().cloned().filter(|route| route.intervenes())?;
        if let Some(response) = self.fault(&route, head).await {
            return Some(response);
        }
        match &route.action {
            Action::To(_) => None,
            Action::Redirect(redirect) => Some(self.redirect(&route, redirect, app, head, scan)),
            Action::Respond(respond) => Some(self.respond(respond)),
        }
    }

    /// Trouble made on purpose: a wait, then perhaps an error.
    async fn fault(&mut self, route: &Route, head: &request::Parts) -> Option<Response<Body>> {
        let fault = route.fault.as_ref()?;
        if fault.only_with.as_ref().is_some_and(|name| !head.headers.contains_key(name)) {
            return None;
        }
        if let Some(delay) = fault.delay.filter(|delay| self.draws(delay.percent)) {
            route.counters.delay();
            let due = self.set_out() + delay.time;
            tokio::time::sleep_until(self.until.map_or(due, |until| until.min(due))).await;
            let held_up = self.worker.clock.now().since(self.started);
            let before = std::mem::replace(&mut self.rare().held_up, held_up);
            if let Some(recording) = &mut self.recording {
                recording.delayed(held_up.saturating_sub(before));
            }
            if self.until.is_some_and(|until| until < due) {
                return Some(self.refuse(Reason::RequestTimeout, "the fault's delay outlasts the request"));
            }
        }
        let abort = fault.abort.filter(|abort| self.draws(abort.percent))?;
        route.counters.abort();
        Some(self.abort(abort.status))
    }

    fn draws(&self, percent: u32) -> bool {
        percent >= 100 || self.worker.rng().u32(..100) < percent
    }

    fn abort(&mut self, status: StatusCode) -> Response<Body> {
        let now = self.worker.clock.now();
        self.count(Class::None, now);
        let reason = Reason::FaultInjected;
        self.service.shared.local_responses.inc(reason.as_str());
        let text = match self.outsider {
            true => Reason::FaultInjected.to_outsiders().to_owned(),
            false => format!("service {}: aborted on purpose, by the fault of its route", self.service.name),
        };
        let mut response = respond::aborted(status, &text, self.grpc);
        if let Some(recording) = self.recording.take() {
            let grpc = self.grpc.then(|| respond::grpc_for(status).into());
            recording.refused_with(reason, response.status(), grpc, response.body().length(), now);
        }
        self.change_response(response.headers_mut());
        response
    }

    fn redirect(
        &mut self,
        route: &Route,
        redirect: &Redirect,
        app: &Downstream,
        head: &request::Parts,
        scan: &Scan,
    ) -> Response<Body> {
        let scheme = match head.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            _ => "http",
        };
        let host = headers::authority(head, scan).ok().flatten().unwrap_or_else(|| app.alias());
        let rewritten = route.rewrite.apply(head.uri.path(), head.uri.query());
        let (path, query) = match &rewritten {
            Some(target) => match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (target.as_str(), None),
            },
            None => (head.uri.path(), head.uri.query()),
        };
        let location = redirect.location(scheme, host, path, query);
        let Ok(location) = HeaderValue::from_str(&location) else {
            return self.refuse(Reason::BadRequest, "the redirect's location can't be written");
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = redirect.status;
        response.headers_mut().insert(header::LOCATION, location);
        self.answer_by_route(response, None)
    }

    fn respond(&mut self, respond: &Respond) -> Response<Body> {
        if self.grpc && respond.status != StatusCode::OK {
            let message = String::from_utf8_lossy(&respond.body);
            let response = respond::grpc_response(respond.status, &message, respond.headers.clone());
            return self.answer_by_route(response, Some(respond::grpc_for(respond.status).into()));
        }
        let mut response = Response::new(Body::full(Bytes::clone(&respond.body)));
        *response.status_mut() = respond.status;
        *response.headers_mut() = respond.headers.clone();
        self.answer_by_route(response, None)
    }

    /// The answer that the mesh file has for the request: no failure of anybody's.
    fn answer_by_route(&mut self, mut response: Response<Body>, grpc: Option<u32>) -> Response<Body> {
        let now = self.worker.clock.now();
        self.count(class(response.status(), grpc), now);
        if let Some(mut recording) = self.recording.take() {
            recording.answered(response.status(), grpc, now);
            recording.passed(usize::try_from(response.body().length()).unwrap_or_default());
            recording.complete();
        }
        self.change_response(response.headers_mut());
        response
    }

    /// The changes of headers on the way back. They hold for the proxy's own answers as well.
    #[inline]
    pub(super) fn change_response(&self, headers: &mut http::HeaderMap) {
        if let Some(route) = self.route() {
            route.response.apply(headers);
        }
    }

    /// Sends a copy, if the route asks for one. It waits for the body, if there is one.
    #[inline]
    pub(super) fn mirror(&mut self, head: &request::Parts) {
        let Some(mirror) = self.route().and_then(|route| route.mirror.as_ref()) else { return };
        // Who has switched protocols can't be copied.
        if self.upgrade || !self.draws(mirror.percent) {
            return;
        }
        let counters = self.route().map(|route| &route.counters);
        let copy = counters.and_then(|c| Copy::of(self.worker, &mirror.service, head, self.grpc, c));
        match copy {
            Some(copy) if self.body.is_empty() => copy.send(self.body.copy()),
            Some(copy) => self.rare().copy = Some(Box::new(copy)),
            None => {}
        }
    }

    /// Sends the copy that has waited for the body.
    #[inline]
    pub(super) fn mirror_body(&mut self) {
        if let Some(copy) = self.rare.as_mut().and_then(|rare| rare.copy.take()) {
            copy.send(self.body.copy());
        }
    }
}
