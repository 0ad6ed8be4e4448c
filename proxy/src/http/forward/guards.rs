//! What a request has to pass before it is sent: rate limits, the circuit breaker, the learnt limit of requests in flight;
//! and what they are told when it has been answered.

use std::sync::Arc;
use std::time::Duration;

use bowline_api::model::Fallback;
use bowline_core::Tick;
use bowline_core::breaker::{Outcome, Rejected};
use http::{HeaderMap, HeaderValue, Response, header, request};

use super::{Call, rules};
use crate::access::Denied;
use crate::access::token::Bad;
use crate::cluster::Cluster;
use crate::error::{Fault, Reason, Source};
use crate::guard::{self, AdaptiveLimit, CircuitBreaker, RateLimits, Refused};
use crate::http::body::Body;
use crate::http::headers::Scan;
use crate::http::respond;
use crate::listen::Downstream;
use crate::snapshot::Service;

impl Call<'_> {
    /// Whether anything stands before the service, or in front of the app that is called.
    #[inline]
    pub(super) fn is_guarded(&self, app: &Downstream) -> bool {
        self.service.guards.is_some() || self.route().is_some() || app.client().is_some()
    }

    /// Passes what stands before the service: rate limits, what the route does on purpose, the circuit breaker.
    ///
    /// # Errors
    /// The answer that the caller gets instead.
    pub(super) async fn pass_guards(
        &mut self,
        app: &Downstream,
        head: &mut request::Parts,
        scan: &Scan,
    ) -> Result<(), Box<Response<Body>>> {
        if app.client().is_some() {
            self.pass_access(app, head, scan).await?;
        }
        // Boxed, all of it that waits: it is rare.
        match self.take_limits(app, head, scan) {
            Ok(None) => {}
            Ok(Some(wait)) => Box::pin(self.wait_for_turn(wait)).await?,
            Err(refused) => return Err(Box::new(self.limited(&refused))),
        }
        if self.route().is_some_and(|route| route.intervenes())
            && let Some(response) = Box::pin(self.intervene(app, head, scan)).await
        {
            return Err(Box::new(response));
        }
        self.pass_breaker()
    }

    /// The services that callers come in for: the one that the app is; at an ingress the ingress itself, and the service that it
    /// exposes. None: nobody comes in here, or no name is known.
    fn entered(&self, app: &Downstream) -> [Option<Arc<Service>>; 2] {
        if !app.is_ingress() {
            return [app.called(), None];
        }
        let entry = app.entry();
        let exposed = self.owner().unwrap_or(&self.service);
        let other = entry.as_ref().is_none_or(|entry| entry.name != exposed.name);
        [entry, other.then(|| exposed.clone())]
    }

    /// Whether who calls may do so, where that is asked.
    async fn pass_access(
        &mut self,
        app: &Downstream,
        head: &mut request::Parts,
        scan: &Scan,
    ) -> Result<(), Box<Response<Body>>> {
        if let Some(name) = app.lacks_guard() {
            let why = format!("service {name}, which says who may call the app, is not in this proxy's mesh");
            return Err(Box::new(self.refuse(Reason::NoMesh, &why)));
        }
        let [first, exposed] = self.entered(app);
        // The route is that of the exposed service, where there is one.
        let of_first = app.is_ingress() && exposed.is_none();
        if let Some(service) = first {
            let is_public = match app.is_ingress() {
                true => of_first && self.route().is_some_and(|route| route.public),
                false => rules::route_of(app, &service, head, scan).is_some_and(|route| route.public),
            };
            self.pass_access_of(&service, is_public, head).await?;
        }
        if let Some(service) = exposed {
            let is_public = self.route().is_some_and(|route| route.public);
            self.pass_access_of(&service, is_public, head).await?;
        }
        Ok(())
    }

    async fn pass_access_of(
        &mut self,
        entered: &Service,
        is_public: bool,
        head: &mut request::Parts,
    ) -> Result<(), Box<Response<Body>>> {
        let Some(access) = entered.access.clone() else { return Ok(()) };
        if is_public {
            access.clean(&mut head.headers);
            self.rare().doors.push((access, None));
            return Ok(());
        }
        let mut checked = access.check(&head.headers);
        if checked == Err(Denied::Token(Bad::UnknownKey))
            && let Some(keys) = access.key_set()
            && Box::pin(keys.ask_again()).await
        {
            checked = access.check(&head.headers);
        }
        match checked {
            Ok(granted) => {
                access.clean(&mut head.headers);
                granted.put(&mut head.headers);
                self.rare().doors.push((access, Some(granted)));
                Ok(())
            }
            Err(denied) => {
                entered.shared.access_refused.inc(denied.why());
                Err(Box::new(self.deny(&denied)))
            }
        }
    }

    #[cold]
    fn deny(&mut self, denied: &Denied) -> Response<Body> {
        let reason = match denied {
            Denied::NoKeySet(_) => return self.refuse(Reason::NoKeySet, &denied.text()),
            // RFC 6750, 3.1. Another token of the same kind would not help.
            Denied::Token(Bad::Scope) => Reason::Forbidden,
            _ => Reason::Unauthorized,
        };
        self.refuse_with(reason, &denied.text(), |response| {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, denied.challenge());
        })
    }

    /// Takes what the rate limits ask for: those of the service that is called and of its route, and of the one that the
    /// route leads to. What is returned is how long it has to wait for its turn.
    ///
    /// # Errors
    /// The first limit that is reached.
    fn take_limits(
        &self,
        app: &Downstream,
        head: &request::Parts,
        scan: &Scan,
    ) -> Result<Option<Duration>, Refused> {
        let mut wait = match app.client() {
            None => None,
            Some(_) => self.take_limits_inside(app, head, scan)?,
        };
        let mut take = |limits: &RateLimits| {
            let longer = limits.take(&head.headers, app.client(), self.started)?;
            wait = wait.max(longer);
            Ok(())
        };
        // An ingress is the first proxy inside, and the proxy of those who call.
        if let Some(route) = self.route().filter(|_| !app.is_inbound()) {
            take(&route.outbound)?;
        }
        for service in [self.owner(), Some(&self.service)].into_iter().flatten() {
            if let Some(guards) = &service.guards {
                take(&guards.outbound)?;
            }
        }
        Ok(wait)
    }

    /// The same of the limits that hold where callers come in.
    fn take_limits_inside(
        &self,
        app: &Downstream,
        head: &request::Parts,
        scan: &Scan,
    ) -> Result<Option<Duration>, Refused> {
        let [called, exposed] = self.entered(app);
        let route = match &called {
            Some(called) if app.is_inbound() => rules::route_of(app, called, head, scan),
            _ => self.route(),
        };
        let entered = [&called, &exposed].into_iter().flatten();
        let limits = entered.filter_map(|service| service.guards.as_ref()).map(|guards| &guards.inbound);
        let mut wait = None;
        for limits in limits.chain(route.map(|route| &route.inbound)) {
            wait = wait.max(limits.take(&head.headers, app.client(), self.started)?);
        }
        Ok(wait)
    }

    /// Asks the circuit breaker.
    fn pass_breaker(&mut self) -> Result<(), Box<Response<Body>>> {
        let Some(breaker) = self.breaker() else { return Ok(()) };
        // A wait for its turn is none of the service's time.
        let now = if self.held_up().is_zero() { self.started } else { self.worker.clock.now() };
        let of_endpoints = self.service.endpoint_breakers.is_some();
        let allowed = match of_endpoints && self.cluster.is_shut(now, &mut self.worker.rng()) {
            true => Err(Rejected { retry_after: Duration::ZERO }),
            false => match breaker.breaker() {
                Some(breaker) => breaker.allow(now),
                None => return Ok(()),
            },
        };
        match allowed {
            Ok(permit) => {
                self.rare().permit = Some(permit);
                Ok(())
            }
            Err(rejected) => self.fall_back(rejected),
        }
    }

    /// The breaker of its service.
    fn breaker(&self) -> Option<&CircuitBreaker> {
        self.service.guards.as_ref()?.breaker.as_ref()
    }

    /// Waits for its turn by a rate limit.
    #[cold]
    pub(super) async fn wait_for_turn(&mut self, wait: Duration) -> Result<(), Box<Response<Body>>> {
        let turn = self.worker.clock.instant(self.started) + wait;
        if self.until.is_some_and(|until| until <= turn) {
            let why = "its turn by the rate limit comes after its deadline";
            return Err(Box::new(self.refuse(Reason::RateLimited, why)));
        }
        tokio::time::sleep_until(turn).await;
        self.rare().held_up = self.worker.clock.now().since(self.started);
        Ok(())
    }

    #[cold]
    pub(super) fn limited(&mut self, refused: &Refused) -> Response<Body> {
        self.refuse_with(Reason::RateLimited, &refused.text(), |response| {
            refused.write(response.headers_mut());
        })
    }

    /// What is done instead while the breaker is open.
    #[cold]
    fn fall_back(&mut self, rejected: Rejected) -> Result<(), Box<Response<Body>>> {
        let fallback = self.breaker().and_then(|breaker| breaker.model.fallback.clone());
        let shut = || match rejected.retry_after {
            Duration::ZERO => "its circuit breaker is open, and waits for what a probe finds".to_owned(),
            after => format!("its circuit breaker is open: a probe follows in {:.1} s", after.as_secs_f64()),
        };
        match fallback {
            Some(Fallback { service: Some(name), .. }) => match self.worker.cluster_by_name(&name) {
                Some(cluster) => {
                    self.turn_to(cluster);
                    Ok(())
                }
                None => {
                    let why = format!("{}, and its fallback is gone", shut());
                    Err(Box::new(self.refuse(Reason::CircuitOpen, &why)))
                }
            },
            Some(Fallback { respond: Some(fixed), .. }) => {
                let grpc = self.grpc;
                let fix = |response: &mut Response<Body>| respond::fix(response, &fixed, grpc);
                Err(Box::new(self.answer_with(Reason::CircuitOpen, &shut(), fix)))
            }
            _ => {
                let seconds = rejected.retry_after.as_millis().div_ceil(1000).max(1) as u64;
                let after = |response: &mut Response<Body>| {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                };
                Err(Box::new(self.refuse_with(Reason::CircuitOpen, &shut(), after)))
            }
        }
    }

    /// From here on the request is one to another service, by that one's rules.
    fn turn_to(&mut self, cluster: std::rc::Rc<Cluster>) {
        let service = cluster.service();
        self.cluster.counters.requests[crate::telemetry::metrics::Class::None as usize].inc();
        self.service.shared.local_responses.inc(Reason::CircuitOpen.as_str());
        service.budget.deposit(self.started);
        self.protocol = super::protocol(
            &service,
            if self.http2_app { http::Version::HTTP_2 } else { http::Version::HTTP_11 },
        );
        let limit = service.policy.per_request.map(|limit| self.worker.clock.instant(self.started) + limit);
        self.until = [self.until, limit].into_iter().flatten().min();
        if let Some(recording) = &mut self.recording {
            recording.is_for(&service);
        }
        self.cluster = cluster;
        self.service = service;
        // The route's was of the service that it leads to.
        if let Some(rare) = &mut self.rare {
            rare.own_policy = None;
        }
    }

    /// The learnt limit of its service.
    pub(super) fn adaptive(&self) -> Option<&Arc<AdaptiveLimit>> {
        self.service.guards.as_ref()?.adaptive.as_ref()
    }

    /// How many requests may be in flight for it to be let in; `None`: nobody has learnt that.
    pub(super) fn learnt_limit(&self, headers: &HeaderMap) -> Option<u32> {
        Some(self.adaptive()?.limit_for(headers, self.route().and_then(|route| route.priority)))
    }

    /// The answer came after so long: of what takes work that says how much the service bears.
    pub(super) fn learn(&self, began: Tick, now: Tick) {
        if let Some(adaptive) = self.adaptive() {
            let in_flight = self.cluster.limiter.taken(crate::limiter::Kind::Request);
            adaptive.learnt.record(began, now, in_flight, &mut self.worker.rng());
        }
    }

    /// Tells the service's breaker how the request ended. One that says nothing of it is told too: it may have been the probe.
    pub(super) fn tell_breaker(&mut self, now: Tick, outcome: Outcome) {
        let Some(permit) = self.rare.as_mut().and_then(|rare| rare.permit.take()) else { return };
        let Some(breaker) = self.breaker().and_then(CircuitBreaker::breaker) else { return };
        // What it waited for its turn is none of the service's time.
        let took = now.since(self.started).saturating_sub(self.held_up());
        if let Some(change) = breaker.report(permit, now, outcome, took) {
            guard::log_change(&self.service.name, None, change, breaker.config().reset);
        }
    }

    /// The same where no endpoint has answered.
    pub(super) fn tell_breaker_of(&mut self, fault: &Fault) {
        let outcome = match fault.reason.source() {
            Source::Upstream if fault.is_timeout() => Outcome::Timeout,
            Source::Upstream => Outcome::Failure,
            // It says nothing about the service.
            Source::Downstream | Source::Proxy => Outcome::Cancelled,
        };
        self.tell_breaker(self.worker.clock.now(), outcome);
    }
}
