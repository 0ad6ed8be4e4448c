//! What records become.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bowline_core::Tick;
use bowline_otlp::{Attributes, Span, SpanBuffer, SpanId, TraceId};
use http::{Method, Version};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{
    ScopeSpans, Span as Decoded, span::SpanKind, status::StatusCode,
};
use prost::Message as _;

use super::spans::{Scratch, Sink, spans};
use super::wall::Wall;
use super::{attributes, fields, line};
use crate::clock::Clock;
use crate::error::Reason;
use crate::record::{Attempt, Ending, Outcome, Record, Texts, Trace};
use crate::snapshot::{Service, Snapshot};

const MESH: &str = "namespace: mesh.test
services:
  - discoveryName: server
    clientAliases: [{ port: 80 }]
    endpoints: { static: [{ address: '10.0.0.1:9001', zone: a }, { address: '[2001:db8::1]:9001' }] }
";

/// One for all: endpoints are told apart by what they are, not by what is in them.
static SERVER: LazyLock<Arc<Service>> = LazyLock::new(|| {
    let mesh = bowline_api::mesh_file::parse("mesh.yaml", MESH).unwrap();
    let vips = BTreeMap::from([("server.mesh.test".to_owned(), Ipv4Addr::new(127, 255, 0, 7))]);
    Snapshot::new(mesh, &vips, &BTreeMap::new(), None, Tick::default()).services[0].clone()
});

fn ms(n: u64) -> Tick {
    Tick(n * 1_000_000)
}

/// A GET that was answered with 200 by the first endpoint.
fn good() -> Record {
    let request = http::Request::get("http://server.mesh.test/path?q=1").header("user-agent", "curl");
    let (head, ()) = request.header("x-request-id", "r-1").body(()).unwrap().into_parts();
    Record {
        trace: Some(Trace {
            id: TraceId::from(1),
            span: SpanId::from(2),
            parent: Some(SpanId::from(3)),
            state: Some("vendor=x".into()),
        }),
        said: None,
        service: Some(SERVER.clone()),
        route: None,
        delayed: Duration::ZERO,
        client: None,
        method: Method::GET,
        version: Version::HTTP_11,
        grpc: false,
        texts: Texts::of(&head),
        headers: None,
        started: ms(1),
        answered: ms(5),
        ended: ms(7),
        status: 200,
        grpc_status: None,
        reason: None,
        ending: Ending::Complete,
        received: 0,
        sent: 4,
        attempts: vec![attempt(0, Outcome::Answer(200, None), 1, 5)],
    }
}

fn attempt(endpoint: usize, outcome: Outcome, started: u64, ended: u64) -> Attempt {
    Attempt {
        span: Some(SpanId::from(10 + started)),
        endpoint: SERVER.endpoints[endpoint].shared.clone(),
        started: ms(started),
        ended: ms(ended),
        outcome,
        ejected: false,
        retried: None,
    }
}

/// The first endpoint was away and is ejected for it, the second one answered.
fn retried() -> Record {
    let fault = Outcome::Fault(Reason::ConnectFailure, "connection refused".into());
    let mut first = attempt(0, fault, 1, 2);
    (first.ejected, first.retried) = (true, Some(("connect_failure", Duration::from_millis(25))));
    Record { attempts: vec![first, attempt(1, Outcome::Answer(200, None), 3, 5)], ..good() }
}

fn grpc(status: Option<u32>) -> Record {
    let (head, ()) =
        http::Request::post("http://server.mesh.test/pkg.Greeter/Greet").body(()).unwrap().into_parts();
    Record {
        method: Method::POST,
        version: Version::HTTP_2,
        grpc: true,
        texts: Texts::of(&head),
        grpc_status: status,
        ..good()
    }
}

/// Nobody could answer.
fn refused() -> Record {
    let fault = Outcome::Fault(Reason::ConnectTimeout, "no answer within 1 s".into());
    let attempts = vec![attempt(0, fault, 1, 5)];
    Record { status: 503, reason: Some(Reason::ConnectTimeout), attempts, ..good() }
}

/// By a route, which has held it up.
fn routed() -> Record {
    Record { route: Some("by \"name\"".into()), delayed: Duration::from_millis(300), ..good() }
}

/// Whoever asked went away while the endpoint thought.
fn left() -> Record {
    let attempts = vec![attempt(0, Outcome::Nothing, 1, 0)];
    Record { status: 0, answered: Tick(0), ending: Ending::Cancelled, attempts, ..good() }
}

fn inbound(status: u16) -> Record {
    let client = Some(IpAddr::from([10, 9, 8, 7]));
    let attempts = vec![Attempt { span: None, ..attempt(0, Outcome::Answer(status, None), 1, 5) }];
    Record { client, status, attempts, ..good() }
}

/// A caller from outside, at an ingress: attempts lead on into the mesh, and are spans of their own.
fn from_outside() -> Record {
    Record { client: Some(IpAddr::from([10, 9, 8, 7])), ..good() }
}

fn odd_method() -> Record {
    Record { method: Method::from_bytes(b"BREW").unwrap(), ..good() }
}

fn samples() -> Vec<Record> {
    let broken = Record { ending: Ending::Broken(Reason::Reset), ..good() };
    vec![
        good(),
        retried(),
        grpc(Some(0)),
        grpc(Some(14)),
        refused(),
        left(),
        inbound(404),
        odd_method(),
        routed(),
        broken,
    ]
}

struct Buffer(SpanBuffer);

impl Sink for Buffer {
    fn push(&mut self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.0.push(span, attributes);
    }
}

fn made(record: &Record) -> Vec<Decoded> {
    let mut buffer = Buffer(SpanBuffer::with_capacity(0));
    spans(record, Wall::now(Clock::new()), &mut Scratch::default(), &mut buffer);
    ScopeSpans::decode(buffer.0.bytes()).unwrap().spans
}

/// An attribute's value as text; empty: there is none.
fn attribute(span: &Decoded, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn is_error(span: &Decoded) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

#[test]
fn a_request_is_one_span_and_each_attempt_another_below_it() {
    let spans = made(&retried());
    let names: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.kind)).collect();
    let (internal, client) = (SpanKind::Internal as i32, SpanKind::Client as i32);
    assert_eq!(names, [("GET server", internal), ("GET", client), ("GET", client)]);
    let [request, first, second] = &spans[..] else { unreachable!() };
    assert_eq!(request.parent_span_id, SpanId::from(3).to_bytes());
    for attempt in [first, second] {
        assert_eq!(attempt.parent_span_id, request.span_id);
        assert_eq!((&attempt.trace_id, attempt.trace_state.as_str()), (&request.trace_id, "vendor=x"));
    }
    let lasted = |span: &Decoded| (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000;
    // The answer lasts until its body has ended.
    assert_eq!((lasted(request), lasted(first), lasted(second)), (6, 1, 4));
    assert_eq!((is_error(request), is_error(first), is_error(second)), (false, true, false));
    assert_eq!(first.status.as_ref().unwrap().message, "connection refused");
    assert_eq!(attribute(first, "error.type"), "connect_failure");
    assert_eq!(attribute(first, "bowline.ejected"), "true");
    assert_eq!(attribute(second, "http.request.resend_count"), "1");
    assert_eq!(attribute(second, "network.peer.address"), "2001:db8::1");
    assert_eq!(attribute(first, "bowline.zone"), "a");
    let events: Vec<&str> = first.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["ejection", "retry"]);
    assert_eq!(
        (attribute(request, "bowline.attempts"), attribute(request, "bowline.retries")),
        ("2".into(), "1".into())
    );
    assert_eq!(attribute(request, "bowline.endpoint"), "[2001:db8::1]:9001");
    // What is nobody's business stays out.
    assert_eq!(attribute(first, "url.full"), "http://server.mesh.test/path");
}

#[test]
fn errors_are_as_the_conventions_want_them() {
    for (record, wanted) in [
        (good(), ""),
        (refused(), "connect_timeout"),
        (left(), "cancelled"),
        (grpc(Some(0)), ""),
        (grpc(Some(14)), "UNAVAILABLE"),
        (grpc(Some(5)), "NOT_FOUND"),
        // A caller's mistake is no error of the app, and one of the caller.
        (inbound(404), ""),
        (inbound(500), "500"),
        (Record { status: 404, ..good() }, "404"),
        (Record { ending: Ending::Broken(Reason::Reset), ..good() }, "reset"),
    ] {
        let request = &made(&record)[0];
        assert_eq!(attribute(request, "error.type"), wanted);
        assert_eq!(is_error(request), !wanted.is_empty(), "{wanted}");
    }
    let unavailable = Record { client: Some(IpAddr::from([10, 9, 8, 7])), ..grpc(Some(5)) };
    assert!(!is_error(&made(&unavailable)[0]), "NOT_FOUND is no error of a server");
}

#[test]
fn a_callers_request_is_one_span_of_kind_server() {
    let spans = made(&inbound(200));
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].name.as_str(), spans[0].kind), ("GET", SpanKind::Server as i32));
    assert_eq!(attribute(&spans[0], "client.address"), "10.9.8.7");
    let kinds: Vec<_> = made(&from_outside()).iter().map(|span| span.kind).collect();
    assert_eq!(kinds, [SpanKind::Server as i32, SpanKind::Client as i32]);
}

#[test]
fn what_is_in_no_recorded_trace_makes_no_span() {
    assert!(made(&Record { trace: None, ..good() }).is_empty());
}

/// The page of attributes is made from the table: what stands in no table would be missing from it, and what no span
/// has would be a lie.
#[test]
fn spans_have_the_attributes_of_the_table_and_no_others() {
    let mut used = BTreeSet::new();
    for span in samples().iter().flat_map(made) {
        let kind = match SpanKind::try_from(span.kind).unwrap() {
            SpanKind::Internal => "request",
            SpanKind::Server => "server",
            _ => "attempt",
        };
        let names = span.attributes.iter().map(|one| (kind, one.key.clone()));
        used.extend(names);
        let of_events = span.events.iter().filter(|event| event.name == attributes::RETRY_EVENT);
        used.extend(
            of_events.flat_map(|event| event.attributes.iter().map(|one| ("retry", one.key.clone()))),
        );
    }
    let told: BTreeSet<_> = attributes::ALL
        .iter()
        .flat_map(|attribute| attribute.on.split(", ").map(|on| (on, attribute.name.to_owned())))
        .collect();
    let undocumented: Vec<_> = used.difference(&told).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    // What only gRPC or only HTTP has is on each kind of span that the table names, in some sample.
    let server_only_grpc =
        [("server", "rpc.system.name"), ("server", "rpc.method"), ("server", "rpc.response.status_code")];
    let unused: Vec<_> = told
        .difference(&used)
        .filter(|(on, name)| !server_only_grpc.contains(&(*on, name.as_str())))
        .filter(|(on, name)| {
            !(*on == "server"
                && matches!(name.as_str(), "http.request.method_original" | "error.type" | "bowline.reason"))
        })
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn lines_have_the_fields_of_the_table_and_no_others() {
    let mut used = BTreeSet::new();
    for record in &samples() {
        let mut text = String::new();
        line::json(record, Wall::now(Clock::new()), true, &mut text);
        let parsed: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        used.extend(parsed.as_object().unwrap().keys().cloned());
    }
    let mut told: BTreeSet<String> = fields::ALL.iter().map(|field| field.name.to_owned()).collect();
    // No sample comes through another proxy.
    told.remove("x_forwarded_for");
    assert_eq!(used, told);
}
