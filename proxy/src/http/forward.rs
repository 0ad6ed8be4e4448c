//! The way of a request. [`forward`] is all of it, step by step; each step is one call.

mod guards;
mod hedge;
mod judge;
mod rules;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::Tried;
use bowline_core::breaker::Outcome;
use bowline_core::retry::{AttemptTimeout, is_idempotent};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use http_body::Body as _;
use judge::Judgement;
use rules::Ruled;
use tokio::time::Instant;

use super::app_body::AppBody;
use super::attempt::{self, Answer, AnswerBody, Following, Limits, Protocol};
use super::body::Body;
use super::headers::{self, BadHead, Scan};
use super::mirror::Copy;
use super::outcome::{class, grpc_status, tells_against};
use super::replay::Source;
use super::{connect, hash_key, outside, respond, rewrite, upgrade, watch};
use crate::access::{Access, Granted};
use crate::cluster::{Cluster, Flight, MustQueue, Permit};
use crate::error::{Fault, Reason};
use crate::guard;
use crate::listen::{Downstream, Refusal};
use crate::pool::Patience;
use crate::record::Recording;
use crate::snapshot::rules::Route;
use crate::snapshot::{Policy, Service};
use crate::telemetry::failures::Note;
use crate::telemetry::metrics::Class;
use crate::worker::Worker;

/// How long a request may take for the sake of the queue where nothing else bounds it: the default of
/// `responseHeadersSeconds`.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Carries one request of the app to an endpoint of its service, and the response back.
pub async fn forward(app: &Downstream, request: Request<AppBody>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let scan = headers::scan(&head.headers);
    let recording = watch::begin(app, &mut head, &scan);

    // 1. Which service is it for?
    let cluster = match app.route(&head, &scan) {
        Ok(cluster) => cluster,
        // Boxed: it is rare and large.
        Err(refusal) => return Box::pin(unrouted(app, head, body, scan, refusal, recording)).await,
    };
    // 2. By which of its rules?
    let ruled = rules::rule(app, cluster, &head, &scan);
    // 3. What the request is, as far as timeouts and retries care; and may it be made?
    let mut call = Call::new(app, ruled, &head, body, scan.grpc, recording);
    if call.is_guarded(app)
        && let Err(response) = call.pass_guards(app, &mut head, &scan).await
    {
        return *response;
    }
    // 4. The head as the endpoint will see it.
    call.find_key(app, &head);
    if let Err(BadHead(why)) = call.prepare(&mut head, &scan, app) {
        return call.refuse(Reason::BadRequest, why);
    }
    // 5. Is there room?
    if let Err(fault) = call.enter(&head).await {
        return call.refuse(fault.reason, &fault.detail);
    }
    call.mirror(&head);
    let mut head = Some(head);
    loop {
        // 6. Which endpoint?
        let Some(mut flight) = call.pick() else { return call.refuse_for_want_of_endpoints() };
        // 7. Send the request, wait for the response head.
        let attempt_head = call.head_for_attempt(&flight, app, &mut head);
        #[cfg(test)]
        crate::worker::tests::panic_on(&attempt_head);
        let outcome = match call.hedge_delay(&head) {
            None => call.attempt(&flight, attempt_head).await,
            // Boxed: most services have none, and it is large.
            Some(delay) => {
                let (answered, outcome) =
                    Box::pin(call.hedged(app, delay, flight, attempt_head, &head)).await;
                flight = answered;
                outcome
            }
        };
        // 8. What does it tell of the endpoint, and shall it be tried again?
        match call.judge(flight, outcome) {
            // 9. Pass the response on; its body brings the connection back to the pool when it ends.
            Judgement::Pass(answer, flight) => return call.pass_on(app, answer, flight),
            // 10. Another attempt, at another endpoint where there is one.
            Judgement::Again(wait) if wait.is_zero() => {}
            Judgement::Again(wait) => tokio::time::sleep(wait).await,
            // 11. Say what was tried and why it failed.
            Judgement::GiveUp(fault) => return call.give_up(&fault, app),
        }
    }
}

/// A request that is for no service of the mesh.
#[cold]
async fn unrouted(
    app: &Downstream,
    head: request::Parts,
    body: AppBody,
    scan: Scan,
    refusal: Refusal,
    recording: Option<Recording>,
) -> Response<Body> {
    let at_forward_proxy = app.is_forward_proxy();
    if at_forward_proxy && head.method == Method::CONNECT && head.version != Version::HTTP_2 {
        // A tunnel, which is no request.
        if let Some(recording) = recording {
            recording.forget();
        }
        return connect::connect(app, &head, &scan, !body.is_end_stream()).await;
    }
    // A bare path is meant for the mesh: whoever sends one doesn't take us for a proxy.
    if at_forward_proxy && refusal.outside && head.uri.scheme() == Some(&Scheme::HTTP) {
        let response = outside::forward(app.worker(), head, body, &scan, &refusal).await;
        return passed_outside(app, response, recording);
    }
    if refusal.outside
        && let Some(original) = app.original(head.version)
    {
        let response = outside::forward_to(app.worker(), original, head, body, &scan, &refusal).await;
        return passed_outside(app, response, recording);
    }
    app.worker().counters().unrouted.inc(refusal.reason.as_str());
    let note = Note { service: "", endpoint: None, reason: refusal.reason.as_str(), told: true };
    app.worker().failures().note(note, &refusal.text);
    let response = match app.is_ingress() {
        true => respond::not_here(refusal.reason, &refusal.text, scan.grpc),
        false => respond::failure(refusal.reason, &refusal.text, scan.grpc),
    };
    if let Some(recording) = recording {
        let (status, length) = (response.status(), response.body().length());
        let grpc = scan.grpc.then(|| respond::grpc_status_of(response.headers())).flatten();
        recording.refused_with(refusal.reason, status, grpc, length, app.worker().clock.now());
    }
    response
}

/// The record of a request to a name outside of the mesh ends with its response.
fn passed_outside(
    app: &Downstream,
    mut response: Response<Body>,
    recording: Option<Recording>,
) -> Response<Body> {
    if let Some(mut recording) = recording {
        recording.answered(response.status(), None, app.worker().clock.now());
        response.body_mut().record(recording);
    }
    response
}

/// One request, over all its attempts.
struct Call<'a> {
    worker: &'a Rc<Worker>,
    cluster: Rc<Cluster>,
    /// The service as it was when the request came: a change of the mesh doesn't change the rules half-way.
    service: Arc<Service>,
    /// What most requests have nothing of.
    rare: Option<Box<Rare>>,
    body: Source,
    grpc: bool,
    /// The app speaks HTTP/2.
    http2_app: bool,
    /// The caller is outside of the mesh, and none of its business is told.
    outsider: bool,
    idempotent: bool,
    protocol: Protocol,
    /// The app has offered to go on with another protocol, and the endpoint is told so.
    upgrade: bool,
    started: Tick,
    /// Nothing may outlast this moment: `perRequestTimeoutSeconds`, or the caller's own `grpc-timeout`.
    until: Option<Instant>,
    /// Its place among the requests in flight, where they are limited: for all its attempts.
    permit: Option<Permit>,
    /// It had to wait for that.
    queued: bool,
    tried: Tried,
    attempts: u32,
    /// The next attempt must not use a connection from the pool: the last one turned out to be dead.
    fresh_connection: bool,
    /// The request has been counted.
    counted: bool,
    /// What is known of it, where somebody looks.
    recording: Option<Recording>,
}

/// What most requests have nothing of: apart, as the future of a request is what a busy connection costs most memory for.
#[derive(Default)]
struct Rare {
    /// The route that it takes.
    route: Option<Arc<Route>>,
    /// How it is handled, where that is not as the service's policy says.
    own_policy: Option<Arc<Policy>>,
    /// Whose route led to the service, where it is another one's.
    owner: Option<Arc<Service>>,
    /// The route leads to where this proxy knows nothing of.
    astray: Option<String>,
    /// A copy that waits for the body.
    copy: Option<Copy>,
    /// For so long it was held up: by a fault, or until it was its turn by a rate limit.
    held_up: Duration,
    /// What the service's breaker is told in the end.
    breaker: Option<guard::Call>,
    /// The hash of its key, where the service's endpoints are found by one.
    key: Option<u64>,
    /// What was asked of who calls, and what is passed on of it.
    doors: Vec<(Arc<Access>, Option<Arc<Granted>>)>,
    /// Cookies to set on the response, so that the caller brings its key along from now on.
    set_cookies: Vec<HeaderValue>,
}

impl<'a> Call<'a> {
    fn new(
        app: &'a Downstream,
        ruled: Ruled,
        head: &request::Parts,
        body: AppBody,
        grpc: bool,
        mut recording: Option<Recording>,
    ) -> Self {
        let worker = app.worker();
        let Ruled { cluster, service, owner, route, policy: own_policy, cookie, astray } = ruled;
        let any = route.is_some()
            || own_policy.is_some()
            || owner.is_some()
            || cookie.is_some()
            || astray.is_some();
        let rare = any.then(|| {
            let (route, own_policy) = (route.clone(), own_policy.clone());
            let set_cookies = cookie.into_iter().collect();
            Box::new(Rare { route, own_policy, owner, astray, set_cookies, ..Rare::default() })
        });
        let policy = own_policy.as_deref().unwrap_or(&service.policy);
        let outsider = app.is_ingress();
        let mut body = Source::new(body, policy.retry.max_body_bytes);
        if let Some(recording) = &mut recording {
            recording.is_for(&service);
            recording.takes(route.as_deref().and_then(|route| route.name.as_ref()));
            body.count(recording.received());
        }
        let started = worker.clock.now();
        service.budget.deposit(started);
        let per_request = policy.per_request;
        let grpc_timeout = if grpc { headers::grpc_timeout(&head.headers) } else { None };
        let limit = [per_request, grpc_timeout].into_iter().flatten().min();
        Call {
            worker,
            body,
            grpc,
            http2_app: head.version == Version::HTTP_2,
            outsider,
            idempotent: is_idempotent(&head.method),
            protocol: protocol(&service, head.version),
            upgrade: false,
            started,
            until: limit.map(|limit| worker.clock.instant(started) + limit),
            permit: None,
            queued: false,
            tried: Tried::new(),
            attempts: 0,
            fresh_connection: false,
            counted: false,
            recording,
            cluster,
            service,
            rare,
        }
    }

    /// A place for what most requests have nothing of.
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The route that it takes.
    #[inline]
    fn route(&self) -> Option<&Arc<Route>> {
        self.rare.as_ref()?.route.as_ref()
    }

    #[inline]
    fn own_policy(&self) -> Option<&Policy> {
        self.rare.as_ref()?.own_policy.as_deref()
    }

    /// For so long it was held up on purpose.
    #[inline]
    fn held_up(&self) -> Duration {
        self.rare.as_ref().map_or(Duration::ZERO, |rare| rare.held_up)
    }

    /// Whose route led to the service, where it is another one's.
    fn owner(&self) -> Option<&Arc<Service>> {
        self.rare.as_ref()?.owner.as_ref()
    }

    /// The hash of its key.
    #[inline]
    fn key(&self) -> Option<u64> {
        self.rare.as_ref()?.key
    }

    /// How it is handled.
    fn policy(&self) -> &Policy {
        self.own_policy().unwrap_or(&self.service.policy)
    }

    /// When it set out: when it came, and what it was held up for.
    fn set_out(&self) -> Instant {
        self.worker.clock.instant(self.started) + self.held_up()
    }

    /// What keeps the request with one endpoint. Before the head is changed: the key is of what came.
    #[inline]
    fn find_key(&mut self, app: &Downstream, head: &request::Parts) {
        let Some(hashing) = &self.service.hashing else { return };
        // A split may have set the same cookie already: it has one value.
        let set = self.rare.as_ref().map_or(&[][..], |rare| &rare.set_cookies);
        if let Some(hash) = set.iter().find_map(|set| hash_key::of_set(&hashing.key, set)) {
            self.rare().key = Some(hash);
        } else if let Some(hashed) = hash_key::of(&hashing.key, app, head) {
            let rare = self.rare();
            rare.key = Some(hashed.hash);
            rare.set_cookies.extend(hashed.set_cookie);
        }
    }

    fn prepare(&mut self, head: &mut request::Parts, scan: &Scan, app: &Downstream) -> Result<(), BadHead> {
        headers::ensure_host(head, scan, app.alias());
        // With a body under way the tunnel would have no clear beginning.
        let may_upgrade = scan.one_hop && self.protocol == Protocol::Http1 && self.body.is_empty();
        let offer = if may_upgrade { upgrade::offered(head) } else { None };
        headers::strip_request(head, scan);
        // After that: a caller can't have it taken out again by naming it in Connection.
        if let Some(client) = app.client() {
            headers::add_forwarded_for(&mut head.headers, client);
        }
        for (access, granted) in self.rare.iter().flat_map(|rare| &rare.doors) {
            access.keep_key(&mut head.headers);
            if let Some(granted) = granted {
                granted.put(&mut head.headers);
            }
        }
        if let Some(offer) = offer {
            self.upgrade = true;
            upgrade::put(&mut head.headers, offer);
        }
        headers::ensure_request_id(&mut head.headers, scan, &mut self.worker.rng());
        match self.protocol {
            Protocol::Http1 => headers::to_http1(head),
            Protocol::Http2 => headers::to_http2(head),
        }?;
        match self.route().filter(|route| route.changes_request()) {
            Some(route) => rewrite::change(head, route, self.protocol),
            None => Ok(()),
        }
    }

    async fn enter(&mut self, head: &request::Parts) -> Result<(), Fault> {
        if let Some(learnt) = self.learnt_limit(&head.headers) {
            self.permit = Some(self.cluster.try_enter_below(learnt)?);
            return Ok(());
        }
        self.permit = match self.cluster.try_enter() {
            Ok(permit) => permit,
            // Boxed: it is rare and large.
            Err(MustQueue) => {
                let permit = Box::pin(self.cluster.queue(self.may_wait_until())).await?;
                self.queued = true;
                Some(permit)
            }
        };
        Ok(())
    }

    /// Half of the time that it has for a response: who comes in at the end of it could not be answered any more.
    fn may_wait_until(&self) -> Instant {
        let policy = self.policy();
        let arrived = self.set_out();
        let response = if self.grpc { policy.grpc_response_headers } else { policy.response_headers };
        let whole = self.until.map(|until| until.saturating_duration_since(arrived));
        arrived + [response, whole].into_iter().flatten().min().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT) / 2
    }

    fn pick(&mut self) -> Option<Flight> {
        if self.rare.as_ref().is_some_and(|rare| rare.astray.is_some()) {
            return None;
        }
        let held_up = self.attempts > 0 || !self.held_up().is_zero();
        let now = if held_up { self.worker.clock.now() } else { self.started };
        let picked = self.cluster.pick(now, &mut self.worker.rng(), &self.tried, self.key())?;
        let mut flight = self.cluster.start(picked, now);
        flight.mark(&mut self.tried);
        if self.body.is_empty() {
            flight.sent(now);
        }
        self.attempts += 1;
        Some(flight)
    }

    /// The head is copied only where another attempt could need it.
    fn head_for_attempt(
        &mut self,
        flight: &Flight,
        app: &Downstream,
        head: &mut Option<request::Parts>,
    ) -> request::Parts {
        let last = self.is_last_attempt() && self.policy().hedge_after.is_none();
        let head = if last { head.take() } else { head.clone() };
        let head = head.expect("the head is given away with the last attempt only");
        self.mark_attempt(flight, app, head)
    }

    /// Where somebody looks, the attempt is noted, and its head says what it is in the trace.
    fn mark_attempt(
        &mut self,
        flight: &Flight,
        app: &Downstream,
        mut head: request::Parts,
    ) -> request::Parts {
        if let Some(recording) = &mut self.recording {
            let endpoint = &flight.upstream().shared;
            let inbound = app.is_inbound();
            watch::attempt(self.worker, recording, endpoint, inbound, flight.started(), &mut head);
        }
        head
    }

    fn is_last_attempt(&self) -> bool {
        self.attempts > self.policy().retry.retries
    }

    async fn attempt(&self, flight: &Flight, head: request::Parts) -> Result<Answer, Fault> {
        let (limits, following) = (self.limits(flight), self.following());
        let fresh = self.fresh_connection;
        attempt::run(flight.upstream(), self.protocol, head, &self.body, limits, following, fresh).await
    }

    /// Who says what the limit of the attempt is by the time that it is reached.
    fn following(&self) -> Option<Following> {
        let auto = self.policy().attempt == AttemptTimeout::Auto;
        let follows = auto && self.idempotent && !self.grpc && !self.is_last_attempt();
        follows.then(|| Following(self.cluster.clone()))
    }

    fn limits(&self, flight: &Flight) -> Limits {
        let policy = self.policy();
        let begun = flight.started();
        let p99 = self.cluster.recent_p99(begun);
        let clock = &self.worker.clock;
        Limits {
            arrived: self.set_out(),
            begun: clock.instant(begun),
            response: if self.grpc { policy.grpc_response_headers } else { policy.response_headers },
            attempt: policy.attempt.of(self.idempotent && !self.grpc, self.is_last_attempt(), p99),
            until: self.until,
            idle: policy.idle,
            patience: Patience { connect: policy.connect, wait: self.may_wait_until() },
        }
    }

    fn pass_on(&mut self, app: &Downstream, answer: Answer, mut flight: Flight) -> Response<Body> {
        self.mirror_body();
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(app, answer, flight);
        }
        let grpc_status = if self.grpc { grpc_status(answer.headers()) } else { None };
        self.count(class(answer.status(), grpc_status), flight.answered_at());
        if self.rare.as_ref().is_some_and(|rare| rare.breaker.is_some()) {
            let against = tells_against(answer.status(), grpc_status);
            self.tell_breaker(
                flight.answered_at(),
                if against { Outcome::Failure } else { Outcome::Success },
            );
        }
        if let Some(recording) = &mut self.recording {
            recording.answered(answer.status(), grpc_status, flight.answered_at());
        }
        let limit = self.until.map(|until| Box::pin(tokio::time::sleep_until(until)));
        flight.hold(self.permit.take());
        if let Some(policy) = self.own_policy() {
            flight.keep_to(policy);
        }
        let (mut head, body) = answer.into_parts();
        headers::strip_response(&mut head);
        for cookie in self.rare.iter_mut().flat_map(|rare| rare.set_cookies.drain(..)) {
            head.headers.append(header::SET_COOKIE, cookie);
        }
        self.change_response(&mut head.headers);
        // hyper writes the version that the app's connection speaks.
        head.version = Version::HTTP_11;
        let body = match body {
            AnswerBody::Http1(body) => Body::http1(body, flight, limit),
            AnswerBody::Http2(body) => Body::http2(body, flight, limit),
        };
        // Over HTTP/1.1 an end with trailers would look like a good one.
        let mut body = if self.grpc && self.http2_app { body.for_grpc() } else { body };
        if let Some(recording) = self.recording.take() {
            body.record(recording);
        }
        Response::from_parts(head, body)
    }

    #[cold]
    fn switch(&mut self, app: &Downstream, answer: Answer, flight: Flight) -> Response<Body> {
        let now = flight.answered_at();
        flight.established(now);
        if let Some(recording) = &mut self.recording {
            recording.answered(answer.status(), None, now);
        }
        let idle = self.policy().idle;
        match upgrade::switch(app, &self.cluster, idle, answer, flight, &mut self.recording) {
            Some(mut response) => {
                self.count(Class::Other, now);
                self.change_response(response.headers_mut());
                response
            }
            None => self.refuse(Reason::Reset, "the endpoint left as it switched protocols"),
        }
    }

    fn give_up(&mut self, fault: &Fault, app: &Downstream) -> Response<Body> {
        self.tell_breaker_of(fault);
        self.mirror_body();
        let attempts = match self.attempts {
            1 => "1 attempt".to_owned(),
            n => format!("{n} attempts"),
        };
        let mut response =
            self.answer_for(fault.reason, &format!("{attempts} failed, the last one with {fault}"));
        if app.is_inbound() && fault.is_unprocessed() {
            headers::mark_unprocessed(response.headers_mut());
        }
        response
    }

    #[cold]
    fn refuse_for_want_of_endpoints(&mut self) -> Response<Body> {
        if self.cluster.is_shut(self.worker.clock.now(), &mut self.worker.rng()) {
            return self.refuse(Reason::CircuitOpen, "the circuit breakers of all its endpoints are open");
        }
        let why = match self.rare.as_ref().and_then(|rare| rare.astray.as_ref()) {
            Some(why) => why.to_string(),
            None => self.service.why_no_endpoint(),
        };
        self.refuse(Reason::NoEndpoints, &why)
    }

    fn refuse(&mut self, reason: Reason, why: &str) -> Response<Body> {
        self.refuse_with(reason, why, |_| {})
    }

    /// The same with more in its head.
    fn refuse_with(
        &mut self,
        reason: Reason,
        why: &str,
        more: impl FnOnce(&mut Response<Body>),
    ) -> Response<Body> {
        let note = Note { service: &self.service.name, endpoint: None, reason: reason.as_str(), told: true };
        self.cluster.failures.note(note, why);
        self.answer_with(reason, why, more)
    }

    /// The answer of the proxy itself.
    fn answer_for(&mut self, reason: Reason, why: &str) -> Response<Body> {
        self.answer_with(reason, why, |_| {})
    }

    fn answer_with(
        &mut self,
        reason: Reason,
        why: &str,
        more: impl FnOnce(&mut Response<Body>),
    ) -> Response<Body> {
        let now = self.worker.clock.now();
        self.count(Class::None, now);
        self.service.shared.local_responses.inc(reason.as_str());
        let mut response = match self.outsider {
            true => respond::failure(reason, reason.to_outsiders(), self.grpc),
            false => respond::failure(reason, &format!("service {}: {why}", self.service.name), self.grpc),
        };
        if let Some(recording) = self.recording.take() {
            recording.refused(reason, response.body().length(), now);
        }
        more(&mut response);
        self.change_response(response.headers_mut());
        response
    }

    fn count(&mut self, class: Class, now: Tick) {
        self.counted = true;
        let counters = &self.cluster.counters;
        counters.requests[class as usize].inc();
        if self.grpc {
            counters.grpc_requests.inc();
        }
        counters.duration.record(now.since(self.started));
        if let Some(route) = self.route() {
            route.counters.count(class);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.counted {
            self.cluster.counters.requests[Class::Cancelled as usize].inc();
            if let Some(route) = self.route() {
                route.counters.count(Class::Cancelled);
            }
            if self.queued {
                self.cluster.limiter.served_in_vain();
            }
        }
    }
}

/// The service's declared protocol, else the app's own.
pub(super) fn protocol(service: &Service, app: Version) -> Protocol {
    use bowline_api::model::AppProtocol;
    match service.protocol {
        Some(AppProtocol::Http) => Protocol::Http1,
        Some(AppProtocol::Http2 | AppProtocol::Grpc) => Protocol::Http2,
        Some(AppProtocol::Tcp) | None if app == Version::HTTP_2 => Protocol::Http2,
        Some(AppProtocol::Tcp) | None => Protocol::Http1,
    }
}
