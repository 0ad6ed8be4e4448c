//! A record as a line: JSON, or text in the order of Service Connect's access log.

use std::fmt::Write as _;
use std::time::Duration;

use bowline_core::Tick;
use bowline_otlp::TraceId;
use http::Version;

use super::fields::{self as f, Field};
use super::wall::{Wall, rfc3339};
use super::words::grpc_word;
use crate::record::{Attempt, Ending, Outcome, Record, Text};

/// Writes a record as one JSON object, without the end of the line.
pub(super) fn json(record: &Record, wall: Wall, with_query: bool, to: &mut String) {
    let mut line = Object { to, empty: true };
    line.to.push('{');
    line.time(&f::TIME, wall.since_epoch(record.started));
    line.text(&f::DIRECTION, direction(record));
    if let Some(service) = &record.service {
        line.text(&f::SERVICE, &service.name);
    }
    if let Some(route) = &record.route {
        line.text(&f::ROUTE, route);
    }
    line.text(&f::METHOD, record.method.as_str());
    line.text(&f::AUTHORITY, record.texts.get(Text::Authority));
    line.text(&f::PATH, path(record, with_query));
    line.text(&f::PROTOCOL, protocol(record));
    if record.status != 0 {
        line.number(&f::STATUS, record.status);
    }
    if let Some(status) = record.grpc_status {
        line.text(&f::GRPC_STATUS, grpc_word(status));
    }
    line.number(&f::RECEIVED, record.received);
    line.number(&f::SENT, record.sent);
    line.milliseconds(&f::DURATION, record.ended.since(record.started));
    if !record.delayed.is_zero() {
        line.milliseconds(&f::DELAYED, record.delayed);
    }
    if record.answered != Tick(0) {
        line.milliseconds(&f::UPSTREAM, record.answered.since(record.started));
    }
    if let Some(last) = record.attempts.last() {
        line.number(&f::ENDPOINT, format_args!("\"{}\"", last.endpoint.addr));
        if let Some(zone) = zone(record, last) {
            line.text(&f::ZONE, zone);
        }
        line.number(&f::ATTEMPTS, record.attempts.len());
    }
    line.list(&f::RETRIED_FOR, record.attempts.iter().filter_map(|a| a.retried.map(|(why, _)| why)));
    let ejected: Vec<String> =
        record.attempts.iter().filter(|a| a.ejected).map(|a| a.endpoint.addr.to_string()).collect();
    line.list(&f::EJECTED, ejected.iter().map(String::as_str));
    if let Some(reason) = reason(record) {
        line.text(&f::REASON, reason);
    }
    line.text(&f::ENDED, ended(record));
    if let Some(client) = record.client {
        line.number(&f::CLIENT, format_args!("\"{client}\""));
    }
    for (field, text) in [
        (&f::FORWARDED_FOR, Text::ForwardedFor),
        (&f::USER_AGENT, Text::UserAgent),
        (&f::REQUEST_ID, Text::RequestId),
    ] {
        match record.texts.get(text) {
            "" => {}
            text => line.text(field, text),
        }
    }
    if let Some(id) = trace_id(record) {
        line.number(&f::TRACE_ID, format_args!("\"{id}\""));
    }
    if let Some(trace) = &record.trace {
        line.number(&f::SPAN_ID, format_args!("\"{}\"", trace.span));
    }
    line.to.push('}');
}

/// Writes a record as a line of text: Service Connect's fields in its order, then ours by name. `-` stands for what there
/// is none of.
pub(super) fn text(record: &Record, wall: Wall, with_query: bool, to: &mut String) {
    to.push('[');
    rfc3339(wall.since_epoch(record.started), to);
    let _ = write!(to, "] \"{} ", record.method);
    quoted(to, path(record, with_query));
    let _ = write!(to, " {}\" ", protocol(record));
    match record.status {
        0 => to.push('-'),
        status => {
            let _ = write!(to, "{status}");
        }
    }
    let duration = record.ended.since(record.started).as_millis();
    let _ = write!(to, " {} {} {duration} ", record.received, record.sent);
    match record.answered {
        Tick(0) => to.push('-'),
        answered => {
            let _ = write!(to, "{}", answered.since(record.started).as_millis());
        }
    }
    for which in [Text::ForwardedFor, Text::UserAgent, Text::RequestId, Text::Authority] {
        to.push_str(" \"");
        match record.texts.get(which) {
            "" => to.push('-'),
            text => quoted(to, text),
        }
        to.push('"');
    }
    match record.attempts.last() {
        Some(last) => {
            let _ = write!(to, " \"{}\"", last.endpoint.addr);
        }
        None => to.push_str(" \"-\""),
    }
    let _ = write!(to, " direction={}", direction(record));
    if let Some(service) = &record.service {
        let _ = write!(to, " service={}", service.name);
    }
    if let Some(route) = &record.route {
        to.push_str(" route=\"");
        quoted(to, route);
        to.push('"');
    }
    let _ = write!(to, " attempts={} ended={}", record.attempts.len(), ended(record));
    if let Some(status) = record.grpc_status {
        let _ = write!(to, " grpc_status={}", grpc_word(status));
    }
    if let Some(reason) = reason(record) {
        let _ = write!(to, " reason={reason}");
    }
    if let Some(id) = trace_id(record) {
        let _ = write!(to, " trace_id={id}");
    }
    if let Some(trace) = &record.trace {
        let _ = write!(to, " span_id={}", trace.span);
    }
}

/// Whether it is worth a line whatever the sample says: the caller got a failure of the service or of the proxy.
pub(super) fn is_failure(record: &Record) -> bool {
    record.status >= 500
        || record.reason.is_some()
        || matches!(record.ending, Ending::Broken(_))
        || matches!(record.grpc_status, Some(2 | 4 | 8 | 13 | 14 | 15))
}

/// The trace, recorded or not.
fn trace_id(record: &Record) -> Option<TraceId> {
    record.trace.as_ref().map(|trace| trace.id).or(record.said)
}

fn direction(record: &Record) -> &'static str {
    match record.client {
        Some(_) => "inbound",
        None => "outbound",
    }
}

fn path(record: &Record, with_query: bool) -> &str {
    match with_query {
        true => record.texts.get(Text::Target),
        false => record.texts.path(),
    }
}

fn protocol(record: &Record) -> &'static str {
    match record.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn ended(record: &Record) -> &'static str {
    match record.ending {
        Ending::Complete => "complete",
        Ending::Broken(_) => "broken",
        Ending::Cancelled => "cancelled",
    }
}

fn reason(record: &Record) -> Option<&'static str> {
    match (record.reason, record.ending) {
        (Some(reason), _) | (None, Ending::Broken(reason)) => Some(reason.as_str()),
        (None, _) => None,
    }
}

/// The zone of an attempt's endpoint.
pub(super) fn zone<'a>(record: &'a Record, attempt: &Attempt) -> Option<&'a str> {
    let mut endpoints = record.service.as_ref()?.all_endpoints();
    let endpoint = endpoints.find(|e| std::sync::Arc::ptr_eq(&e.shared, &attempt.endpoint))?;
    endpoint.zone.as_deref()
}

/// The endpoint that answered.
pub(super) fn answered_by(record: &Record) -> Option<&Attempt> {
    record.attempts.last().filter(|last| matches!(last.outcome, Outcome::Answer(..)))
}

fn quoted(to: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' => to.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(to, "\\x{:02x}", u32::from(c));
            }
            c => to.push(c),
        }
    }
}

struct Object<'a> {
    to: &'a mut String,
    empty: bool,
}

impl Object<'_> {
    fn key(&mut self, field: &Field) {
        if !std::mem::replace(&mut self.empty, false) {
            self.to.push(',');
        }
        self.to.push('"');
        self.to.push_str(field.name);
        self.to.push_str("\":");
    }

    fn value(&mut self, text: &str) {
        self.to.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.to.extend(['\\', c]),
                c if c.is_control() => {
                    let _ = write!(self.to, "\\u{:04x}", u32::from(c));
                }
                c => self.to.push(c),
            }
        }
        self.to.push('"');
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.key(field);
        self.value(text);
    }

    fn number(&mut self, field: &Field, number: impl std::fmt::Display) {
        self.key(field);
        let _ = write!(self.to, "{number}");
    }

    fn milliseconds(&mut self, field: &Field, duration: Duration) {
        self.number(field, format_args!("{:.3}", duration.as_secs_f64() * 1e3));
    }

    fn time(&mut self, field: &Field, since_epoch: Duration) {
        self.key(field);
        self.to.push('"');
        rfc3339(since_epoch, self.to);
        self.to.push('"');
    }

    fn list<'a>(&mut self, field: &Field, texts: impl Iterator<Item = &'a str>) {
        let mut texts = texts.peekable();
        if texts.peek().is_none() {
            return;
        }
        self.key(field);
        self.to.push('[');
        for (index, text) in texts.enumerate() {
            if index > 0 {
                self.to.push(',');
            }
            self.value(text);
        }
        self.to.push(']');
    }
}
