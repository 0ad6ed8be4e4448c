//! A record as spans. Outbound: one of the request (INTERNAL, because two CLIENT spans in a row would double the service
//! in every map), below it one of each attempt (CLIENT), whose id the endpoint has been told. Inbound: one of the request
//! (SERVER), whose id the app has been told.

use std::fmt::Write as _;

use bowline_core::Tick;
use bowline_otlp::{Attributes, Span, SpanKind};
use http::{Method, Version};

use super::attributes::{self as a, Attribute};
use super::line::{answered_by, zone};
use super::wall::Wall;
use super::words::{grpc_word, status_word};
use crate::record::{Attempt, Ending, Outcome, Record, Text, Trace};

/// Where spans go.
pub(super) trait Sink {
    /// Takes one.
    fn push(&mut self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>));
}

/// Texts that are put together for a span; kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    name: String,
    url: String,
    endpoint: String,
}

/// Puts the spans of a record into the sink, if it is in a trace.
pub(super) fn spans(record: &Record, wall: Wall, scratch: &mut Scratch, sink: &mut impl Sink) {
    let Some(trace) = &record.trace else { return };
    let inbound = record.client.is_some();
    request(record, trace, inbound, wall, scratch, sink);
    for (index, one) in record.attempts.iter().enumerate() {
        // In front of the app the attempt is the request; at an ingress it is a call of its own, with a span of its own.
        if !inbound || one.span.is_some() {
            attempt(record, trace, index, one, wall, scratch, sink);
        }
    }
}

/// What came of something, as both kinds of span tell it.
#[derive(Clone, Copy, Default)]
struct Result<'a> {
    /// 0: none.
    status: u16,
    grpc: Option<u32>,
    reason: Option<&'static str>,
    cancelled: bool,
    /// For a person.
    detail: &'a str,
}

impl Result<'_> {
    /// Whether it is an error on this side of a call (the conventions' rules), and of what type.
    fn error<'t>(&self, is_grpc: bool, server: bool, text: &'t mut [u8; 5]) -> Option<&'t str> {
        if self.cancelled {
            return Some("cancelled");
        }
        if let Some(reason) = self.reason {
            return Some(reason);
        }
        match self.grpc {
            Some(0) => None,
            Some(status) if !server || matches!(status, 2 | 4 | 12 | 13 | 14 | 15) => Some(grpc_word(status)),
            Some(_) => None,
            None if self.status >= 500 || (self.status >= 400 && !server) => {
                Some(status_word(self.status, text))
            }
            // A gRPC call without a status has no good end.
            None if is_grpc && self.status != 200 => Some(status_word(self.status, text)),
            None => None,
        }
    }
}

fn request(
    record: &Record,
    trace: &Trace,
    inbound: bool,
    wall: Wall,
    scratch: &mut Scratch,
    sink: &mut impl Sink,
) {
    let result = Result {
        status: record.status,
        grpc: record.grpc_status,
        reason: match (record.reason, record.ending) {
            (Some(reason), _) | (None, Ending::Broken(reason)) => Some(reason.as_str()),
            (None, _) => None,
        },
        cancelled: record.ending == Ending::Cancelled,
        detail: match record.attempts.last().map(|last| &last.outcome) {
            Some(Outcome::Fault(_, detail)) if record.reason.is_some() => detail,
            _ => "",
        },
    };
    let service = record.service.as_ref().map_or("", |service| service.name.as_str());
    let name = match (record.grpc, inbound) {
        (true, _) => rpc_method(record),
        (false, true) => known_method(&record.method),
        (false, false) => {
            scratch.name.clear();
            let _ = write!(scratch.name, "{} {service}", known_method(&record.method));
            scratch.name.trim_end()
        }
    };
    let mut text = [0; 5];
    let error_type = result.error(record.grpc, inbound, &mut text);
    let span = Span {
        trace_id: trace.id,
        span_id: trace.span,
        parent: trace.parent,
        parent_is_remote: true,
        state: trace.state.as_deref(),
        sampled: true,
        kind: if inbound { SpanKind::Server } else { SpanKind::Internal },
        name,
        start_unix_nanos: wall.nanos(record.started),
        end_unix_nanos: wall.nanos(record.ended),
        error: error_type.map(|_| result.detail),
    };
    scratch.endpoint.clear();
    if let Some(last) = answered_by(record) {
        let _ = write!(scratch.endpoint, "{}", last.endpoint.addr);
    }
    let endpoint = scratch.endpoint.as_str();
    sink.push(&span, |to| {
        what(record, to);
        came_of(&result, record.grpc, error_type, to);
        let version = match record.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        text_of(to, &a::PROTOCOL_VERSION, version);
        if !record.grpc {
            text_of(to, &a::URL_PATH, record.texts.path());
        }
        text_of(to, &a::USER_AGENT, record.texts.get(Text::UserAgent));
        match record.texts.get(Text::RequestId) {
            "" => {}
            id => to.str_array(a::REQUEST_ID.name, &[id]),
        }
        whole(to, &a::REQUEST_SIZE, record.received);
        whole(to, &a::RESPONSE_SIZE, record.sent);
        if let Some(reason) = result.reason {
            text_of(to, &a::RETRY_REASON, reason);
        }
        match record.client {
            Some(client) => {
                text_of(to, &a::URL_SCHEME, "http");
                text_of(to, &a::CLIENT_ADDRESS, &client.to_string());
            }
            None => {
                text_of(to, &a::SERVICE, service);
                text_of(to, &a::ROUTE, record.route.as_deref().unwrap_or_default());
                if !record.delayed.is_zero() {
                    to.double(a::FAULT_DELAY.name, record.delayed.as_secs_f64() * 1e3);
                }
                text_of(to, &a::ENDPOINT, endpoint);
                whole(to, &a::ATTEMPTS, record.attempts.len() as u64);
                whole(to, &a::RETRIES, record.attempts.len().saturating_sub(1) as u64);
            }
        }
    });
}

fn attempt(
    record: &Record,
    trace: &Trace,
    index: usize,
    attempt: &Attempt,
    wall: Wall,
    scratch: &mut Scratch,
    sink: &mut impl Sink,
) {
    let Some(span_id) = attempt.span else { return };
    let is_last = index + 1 == record.attempts.len();
    let result = result_of(record, attempt, is_last);
    let ended = match attempt.ended {
        Tick(0) => record.ended,
        // An answer that was passed on lasts until its body has ended.
        _ if is_last && matches!(attempt.outcome, Outcome::Answer(..)) => record.ended,
        ended => ended,
    };
    let mut text = [0; 5];
    let error_type = result.error(record.grpc, false, &mut text);
    let span = Span {
        trace_id: trace.id,
        span_id,
        parent: Some(trace.span),
        parent_is_remote: false,
        state: trace.state.as_deref(),
        sampled: true,
        kind: SpanKind::Client,
        name: if record.grpc { rpc_method(record) } else { known_method(&record.method) },
        start_unix_nanos: wall.nanos(attempt.started),
        end_unix_nanos: wall.nanos(ended),
        error: error_type.map(|_| result.detail),
    };
    let addr = attempt.endpoint.addr;
    scratch.endpoint.clear();
    let _ = write!(scratch.endpoint, "{addr}");
    let endpoint = scratch.endpoint.as_str();
    scratch.url.clear();
    let authority = record.texts.get(Text::Authority);
    let _ = write!(scratch.url, "http://{authority}{}", record.texts.path());
    sink.push(&span, |to| {
        what(record, to);
        came_of(&result, record.grpc, error_type, to);
        if !record.grpc {
            text_of(to, &a::URL_FULL, &scratch.url);
        }
        // The address without its port and brackets.
        let peer = &endpoint[..endpoint.rfind(':').unwrap_or(endpoint.len())];
        text_of(to, &a::PEER_ADDRESS, peer.trim_start_matches('[').trim_end_matches(']'));
        whole(to, &a::PEER_PORT, addr.port().into());
        if index > 0 {
            whole(to, &a::RESEND_COUNT, index as u64);
        }
        let service = record.service.as_ref().map_or("", |service| service.name.as_str());
        text_of(to, &a::SERVICE, service);
        text_of(to, &a::ENDPOINT, endpoint);
        text_of(to, &a::ZONE, zone(record, attempt).unwrap_or_default());
        if attempt.ejected {
            to.bool(a::EJECTED.name, true);
            to.event(a::EJECTION_EVENT, wall.nanos(ended), |to| text_of(to, &a::ENDPOINT, endpoint));
        }
        let retried = attempt.retried.map(|(why, _)| why);
        text_of(to, &a::RETRY_REASON, result.reason.or(retried).unwrap_or_default());
        if let Some((why, wait)) = attempt.retried {
            to.event(a::RETRY_EVENT, wall.nanos(ended), |to| {
                text_of(to, &a::RETRY_REASON, why);
                to.double(a::RETRY_WAIT.name, wait.as_secs_f64() * 1e3);
            });
        }
    });
}

fn result_of<'a>(record: &'a Record, attempt: &'a Attempt, is_last: bool) -> Result<'a> {
    let cancelled = is_last && record.ending == Ending::Cancelled;
    match &attempt.outcome {
        Outcome::Nothing => Result { cancelled: true, ..Result::default() },
        Outcome::Answer(status, grpc) => Result {
            status: *status,
            // What the trailers say counts, where the answer was passed on.
            grpc: if is_last { record.grpc_status.or(*grpc) } else { *grpc },
            reason: match record.ending {
                Ending::Broken(reason) if is_last => Some(reason.as_str()),
                _ => None,
            },
            cancelled,
            detail: "",
        },
        Outcome::Fault(reason, detail) => {
            Result { reason: Some(reason.as_str()), detail, ..Result::default() }
        }
    }
}

/// What was asked for.
fn what(record: &Record, to: &mut Attributes<'_>) {
    if record.grpc {
        text_of(to, &a::RPC_SYSTEM, "grpc");
        text_of(to, &a::RPC_METHOD, rpc_method(record));
    } else {
        let known = known_method(&record.method);
        text_of(to, &a::METHOD, if known == "HTTP" { "_OTHER" } else { known });
        if known == "HTTP" {
            text_of(to, &a::METHOD_ORIGINAL, record.method.as_str());
        }
    }
    let authority = record.texts.get(Text::Authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, port.parse().unwrap_or(80))
        }
        _ => (authority, 80_u16),
    };
    text_of(to, &a::SERVER_ADDRESS, host.trim_start_matches('[').trim_end_matches(']'));
    whole(to, &a::SERVER_PORT, port.into());
}

/// What came of it.
fn came_of(result: &Result<'_>, is_grpc: bool, error_type: Option<&str>, to: &mut Attributes<'_>) {
    if result.status != 0 {
        whole(to, &a::STATUS, result.status.into());
    }
    if let (true, Some(status)) = (is_grpc, result.grpc) {
        text_of(to, &a::RPC_STATUS, grpc_word(status));
    }
    if let Some(error_type) = error_type {
        text_of(to, &a::ERROR_TYPE, error_type);
    }
}

/// A gRPC call's service and method.
fn rpc_method(record: &Record) -> &str {
    record.texts.path().trim_start_matches('/')
}

/// The method if it is a known one, else what the conventions name a span then.
fn known_method(method: &Method) -> &str {
    match method.as_str() {
        known @ ("CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE"
        | "QUERY") => known,
        _ => "HTTP",
    }
}

fn text_of(to: &mut Attributes<'_>, attribute: &Attribute, text: &str) {
    if !text.is_empty() {
        to.str(attribute.name, text);
    }
}

fn whole(to: &mut Attributes<'_>, attribute: &Attribute, number: u64) {
    to.int(attribute.name, i64::try_from(number).unwrap_or(i64::MAX));
}
