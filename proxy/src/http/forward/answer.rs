//! How a request ends: with a response that is passed on, or with an answer of the proxy's own.

use bowline_core::Tick;
use bowline_core::breaker::Outcome;
use http::{HeaderMap, Response, StatusCode, Version, header};

use super::Call;
use crate::cluster::Flight;
use crate::error::{Fault, Reason};
use crate::http::attempt::{Answer, AnswerBody};
use crate::http::body::Body;
use crate::http::outcome::{class, grpc_status, tells_against};
use crate::http::{headers, respond, upgrade};
use crate::listen::Downstream;
use crate::telemetry::failures::Note;
use crate::telemetry::metrics::Class;

impl Call<'_> {
    /// Passes a response on; its body brings the connection back to the pool when it ends.
    pub(super) fn pass_on(&mut self, app: &Downstream, answer: Answer, mut flight: Flight) -> Response<Body> {
        self.mirror_body();
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(app, answer, flight);
        }
        let grpc_status = if self.grpc { grpc_status(answer.headers()) } else { None };
        self.count(class(answer.status(), grpc_status), flight.answered_at());
        if self.has_permit() {
            let against = tells_against(answer.status(), grpc_status);
            let outcome = if against { Outcome::Failure } else { Outcome::Success };
            self.tell_breaker(flight.answered_at(), outcome);
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
        self.finish_head(&mut head.headers);
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
                self.tell_breaker(now, Outcome::Success);
                self.count(Class::Other, now);
                self.finish_head(response.headers_mut());
                response
            }
            None => {
                self.tell_breaker(now, Outcome::Failure);
                self.refuse(Reason::Reset, "the endpoint left as it switched protocols")
            }
        }
    }

    /// What the request leaves in the head of an endpoint's response: cookies, and the changes of its route.
    fn finish_head(&mut self, headers: &mut HeaderMap) {
        if let Some(rare) = &mut self.rare {
            for cookie in rare.set_cookies.drain(..) {
                headers.append(header::SET_COOKIE, cookie);
            }
            self.change_response(headers);
        }
    }

    /// Says what was tried and why it failed.
    pub(super) fn give_up(&mut self, fault: &Fault, app: &Downstream) -> Response<Body> {
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

    /// There is no endpoint that it could go to.
    #[cold]
    pub(super) fn refuse_for_want_of_endpoints(&mut self) -> Response<Body> {
        if self.cluster.is_shut(self.worker.clock.now(), &mut self.worker.rng()) {
            return self.refuse(Reason::CircuitOpen, "the circuit breakers of all its endpoints are open");
        }
        let why = match self.rare.as_ref().and_then(|rare| rare.astray.as_ref()) {
            Some(why) => why.clone().into(),
            None => self.service.why_no_endpoint(),
        };
        self.refuse(Reason::NoEndpoints, &why)
    }

    /// The proxy's own answer, with a note of the failure.
    pub(super) fn refuse(&mut self, reason: Reason, why: &str) -> Response<Body> {
        self.refuse_with(reason, why, |_| {})
    }

    /// The same with more in its head.
    pub(super) fn refuse_with(
        &mut self,
        reason: Reason,
        why: &str,
        more: impl FnOnce(&mut Response<Body>),
    ) -> Response<Body> {
        let note = Note { service: &self.service.name, endpoint: None, reason: reason.as_str(), told: true };
        self.cluster.failures.note(note, why);
        self.answer_with(reason, why, more)
    }

    /// The same without a note.
    fn answer_for(&mut self, reason: Reason, why: &str) -> Response<Body> {
        self.answer_with(reason, why, |_| {})
    }

    pub(super) fn answer_with(
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

    /// Counts the request, by the class of its response.
    pub(super) fn count(&mut self, class: Class, now: Tick) {
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
        if self.has_permit() {
            self.tell_breaker(self.worker.clock.now(), Outcome::Cancelled);
        }
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
