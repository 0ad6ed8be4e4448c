//! The single pages.

use bowline_api::admin::{
    AliasSummary, AppHealth, Bypass, Config, EndpointSummary, Endpoints, Explanation, HealthPage,
    LimitsSummary, NotCandidate, Readiness, ServiceSummary, Services,
};
use bowline_core::Tick;
use clap::ValueEnum;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::oneshot;

use super::body::PageBody;
use super::routing::{Asked, Goes};
use super::{Admin, Page, guards, json, routing, spread, text};
use crate::config::LogLevel;
use crate::discovery::Command;
use crate::drain::Phase;
use crate::limiter::Kind;
use crate::observe::tap::query;
use crate::register::AppState;
use crate::snapshot::{Endpoint, Origin, Service};
use crate::telemetry::dns::DnsStatus;
use crate::telemetry::metrics::Class;

/// What there is.
pub(super) const INDEX: &str = "\
bowline-proxy admin. GET reads, POST changes.
  GET  /health                 live, ready and why not, and how the app is by its own checks
  GET  /health/live            the process runs
  GET  /health/ready           200 when it takes work, else 503 with the reasons
  GET  /metrics                Prometheus text
  GET  /services               names, ports and VIPs of the mesh in force
  GET  /endpoints              each endpoint's state, load and latency
  GET  /explain?url=URL        where a request would go, and why not elsewhere (&method=POST&header=x-user:%20ann)
  GET  /tap?failed=true&...     requests as they end, a line of JSON each (filters: /tap?help=true)
  GET  /config                 the mesh in force, with all defaults
  POST /logging?level=LEVEL    error, warn, info or debug
  GET  /bypass                 services whose traffic goes straight through
  POST /bypass?service=NAME&on=true|false   send a service's traffic straight through: no retries, timeouts, ejections
  POST /drain                  finish what is under way and exit
";

fn reasons(admin: &Admin) -> Vec<String> {
    let mut reasons = Vec::new();
    if admin.drain.phase() > Phase::Serving {
        reasons.push("draining".to_owned());
    }
    reasons.extend(admin.control.as_ref().and_then(|control| control.not_ready()));
    reasons.extend(admin.app_states.not_ready());
    if !admin.ingress.is_empty() {
        let snapshot = admin.published.current();
        reasons.extend(admin.ingress.iter().filter_map(|ingress| ingress.trouble(&snapshot)));
    }
    reasons
}

pub(super) fn ready(admin: &Admin) -> Page {
    let reasons = reasons(admin);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Readiness { ready, reasons })
}

pub(super) fn health(admin: &Admin) -> Page {
    let reasons = reasons(admin);
    let app = |state: &AppState| AppHealth {
        service: state.registration.service.clone(),
        port: state.registration.port,
        path: state.registration.health.clone(),
        state: spread::word(state.health()).to_owned(),
        why: state.why(),
    };
    let apps = admin.app_states.iter().map(app).collect();
    // Always 200: it tells, and decides nothing.
    json(StatusCode::OK, &HealthPage { live: true, ready: reasons.is_empty(), reasons, apps })
}

/// The reasons out of a `/health/ready` page.
pub(super) fn not_ready_because(body: &[u8]) -> String {
    match serde_json::from_slice::<Readiness>(body) {
        Ok(readiness) => format!("not ready: {}", readiness.reasons.join(", ")),
        Err(_) => format!("not ready: {}", String::from_utf8_lossy(body).trim()),
    }
}

pub(super) fn services(admin: &Admin) -> Page {
    let snapshot = admin.published.current();
    let now = admin.clock.now();
    let services = snapshot
        .services
        .iter()
        .map(|service| ServiceSummary {
            service: service.name.clone(),
            app_protocol: service.protocol.map(|protocol| protocol.to_string()),
            aliases: service
                .aliases
                .iter()
                .map(|alias| AliasSummary {
                    dns_name: alias.dns_name.clone(),
                    port: alias.port,
                    vip: alias.vip,
                })
                .collect(),
            endpoints: service.endpoints.len(),
            ejected: service.outlier.ejected(now),
            unhealthy: spread::unhealthy(service),
            bypassed: service.bypassed,
            limits: limits(service),
        })
        .collect();
    let namespace = snapshot.namespace.clone();
    json(StatusCode::OK, &Services { namespace, generation: snapshot.generation, services })
}

fn limits(service: &Service) -> Option<LimitsSummary> {
    let limiter = &service.shared.limiter;
    limiter.limits().map(|limits| LimitsSummary {
        max_requests: limits.requests,
        requests: limiter.taken(Kind::Request),
        max_connections: limits.connections,
        connections: limiter.taken(Kind::Connection),
        max_pending_requests: limits.pending,
        pending_requests: limiter.waiting(Kind::Request) + limiter.waiting(Kind::Connection),
    })
}

pub(super) async fn endpoints(admin: &Admin) -> Page {
    let snapshot = admin.published.current();
    let now = admin.clock.now();
    let mut endpoints = Vec::new();
    for service in &snapshot.services {
        let estimates = estimates(admin, &service.name, now).await;
        let shares = spread::of(service, &admin.here, now);
        for (index, endpoint) in service.endpoints.iter().enumerate() {
            let expected =
                estimates.iter().filter_map(|worker| worker.get(index).copied().flatten()).reduce(f64::max);
            let mut summary = summary(service, endpoint, expected, now);
            spread::fill(&mut summary, service, index, &shares, now);
            endpoints.push(summary);
        }
        for endpoint in &service.left_out {
            let (summary, priority) = (summary(service, endpoint, None, now), endpoint.priority);
            let (state, health) = ("left out".to_owned(), spread::health(service, endpoint, now));
            endpoints.push(EndpointSummary { state, priority, health, ..summary });
        }
    }
    json(StatusCode::OK, &Endpoints { endpoints })
}

/// Each worker's latency estimates, by endpoint.
async fn estimates(admin: &Admin, service: &str, now: Tick) -> Vec<Vec<Option<f64>>> {
    let mut all = Vec::new();
    for worker in admin.workers.iter() {
        let name = service.to_owned();
        let look =
            move |worker: &crate::worker::Worker| worker.cluster_by_name(&name).map(|c| c.estimates(now));
        all.extend(worker.inspect(look).await.flatten());
    }
    all
}

fn summary(
    service: &Service,
    endpoint: &Endpoint,
    expected_nanos: Option<f64>,
    now: Tick,
) -> EndpointSummary {
    let shared = &endpoint.shared;
    let until = shared.health.ejected_until(now);
    let (mut in_flight, mut connections) = (0, 0);
    shared.counters.each(|counters| {
        in_flight += counters.in_flight.get();
        connections += counters.connections.get();
    });
    let of = |class: Class| shared.counters.sum(|counters| counters.attempts[class as usize].get());
    EndpointSummary {
        service: service.name.clone(),
        address: shared.addr,
        source: match &service.origin {
            Origin::Dns(dns) => format!("dns {}", dns.question),
            Origin::Control => "control".to_owned(),
            Origin::MeshFile | Origin::Nowhere => "static".to_owned(),
        },
        weight: endpoint.weight,
        zone: endpoint.zone.clone(),
        state: state(endpoint, now).to_owned(),
        ejected_for_seconds: until.map(|until| until.since(now).as_secs_f64()),
        consecutive_failures: shared.health.consecutive_failures(),
        in_flight,
        connections,
        expected_milliseconds: expected_nanos.map(|nanos| nanos / 1e6),
        attempts: Class::ALL.into_iter().map(of).sum(),
        failures: of(Class::None)
            + of(Class::ServerError)
            + shared.counters.sum(|counters| counters.broken.get()),
        priority: endpoint.priority,
        share_percent: None,
        slow_start_percent: None,
        health: None,
    }
}

fn state(endpoint: &Endpoint, now: Tick) -> &'static str {
    match endpoint.weight {
        0 => "draining",
        _ if endpoint.shared.health.is_ejected(now) => "ejected",
        _ => "active",
    }
}

pub(super) fn config(admin: &Admin) -> Page {
    let snapshot = admin.published.current();
    let refused = admin.counters.mesh_refused.load(std::sync::atomic::Ordering::Relaxed) != 0;
    let generation = snapshot.generation;
    let control_plane = admin.control.as_ref().map(|control| control.page());
    let mesh = (*snapshot.mesh).clone();
    json(StatusCode::OK, &Config { generation, mesh_file_refused: refused, mesh, control_plane })
}

pub(super) fn explain(admin: &Admin, query: &str) -> Page {
    match Asked::new(query) {
        Ok(asked) => json(StatusCode::OK, &explanation(admin, &asked)),
        Err(why) => text(StatusCode::BAD_REQUEST, &why),
    }
}

fn explanation(admin: &Admin, asked: &Asked) -> Explanation {
    let snapshot = admin.published.current();
    let now = admin.clock.now();
    let name = crate::worker::normalise(asked.authority());
    let url = asked.url.clone();
    let Some(service) = snapshot.by_authority(&name) else {
        return Explanation { url, steps: vec![snapshot.why_unknown(&name)], ..Explanation::default() };
    };
    let mut explained = Explanation { url, service: Some(service.name.clone()), ..Explanation::default() };
    explained.steps.push(format!("{name} is an alias of service {}", service.name));
    let (steps, goes) = routing::of(&snapshot, service, asked, &name);
    explained.steps.extend(steps);
    match goes {
        Goes::Answered(status) => explained.answered = Some(status),
        Goes::To(services) => {
            explained.service = services.first().map(|service| service.name.clone());
            for service in &services {
                candidates(admin, service, services.len() > 1, now, &mut explained);
            }
        }
    }
    explained
}

/// Who of a service may be picked, and why.
fn candidates(admin: &Admin, service: &Service, named: bool, now: Tick, explained: &mut Explanation) {
    let mut shares = spread::of(service, &admin.here, now);
    shares.active.retain(|index| guards::why_shut(service, *index as usize, now).is_none());
    let active = &shares.active;
    let addr = |index: usize| service.endpoints[index].shared.addr;
    let name = if named { format!("{}: ", service.key) } else { String::new() };
    let mut steps =
        vec![format!("{} of its {} endpoints may be picked", active.len(), service.endpoints.len())];
    if let Origin::Dns(dns) = &service.origin {
        steps.push(from_dns(dns, now));
    }
    if service.bypassed {
        steps.push("it is bypassed: no retries, timeouts, ejections (POST /bypass ends that)".to_owned());
    }
    steps.extend(guards::steps(service, now));
    steps.extend(spread::steps(service, &shares, &admin.here));
    explained.steps.extend(steps.into_iter().map(|step| format!("{name}{step}")));
    let left = (0..service.endpoints.len()).filter(|index| !active.contains(&(*index as u32)));
    explained.not_candidates.extend(left.map(|index| NotCandidate {
        address: addr(index),
        why: spread::why_not(service, index, &shares, now),
    }));
    explained.candidates.extend(active.iter().map(|index| addr(*index as usize)));
}

fn from_dns(dns: &DnsStatus, now: Tick) -> String {
    let question = &dns.question;
    let answered = match dns.age_seconds(now) {
        Some(age) => format!("the last good answer came {age:.1} s ago"),
        None => "there has been no good answer".to_owned(),
    };
    match dns.trouble() {
        None => format!("its endpoints are what DNS says of {question}: {answered}"),
        Some(why) => format!("its endpoints are what DNS says of {question}: {answered}; now {why}"),
    }
}

/// Requests as they end, for as long as somebody reads.
pub(super) fn tap(admin: &Admin, query: &str) -> Page {
    let pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key.to_owned(), percent_decode(value)))
        .collect();
    if pairs.iter().any(|(key, _)| key == "help") {
        let filters: String = query::KEYS.iter().map(|(key, form)| format!("  {key:<15} {form}\n")).collect();
        return text(StatusCode::OK, &format!("GET /tap?FILTER=VALUE&...\n{filters}"));
    }
    let asked = match query::asked(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
        Ok(asked) => asked,
        Err(why) => return text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
    };
    let Some(tapped) = admin.taps.tap(asked.filter, asked.with_query) else {
        return text(StatusCode::TOO_MANY_REQUESTS, "eight taps are open already: end one of them\n");
    };
    let mut response = Response::new(PageBody::Tap(tapped, asked.limit.unwrap_or(u64::MAX)));
    let lines = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, lines);
    response
}

pub(super) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = std::str::from_utf8(tail.get(..2).unwrap_or_default()).ok();
        match code.filter(|_| *first == b'%').and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn bypass(admin: &Admin) -> Page {
    let services = admin.published.current().bypassed.iter().cloned().collect();
    json(StatusCode::OK, &Bypass { services })
}

pub(super) async fn set_bypass(admin: &Admin, query: &str) -> Page {
    const USAGE: &str = "say which: POST /bypass?service=NAME&on=true|false\n";
    let of = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let (Some(service), Some(on @ ("true" | "false"))) = (of("service").map(percent_decode), of("on")) else {
        return text(StatusCode::BAD_REQUEST, USAGE);
    };
    let snapshot = admin.published.current();
    let names = || snapshot.services.iter().map(|service| service.name.as_str());
    let on = on == "true";
    // What has left the mesh since can still be taken off the list.
    if !names().any(|name| name == service) && (on || !snapshot.bypassed.contains(&service)) {
        let nearest = bowline_api::nearest(&service, names());
        let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        return text(StatusCode::NOT_FOUND, &format!("the mesh has no service {service}{hint}\n"));
    }
    let (done, in_force) = oneshot::channel();
    let asked = admin.commands.send(Command::Bypass { service, on, done }).await;
    match asked.is_ok() && in_force.await.is_ok() {
        true => bypass(admin),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending\n"),
    }
}

pub(super) fn logging(admin: &Admin, query: &str) -> Page {
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("level=")).unwrap_or_default();
    match LogLevel::from_str(wanted, true) {
        Ok(level) => {
            admin.log.set_level(level);
            text(StatusCode::OK, &format!("logging from level {wanted} on\n"))
        }
        Err(_) => text(StatusCode::BAD_REQUEST, "say which: POST /logging?level=error|warn|info|debug\n"),
    }
}
