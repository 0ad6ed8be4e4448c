//! The way of a request. [`forward`] is all of it, step by step; each step is one call.

mod judge;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::balance::Tried;
use bowline_core::retry::is_idempotent;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;
use judge::Judgement;
use tokio::time::Instant;

use super::app_body::AppBody;
use super::attempt::{self, Answer, AnswerBody, Limits, Protocol};
use super::body::Body;
use super::headers::{self, BadHead, Scan};
use super::outcome::{class, grpc_status};
use super::replay::Source;
use super::{connect, outside, respond, upgrade, watch};
use crate::cluster::{Cluster, Flight, MustQueue, Permit};
use crate::error::{Fault, Reason};
use crate::listen::{Downstream, Refusal};
use crate::pool::Patience;
use crate::record::Recording;
use crate::snapshot::Service;
use crate::telemetry::failures::Note;
use crate::telemetry::metrics::Class;
use crate::worker::Worker;

/// How long a request may take for the sake of the queue where nothing else bounds it: the default of
/// `responseHeadersSeconds`.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Carries one request of the app to an endpoint of its service, and the response back.
pub async fn forward(app: &Downstream, request: Request<AppBody>) -> Response<Body> {
    let worker = app.worker();
    let (mut head, body) = request.into_parts();
    let scan = headers::scan(&head.headers);
    let recording = watch::begin(app, &mut head, &scan);

    // 1. Which service is it for?
    let cluster = match app.route(&head, &scan) {
        Ok(cluster) => cluster,
        // Boxed: it is rare and large.
        Err(refusal) => return Box::pin(unrouted(app, head, body, scan, refusal, recording)).await,
    };
    // 2. What the request is, as far as timeouts and retries care.
    let mut call = Call::new(worker, cluster, &head, body, scan.grpc, recording);
    // 3. The head as the endpoint will see it.
    if let Err(BadHead(why)) = call.prepare(&mut head, &scan, app) {
        return call.refuse(Reason::BadRequest, why);
    }
    // 4. Is there room?
    if let Err(fault) = call.enter().await {
        return call.refuse(fault.reason, &fault.detail);
    }
    let mut head = Some(head);
    loop {
        // 5. Which endpoint?
        let Some(mut flight) = call.pick() else {
            let why = call.service.why_no_endpoint();
            return call.refuse(Reason::NoEndpoints, &why);
        };
        // 6. Send the request, wait for the response head.
        let attempt_head = call.head_for_attempt(&flight, app, &mut head);
        #[cfg(test)]
        crate::worker::tests::panic_on(&attempt_head);
        let outcome = call.attempt(&mut flight, attempt_head).await;
        // 7. What does it tell of the endpoint, and shall it be tried again?
        match call.judge(flight, outcome) {
            // 8. Pass the response on; its body brings the connection back to the pool when it ends.
            Judgement::Pass(answer, flight) => return call.pass_on(app, answer, flight),
            // 9. Another attempt, at another endpoint where there is one.
            Judgement::Again(wait) if wait.is_zero() => {}
            Judgement::Again(wait) => tokio::time::sleep(wait).await,
            // 10. Say what was tried and why it failed.
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
    let response = respond::failure(refusal.reason, &refusal.text, scan.grpc);
    if let Some(recording) = recording {
        recording.refused(refusal.reason, response.body().length(), app.worker().clock.now());
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
    body: Source,
    grpc: bool,
    /// The app speaks HTTP/2.
    http2_app: bool,
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
        worker: &'a Rc<Worker>,
        cluster: Rc<Cluster>,
        head: &request::Parts,
        body: AppBody,
        grpc: bool,
        mut recording: Option<Recording>,
    ) -> Self {
        let service = cluster.service();
        let mut body = Source::new(body, service.policy.retry.max_body_bytes);
        if let Some(recording) = &mut recording {
            recording.is_for(&service);
            body.count(recording.received());
        }
        let started = worker.clock.now();
        service.budget.deposit(started);
        let per_request = service.policy.per_request;
        let grpc_timeout = if grpc { headers::grpc_timeout(&head.headers) } else { None };
        let limit = [per_request, grpc_timeout].into_iter().flatten().min();
        Call {
            worker,
            body,
            grpc,
            http2_app: head.version == Version::HTTP_2,
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
        }
    }

    fn prepare(&mut self, head: &mut request::Parts, scan: &Scan, app: &Downstream) -> Result<(), BadHead> {
        headers::ensure_host(head, scan, app.alias());
        if let Some(client) = app.client() {
            headers::add_forwarded_for(&mut head.headers, client);
        }
        // With a body under way the tunnel would have no clear beginning.
        let may_upgrade = scan.one_hop && self.protocol == Protocol::Http1 && self.body.is_empty();
        let offer = if may_upgrade { upgrade::offered(head) } else { None };
        headers::strip_request(head, scan);
        if let Some(offer) = offer {
            self.upgrade = true;
            upgrade::put(&mut head.headers, offer);
        }
        headers::ensure_request_id(&mut head.headers, scan, &mut self.worker.rng());
        match self.protocol {
            Protocol::Http1 => headers::to_http1(head),
            Protocol::Http2 => headers::to_http2(head),
        }
    }

    async fn enter(&mut self) -> Result<(), Fault> {
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
        let policy = &self.service.policy;
        let arrived = self.worker.clock.instant(self.started);
        let response = if self.grpc { policy.grpc_response_headers } else { policy.response_headers };
        let whole = self.until.map(|until| until.saturating_duration_since(arrived));
        arrived + [response, whole].into_iter().flatten().min().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT) / 2
    }

    fn pick(&mut self) -> Option<Flight> {
        let now = if self.attempts == 0 { self.started } else { self.worker.clock.now() };
        let upstream = self.cluster.pick(now, &mut self.worker.rng(), &self.tried)?;
        let mut flight = self.cluster.start(upstream, now);
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
        let head = if self.is_last_attempt() { head.take() } else { head.clone() };
        let mut head = head.expect("the head is given away with the last attempt only");
        if let Some(recording) = &mut self.recording {
            let endpoint = &flight.upstream().shared;
            let inbound = app.client().is_some();
            watch::attempt(self.worker, recording, endpoint, inbound, flight.started(), &mut head);
        }
        head
    }

    fn is_last_attempt(&self) -> bool {
        self.attempts > self.service.policy.retry.retries
    }

    async fn attempt(&self, flight: &mut Flight, head: request::Parts) -> Result<Answer, Fault> {
        let policy = &self.service.policy;
        let begun = flight.started();
        let p99 = self.cluster.recent_p99(begun);
        let clock = &self.worker.clock;
        let limits = Limits {
            arrived: clock.instant(self.started),
            begun: clock.instant(begun),
            response: if self.grpc { policy.grpc_response_headers } else { policy.response_headers },
            attempt: policy.attempt.of(self.idempotent && !self.grpc, self.is_last_attempt(), p99),
            until: self.until,
            idle: policy.idle,
            patience: Patience { connect: policy.connect, wait: self.may_wait_until() },
        };
        let upstream = flight.upstream();
        attempt::run(upstream, self.protocol, head, &self.body, limits, self.fresh_connection).await
    }

    fn pass_on(&mut self, app: &Downstream, answer: Answer, mut flight: Flight) -> Response<Body> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(app, answer, flight);
        }
        let grpc_status = if self.grpc { grpc_status(answer.headers()) } else { None };
        self.count(class(answer.status(), grpc_status), flight.answered_at());
        if let Some(recording) = &mut self.recording {
            recording.answered(answer.status(), grpc_status, flight.answered_at());
        }
        let limit = self.until.map(|until| Box::pin(tokio::time::sleep_until(until)));
        flight.hold(self.permit.take());
        let (mut head, body) = answer.into_parts();
        headers::strip_response(&mut head);
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
        match upgrade::switch(app, &self.cluster, &self.service, answer, flight, &mut self.recording) {
            Some(response) => {
                self.count(Class::Other, now);
                response
            }
            None => self.refuse(Reason::Reset, "the endpoint left as it switched protocols"),
        }
    }

    fn give_up(&mut self, fault: &Fault, app: &Downstream) -> Response<Body> {
        let attempts = match self.attempts {
            1 => "1 attempt".to_owned(),
            n => format!("{n} attempts"),
        };
        let mut response =
            self.answer_for(fault.reason, &format!("{attempts} failed, the last one with {fault}"));
        if app.client().is_some() && fault.is_unprocessed() {
            headers::mark_unprocessed(response.headers_mut());
        }
        response
    }

    fn refuse(&mut self, reason: Reason, why: &str) -> Response<Body> {
        let note = Note { service: &self.service.name, endpoint: None, reason: reason.as_str(), told: true };
        self.cluster.failures.note(note, why);
        self.answer_for(reason, why)
    }

    /// The answer of the proxy itself.
    fn answer_for(&mut self, reason: Reason, why: &str) -> Response<Body> {
        let now = self.worker.clock.now();
        self.count(Class::None, now);
        self.service.shared.local_responses.inc(reason.as_str());
        let text = format!("service {}: {why}", self.service.name);
        let response = respond::failure(reason, &text, self.grpc);
        if let Some(recording) = self.recording.take() {
            recording.refused(reason, response.body().length(), now);
        }
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
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.counted {
            self.cluster.counters.requests[Class::Cancelled as usize].inc();
            if self.queued {
                self.cluster.limiter.served_in_vain();
            }
        }
    }
}

/// The service's declared protocol, else the app's own.
fn protocol(service: &Service, app: Version) -> Protocol {
    use bowline_api::model::AppProtocol;
    match service.protocol {
        Some(AppProtocol::Http) => Protocol::Http1,
        Some(AppProtocol::Http2 | AppProtocol::Grpc) => Protocol::Http2,
        Some(AppProtocol::Tcp) | None if app == Version::HTTP_2 => Protocol::Http2,
        Some(AppProtocol::Tcp) | None => Protocol::Http1,
    }
}
