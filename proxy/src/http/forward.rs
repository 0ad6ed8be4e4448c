//! The way of a request. [`begin`] and [`carry`] are all of it, step by step; each step is one call.

mod answer;
mod guards;
mod hedge;
mod judge;
mod rare;
mod rules;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::Tried;
use bowline_core::retry::{AttemptTimeout, is_idempotent};
use http::uri::Scheme;
use http::{Method, Request, Response, Version, request};
use http_body::Body as _;
use judge::Judgement;
use rare::Rare;
use rules::Ruled;
use tokio::time::Instant;

use super::app_body::AppBody;
use super::attempt::{self, Answer, Following, Head, Limits, Protocol};
use super::body::Body;
use super::headers::{self, BadHead, Scan};
use super::replay::Source;
use super::{connect, hash_key, outside, respond, rewrite, upgrade, watch};
use crate::cluster::{Cluster, Flight, MustQueue, Permit};
use crate::error::{Fault, Reason};
use crate::listen::{Downstream, Refusal};
use crate::pool::Patience;
use crate::record::Recording;
use crate::snapshot::{Policy, Service};
use crate::telemetry::failures::Note;
use crate::worker::Worker;

/// How long a request may take for the sake of the queue where nothing else bounds it: the default of
/// `responseHeadersSeconds`.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Carries one request of the app to an endpoint of its service, and the response back. `finish` is what becomes of that.
///
/// What can be done at once is done by the call; the future has what is left to do. That way the request is in it once, and
/// not in each of those in it: a future has room for its arguments to its end, whether or not they are still there.
pub fn forward<'a, T: 'a>(
    app: &'a Downstream,
    request: Request<AppBody>,
    finish: impl FnOnce(Response<Body>) -> T + 'a,
) -> impl Future<Output = T> + 'a {
    let mut begun = begin(app, request);
    async move {
        let response = match &mut begun {
            Begun::Routed(routed) => carry(routed).await,
            Begun::Unrouted(unrouted) => unrouted.await,
        };
        finish(response)
    }
}

/// A request whose way is known.
#[expect(clippy::large_enum_variant, reason = "the small one is the rare one")]
enum Begun<'a> {
    Routed(Routed<'a>),
    /// Boxed: it is rare and large.
    Unrouted(Pin<Box<dyn Future<Output = Response<Body>> + 'a>>),
}

/// A request to a service of the mesh.
struct Routed<'a> {
    app: &'a Downstream,
    call: Call<'a>,
    /// Until it is given away with the last attempt.
    head: Option<request::Parts>,
    scan: Scan,
}

fn begin(app: &Downstream, request: Request<AppBody>) -> Begun<'_> {
    let (mut head, body) = request.into_parts();
    let scan = headers::scan(&head.headers);
    let recording = watch::begin(app, &mut head, &scan);
    // 1. Which service is it for?
    let cluster = match app.route(&head, &scan) {
        Ok(cluster) => cluster,
        Err(refusal) => {
            return Begun::Unrouted(Box::pin(unrouted(app, head, body, scan, refusal, recording)));
        }
    };
    // 2. By which of its rules?
    let ruled = rules::rule(app, cluster, &head, &scan);
    // 3. What the request is, as far as timeouts and retries care.
    let call = Call::new(app, ruled, &head, body, scan.grpc, recording);
    Begun::Routed(Routed { app, call, head: Some(head), scan })
}

async fn carry(to: &mut Routed<'_>) -> Response<Body> {
    // 4. May it be made?
    if to.call.is_guarded(to.app)
        && let Err(response) = to.call.pass_guards(to.app, to.head.as_mut().expect(HEAD), &to.scan).await
    {
        return *response;
    }
    // 5. The head as the endpoint will see it.
    to.call.find_key(to.app, to.head.as_ref().expect(HEAD));
    if let Err(BadHead(why)) = to.call.prepare(to.head.as_mut().expect(HEAD), &to.scan, to.app) {
        return to.call.refuse(Reason::BadRequest, why);
    }
    // 6. Is there room?
    if let Err(fault) = to.call.enter(to.head.as_ref().expect(HEAD)).await {
        return to.call.refuse(fault.reason, &fault.detail);
    }
    to.call.mirror(to.head.as_ref().expect(HEAD));
    loop {
        // 7. Which endpoint?
        let Some(mut flight) = to.call.pick() else { return to.call.refuse_for_want_of_endpoints() };
        to.call.mark_attempt(&flight, to.app, to.head.as_mut().expect(HEAD));
        #[cfg(test)]
        crate::worker::tests::panic_on(to.head.as_ref().expect(HEAD));
        // 8. Send the request, wait for the response head.
        let outcome = match to.call.hedge_delay() {
            None => to.call.attempt(&flight, &mut to.head).await,
            // Boxed: most services have none, and it is large.
            Some(delay) => {
                let head = to.head.as_ref().expect(HEAD);
                let (answered, outcome) = Box::pin(to.call.hedged(to.app, delay, flight, head)).await;
                flight = answered;
                outcome
            }
        };
        // 9. What does it tell of the endpoint, and shall it be tried again?
        match to.call.judge(flight, outcome) {
            // 10. Pass the response on; its body brings the connection back to the pool when it ends.
            Judgement::Pass(answer, flight) => return to.call.pass_on(to.app, answer, flight),
            // 11. Another attempt, at another endpoint where there is one.
            Judgement::Again(wait) if wait.is_zero() => {}
            Judgement::Again(wait) => tokio::time::sleep(wait).await,
            // 12. Say what was tried and why it failed.
            Judgement::GiveUp(fault) => return to.call.give_up(&fault, to.app),
        }
    }
}

/// Why there is a head where one is needed.
const HEAD: &str = "the head is given away with the last attempt only";

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
        let Ruled { cluster, service, rare } = ruled;
        let own_policy = rare.as_ref().and_then(|rare| rare.own_policy.as_deref());
        let policy = own_policy.unwrap_or(&service.policy);
        let outsider = app.is_ingress();
        let mut body = Source::new(body, policy.retry.max_body_bytes);
        if let Some(recording) = &mut recording {
            recording.is_for(&service);
            recording.takes(rare.as_ref().and_then(|rare| rare.route.as_ref()?.name.as_ref()));
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

    /// Where somebody looks, the attempt is noted, and the head says what it is in the trace.
    fn mark_attempt(&mut self, flight: &Flight, app: &Downstream, head: &mut request::Parts) {
        if let Some(recording) = &mut self.recording {
            let endpoint = &flight.upstream().shared;
            let inbound = app.is_inbound();
            watch::attempt(self.worker, recording, endpoint, inbound, flight.started(), head);
        }
    }

    fn is_last_attempt(&self) -> bool {
        self.attempts > self.policy().retry.retries
    }

    async fn attempt(&self, flight: &Flight, kept: &mut Option<request::Parts>) -> Result<Answer, Fault> {
        // Copied only where another attempt could need it.
        let head = match self.is_last_attempt() {
            true => Head::Last(kept),
            false => Head::Copy(kept.as_ref().expect(HEAD)),
        };
        let (mut limits, following) = (self.limits(flight), self.following());
        let fresh = self.fresh_connection;
        attempt::run(flight.upstream(), self.protocol, head, &self.body, &mut limits, following, fresh).await
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
