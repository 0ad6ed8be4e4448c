//! Copies of requests to another service, whose answers are thrown away.
//!
//! A copy has a task of its own: the request that it is made of neither waits for it nor fails with it. It goes out once,
//! to whoever the other service's balancing picks, under that service's timeouts and limits; it is never tried again and
//! never queued.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::balance::Tried;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, request};
use http_body_util::BodyExt;

use super::attempt::{self, AnswerBody, Head, Limits, Protocol};
use super::body::Body;
use super::outcome::{class, grpc_status, penalised, tells_against};
use super::replay::Source;
use super::{forward, headers};
use crate::cluster::Cluster;
use crate::pool::Patience;
use crate::snapshot::rules::{Mirrored, RouteCounters};
use crate::worker::Worker;

/// How many copies a worker has under way at most.
const MOST: usize = 128;
/// How long one may take, its response included, where the service has no `perRequestTimeoutSeconds`.
const LONGEST: Duration = Duration::from_secs(15);
/// What tells a copy from its request. The host stays as it was: servers go by it.
const MARK: HeaderName = HeaderName::from_static("x-bowline-mirror");

/// A copy that has not been sent yet.
pub struct Copy {
    worker: Rc<Worker>,
    cluster: Rc<Cluster>,
    head: request::Parts,
    protocol: Protocol,
    grpc: bool,
    counters: Arc<RouteCounters>,
}

/// One of the copies under way.
struct Room(Rc<Worker>);

impl Room {
    fn take(worker: &Rc<Worker>) -> Option<Self> {
        let under_way = worker.mirrors.get();
        (under_way < MOST).then(|| {
            worker.mirrors.set(under_way + 1);
            Room(worker.clone())
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

impl Copy {
    /// A copy of a request, whose head is ready to be sent. `None`: its service is none of the mesh.
    pub fn of(
        worker: &Rc<Worker>,
        service: &str,
        head: &request::Parts,
        grpc: bool,
        counters: &Arc<RouteCounters>,
    ) -> Option<Self> {
        let Some(cluster) = worker.cluster_by_name(service) else {
            counters.mirror(Mirrored::Failed);
            return None;
        };
        let protocol = forward::protocol(&cluster.service(), head.version);
        let mut head = head.clone();
        head.headers.insert(MARK, HeaderValue::from_static("1"));
        // Nobody waits for leave to send the body.
        head.headers.remove(header::EXPECT);
        let changed = match protocol {
            Protocol::Http1 => headers::to_http1(&mut head),
            Protocol::Http2 => headers::to_http2(&mut head),
        };
        if changed.is_err() {
            counters.mirror(Mirrored::Failed);
            return None;
        }
        Some(Copy { worker: worker.clone(), cluster, head, protocol, grpc, counters: counters.clone() })
    }

    /// Sends it, if there is room. `None`: the body has not been kept.
    pub fn send(self, body: Option<Source>) {
        let Some(body) = body else { return self.counters.mirror(Mirrored::NoBody) };
        let (Some(room), Ok(permit)) = (Room::take(&self.worker), self.cluster.try_enter()) else {
            return self.counters.mirror(Mirrored::Busy);
        };
        tokio::task::spawn_local(async move {
            let counters = self.counters.clone();
            let answered = self.run(body).await;
            counters.mirror(if answered { Mirrored::Answered } else { Mirrored::Failed });
            drop((room, permit));
        });
    }

    /// Whether it was answered to the end.
    async fn run(self, body: Source) -> bool {
        let clock = &self.worker.clock;
        let (now, service) = (clock.now(), self.cluster.service());
        let policy = &service.policy;
        let Some(picked) = self.cluster.pick(now, &mut self.worker.rng(), &Tried::new(), None) else {
            return false;
        };
        let mut flight = self.cluster.start(picked, now);
        let upstream = flight.upstream().clone();
        flight.sent(now);
        let begun = clock.instant(now);
        let until = begun + policy.per_request.unwrap_or(LONGEST);
        let mut limits = Limits {
            arrived: begun,
            begun,
            response: if self.grpc { policy.grpc_response_headers } else { policy.response_headers },
            attempt: None,
            until: Some(until),
            idle: policy.idle,
            patience: Patience { connect: policy.connect, wait: begun },
        };
        let answer = match attempt::run(
            &upstream,
            self.protocol,
            Head::Copy(&self.head),
            &body,
            &mut limits,
            None,
            false,
        )
        .await
        {
            Ok(answer) if answer.status() != StatusCode::SWITCHING_PROTOCOLS => answer,
            Ok(_) => return false,
            Err(fault) => {
                tracing::debug!(service = service.name, endpoint = %upstream.addr, %fault, "a copy failed");
                flight.failed(clock.now(), fault.blames_endpoint(), fault.is_timeout());
                return false;
            }
        };
        let status = answer.status();
        let grpc = if self.grpc { grpc_status(answer.headers()) } else { None };
        let against = tells_against(status, grpc);
        flight.answered(clock.now(), class(status, grpc), against, penalised(status, grpc));
        let limit = Some(Box::pin(tokio::time::sleep_until(until)));
        let mut body = match answer.into_parts().1 {
            AnswerBody::Http1(body) => Body::http1(body, flight, limit),
            AnswerBody::Http2(body) => Body::http2(body, flight, limit),
        };
        loop {
            match body.frame().await {
                None => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
            }
        }
    }
}
