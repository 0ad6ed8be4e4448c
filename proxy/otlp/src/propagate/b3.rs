//! B3, Zipkin's: one header `b3`, or several `X-B3-…`. Both are read, whichever is named; the single one counts first.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Extracted, hex};
use crate::context::SpanContext;

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// All of them.
pub(super) const HEADERS: [HeaderName; 6] = [SINGLE, TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED, FLAGS];

pub(super) fn extract(headers: &HeaderMap) -> Extracted {
    let single = headers.get(SINGLE).map(|value| single(value.as_bytes()));
    match single {
        None | Some(Extracted::Nothing) => multi(headers),
        Some(found) => found,
    }
}

fn single(line: &[u8]) -> Extracted {
    if let [state] = line {
        return alone(decision(&[*state]));
    }
    let mut parts = line.split(|&c| c == b'-');
    let (trace, span, state) = (parts.next(), parts.next(), parts.next());
    // What may follow is the parent of the caller's span, which nobody needs.
    let sampled = match state.map(decision) {
        Some(None) => return Extracted::Nothing,
        Some(known) => known,
        None => None,
    };
    together(trace, span, sampled)
}

fn multi(headers: &HeaderMap) -> Extracted {
    let get = |name| headers.get(name).map(HeaderValue::as_bytes);
    let sampled = match get(FLAGS) {
        Some(b"1") => Some(true),
        _ => get(SAMPLED).and_then(decision),
    };
    match get(TRACE_ID) {
        Some(trace) => together(Some(trace), get(SPAN_ID), sampled),
        None => alone(sampled),
    }
}

/// The words of a decision, older ones included.
fn decision(word: &[u8]) -> Option<bool> {
    match word {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

fn alone(sampled: Option<bool>) -> Extracted {
    sampled.map_or(Extracted::Nothing, |sampled| Extracted::Decision { sampled })
}

fn together(trace: Option<&[u8]>, span: Option<&[u8]>, sampled: Option<bool>) -> Extracted {
    // An id of 64 bits is one of 128 whose first half is zero.
    let trace = trace.and_then(|text| match text.len() {
        16 => hex::span_id(text).map(|id| u128::from(u64::from_be_bytes(id.to_bytes())).into()),
        _ => hex::trace_id(text),
    });
    let (Some(trace_id), Some(span_id)) = (trace, span.and_then(hex::span_id)) else {
        return Extracted::Nothing;
    };
    let context = SpanContext { trace_id, span_id, sampled: sampled == Some(true), state: None };
    match sampled {
        Some(_) => Extracted::Parent(context),
        None => Extracted::Undecided(context),
    }
}

pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap, as_single: bool, as_multi: bool) {
    // Debug is a stronger `sampled`, and must be handed on. It is nowhere else than in the headers that came.
    let debug = context.sampled && is_debug(headers);
    let mut line = *b"00000000000000000000000000000000-0000000000000000-0";
    hex::write(&mut line[..32], &context.trace_id.to_bytes());
    hex::write(&mut line[33..49], &context.span_id.to_bytes());
    line[50] = match (debug, context.sampled) {
        (true, _) => b'd',
        (_, true) => b'1',
        _ => b'0',
    };
    let mut set = |name: HeaderName, value: &[u8]| match HeaderValue::from_bytes(value) {
        Ok(value) if !value.is_empty() => drop(headers.insert(name, value)),
        _ => drop(headers.remove(name)),
    };
    set(SINGLE, if as_single { &line } else { b"" });
    set(TRACE_ID, if as_multi { &line[..32] } else { b"" });
    set(SPAN_ID, if as_multi { &line[33..49] } else { b"" });
    set(PARENT_SPAN_ID, b"");
    set(SAMPLED, if as_multi && !debug { &line[50..] } else { b"" });
    set(FLAGS, if as_multi && debug { b"1" } else { b"" });
}

fn is_debug(headers: &HeaderMap) -> bool {
    let single = headers.get(SINGLE).map(HeaderValue::as_bytes);
    single.is_some_and(|line| line.split(|&c| c == b'-').any(|part| part == b"d"))
        || headers.get(FLAGS).is_some_and(|flags| flags == "1")
}
