//! TCP services: a connection of the app is a connection to an endpoint, whatever is said on it and whoever speaks
//! first.

use std::rc::Rc;

use bowline_core::balance::Tried;
use bowline_core::retry::{Attempt, Body, Failure, Verdict};
use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::drain::Signal;
use crate::error::{Fault, Reason};
use crate::listen::Downstream;
use crate::telemetry::failures::Note;
use crate::telemetry::metrics::{Class, TunnelEnd};
use crate::tunnel::Tunnel;
use crate::worker::Worker;

/// Carries one connection of the app to an endpoint of its service, until it ends.
pub async fn serve(downstream: Rc<Downstream>, cluster: Rc<Cluster>, app: TcpStream, drain: Signal) {
    match open(downstream.worker(), &cluster).await {
        Ok(tunnel) => tunnel.run(app, Bytes::new(), &downstream.activity, drain).await,
        Err(fault) => {
            tracing::debug!(service = cluster.service().name, %fault, "a TCP connection has no endpoint to go to");
            // The nearest thing to a refused connection that can still be said.
            let _ = SockRef::from(&app).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

/// Opens a tunnel to an endpoint of the service: another one is tried where one can't be reached, as retries and
/// budget allow. Nothing has been sent by then, so that is always safe.
///
/// # Errors
/// No endpoint could be reached; says what came of the last one.
pub async fn open(worker: &Worker, cluster: &Rc<Cluster>) -> Result<Tunnel, Fault> {
    let service = cluster.service();
    let counters = cluster.counters.tunnels.clone();
    let mut now = worker.clock.now();
    service.budget.deposit(now);
    let mut tried = Tried::new();
    let mut attempts = 0;
    let hashing = service.hashing.as_ref();
    let key = hashing.and_then(|hashing| hashing.key.of_connection(worker.here().address));
    let fault = loop {
        let picked = cluster.pick(now, &mut worker.rng(), &tried, key);
        let Some(upstream) = picked else {
            let reason = Reason::NoEndpoints;
            let note = Note { service: &service.name, endpoint: None, reason: reason.as_str(), told: true };
            cluster.failures.note(note, service.why_no_endpoint());
            break Fault::unsent(reason, format_args!("service {} has no endpoint", service.name));
        };
        let mut flight = cluster.start(upstream, now);
        flight.mark(&mut tried);
        flight.sent(now);
        attempts += 1;
        let outcome = flight.upstream().connect_tunnel(service.policy.connect).await;
        now = worker.clock.now();
        let fault = match outcome {
            Ok((upstream, place)) => {
                flight.answered(now, Class::Other, false, false);
                flight.established(now);
                let idle = service.policy.idle;
                return Ok(Tunnel::new(upstream, Bytes::new(), place, Some(flight), idle, counters));
            }
            Err(fault) => fault,
        };
        tracing::debug!(service = service.name, attempt = attempts, %fault, "attempt failed");
        service.shared.attempt_failures.inc(fault.reason.as_str());
        if fault.reason == Reason::Overloaded {
            flight.note(fault.reason.as_str(), true, &fault.detail);
            break fault;
        }
        let attempt = Attempt {
            number: attempts,
            failure: Failure::Connect,
            idempotent: false,
            grpc: false,
            body: Body::Unread,
            another_endpoint: cluster.has_untried(&tried),
            time_left: None,
        };
        let withdraw = || service.budget.withdraw(now);
        let verdict = service.policy.retry.decide(&attempt, &mut worker.rng(), withdraw);
        flight.note(fault.reason.as_str(), matches!(verdict, Verdict::Stop(_)), &fault.detail);
        flight.failed(now, fault.blames_endpoint(), fault.is_timeout());
        match verdict {
            Verdict::Retry(wait) => {
                service.shared.retries.inc(fault.reason.as_str());
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                    now = worker.clock.now();
                }
            }
            Verdict::Stop(reason) => {
                service.shared.retries_refused.inc(reason.as_str());
                break fault;
            }
        }
    };
    counters.ended[TunnelEnd::Failed as usize].inc();
    Err(fault)
}
