//! Names outside of the mesh, which the forward proxy passes through to where they point, and requests on redirected
//! connections that are for nobody in the mesh, which go on to where the connection was going. They have no policy: each
//! address is tried once, nothing is tried again after that, and no connection over HTTP/1.1 is kept.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Version, request};
use tokio::net::TcpStream;

use super::app_body::AppBody;
use super::attempt::{self, AnswerBody, Head, Limits, Protocol};
use super::body::Body;
use super::headers::{self, Scan};
use super::replay::Source;
use super::respond;
use crate::error::{Fault, Reason};
use crate::limiter::{Limiter, Place};
use crate::listen::Refusal;
use crate::pool::{Patience, Upstream};
use crate::snapshot::SharedEndpoint;
use crate::telemetry::metrics::{Class, TunnelEnd};
use crate::tunnel::Tunnel;
use crate::worker::{Worker, normalise};

/// For the system's resolver, and for each connection: these names may be far away.
const WITHIN: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MOST: usize = 4;
/// As for TCP services.
const IDLE: Duration = bowline_api::model::Timeout::IDLE_TCP;

/// Where a name points. Its own listeners are no place to send anything to: the proxy would call itself for ever.
async fn resolve(worker: &Worker, authority: &str) -> Result<Vec<Rc<Upstream>>, Fault> {
    let name = normalise(authority);
    let unknown = |why: String| Fault::unsent(Reason::UnknownService, format_args!("{name}: {why}"));
    let found = match tokio::time::timeout(WITHIN, tokio::net::lookup_host(&name)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(unknown(error.to_string())),
        Err(_elapsed) => return Err(unknown(format!("the resolver took longer than {WITHIN:?}"))),
    };
    let mut upstreams = Vec::new();
    let unlimited = Arc::new(Limiter::default());
    for addr in found.take(MOST) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if worker.is_own_listener(addr) {
            let text = format_args!("{name} is {addr}, a listener of this proxy itself");
            return Err(Fault::unsent(Reason::Loop, text));
        }
        let upstream = Upstream::new(SharedEndpoint::new(addr), 0, &unlimited);
        // Of no service: what is left of its connection is not kept for anyone.
        upstream.retire();
        upstreams.push(upstream);
    }
    match upstreams.is_empty() {
        true => Err(unknown("it has no address".to_owned())),
        false => Ok(upstreams),
    }
}

/// Opens a tunnel to where a name points.
///
/// # Errors
/// It points nowhere, to this proxy, or to where nobody accepts.
pub async fn open(worker: &Worker, authority: &str) -> Result<Tunnel, Fault> {
    let counters = &worker.counters().outside_tunnels;
    let connected = match resolve(worker, authority).await {
        Ok(upstreams) => first(&upstreams).await,
        Err(fault) => Err(fault),
    };
    match connected {
        Ok((upstream, place)) => {
            Ok(Tunnel::new(upstream, Bytes::new(), place, None, Some(IDLE), counters.clone()))
        }
        Err(fault) => {
            counters.ended[TunnelEnd::Failed as usize].inc();
            Err(fault)
        }
    }
}

async fn first(upstreams: &[Rc<Upstream>]) -> Result<(TcpStream, Place), Fault> {
    let mut last = Fault::unsent(Reason::UnknownService, "no address");
    for upstream in upstreams {
        match upstream.connect_tunnel(WITHIN).await {
            Ok(connected) => return Ok(connected),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

/// Forwards a request to where its target points. `refusal` is what the mesh says of the name.
pub async fn forward(
    worker: &Worker,
    mut head: request::Parts,
    body: AppBody,
    scan: &Scan,
    refusal: &Refusal,
) -> Response<Body> {
    let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    headers::strip_request(&mut head, scan);
    let outcome = match headers::to_http1(&mut head) {
        Ok(()) => match resolve(worker, &authority).await {
            Ok(upstreams) => exchange(&upstreams, Protocol::Http1, head, body).await,
            Err(fault) => Err(fault),
        },
        Err(headers::BadHead(why)) => Err(Fault::unsent(Reason::BadRequest, why)),
    };
    answer(worker, &authority, outcome, scan, refusal)
}

/// Forwards a request to where its connection was going before it was redirected, over the HTTP version that the app
/// speaks.
pub async fn forward_to(
    worker: &Worker,
    original: &Rc<Upstream>,
    mut head: request::Parts,
    body: AppBody,
    scan: &Scan,
    refusal: &Refusal,
) -> Response<Body> {
    headers::strip_request(&mut head, scan);
    let (protocol, prepared) = match head.version {
        Version::HTTP_2 => (Protocol::Http2, headers::to_http2(&mut head)),
        _ => (Protocol::Http1, headers::to_http1(&mut head)),
    };
    let outcome = match prepared {
        Ok(()) => exchange(std::slice::from_ref(original), protocol, head, body).await,
        Err(headers::BadHead(why)) => Err(Fault::unsent(Reason::BadRequest, why)),
    };
    let response = answer(worker, &original.addr.to_string(), outcome, scan, refusal);
    match scan.grpc && protocol == Protocol::Http2 {
        true => response.map(Body::for_grpc),
        false => response,
    }
}

fn answer(
    worker: &Worker,
    authority: &str,
    outcome: Result<Response<Body>, Fault>,
    scan: &Scan,
    refusal: &Refusal,
) -> Response<Body> {
    let (class, response) = match outcome {
        Ok(response) => (Class::of(response.status()), response),
        Err(fault) => {
            tracing::debug!(authority, %fault, "a name outside of the mesh can't be reached");
            let text = format!("{}; outside of the mesh: {fault}", refusal.text);
            (Class::None, respond::failure(fault.reason, &text, scan.grpc))
        }
    };
    worker.counters().outside[class as usize].inc();
    response
}

async fn exchange(
    upstreams: &[Rc<Upstream>],
    protocol: Protocol,
    head: request::Parts,
    body: AppBody,
) -> Result<Response<Body>, Fault> {
    let body = Source::new(body, 0);
    let now = tokio::time::Instant::now();
    let patience = Patience { connect: WITHIN, wait: now };
    // How long an answer may take is for the app to say: this is nothing that the mesh file describes.
    let mut limits = Limits {
        arrived: now,
        begun: now,
        response: None,
        attempt: None,
        until: None,
        idle: Some(bowline_api::model::Timeout::IDLE_HTTP),
        patience,
    };
    let mut upstreams = upstreams.iter().peekable();
    loop {
        let upstream = upstreams.next().expect("a name without an address is refused");
        let answer =
            match attempt::run(upstream, protocol, Head::Copy(&head), &body, &mut limits, None, true).await {
                Err(fault) if fault.reason.is_connect() && upstreams.peek().is_some() => continue,
                outcome => outcome?,
            };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::new(Reason::InvalidResponse, "101 to a request that asked for no upgrade"));
        }
        let (mut head, body) = answer.into_parts();
        headers::strip_response(&mut head);
        head.version = Version::HTTP_11;
        return match body {
            AnswerBody::Http1(body) => Ok(Response::from_parts(head, Body::outside(body))),
            AnswerBody::Http2(body) => Ok(Response::from_parts(head, Body::outside_http2(body))),
        };
    }
}
