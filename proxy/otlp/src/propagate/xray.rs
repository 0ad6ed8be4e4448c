//! AWS X-Ray: `X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Extracted, hex};
use crate::context::SpanContext;

/// The header.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// What is written, with zeros where ids go.
const EMPTY: &[u8; 74] = b"Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0";
/// Fields of others are passed on up to this length in all. Load balancers keep them; so that a loop can't make the
/// header grow, they have an end.
const MAX_OTHERS: usize = 256;

pub(super) fn extract(headers: &HeaderMap) -> Extracted {
    let Some(line) = headers.get(HEADER) else { return Extracted::Nothing };
    let (mut trace, mut parent, mut sampled) = (None, None, None);
    for (key, value) in fields(line) {
        match key {
            b"Root" => trace = root(value),
            b"Parent" => parent = hex::span_id(value),
            b"Sampled" => {
                sampled = match value {
                    b"1" => Some(true),
                    b"0" => Some(false),
                    _ => None,
                }
            }
            _ => {}
        }
    }
    match (trace, parent, sampled) {
        (None, ..) => Extracted::Nothing,
        (Some(trace_id), None, sampled) => Extracted::Trace { trace_id, sampled },
        (Some(trace_id), Some(span_id), Some(sampled)) => {
            Extracted::Parent(SpanContext { trace_id, span_id, sampled, state: None })
        }
        (Some(trace_id), Some(span_id), None) => {
            Extracted::Undecided(SpanContext { trace_id, span_id, sampled: false, state: None })
        }
    }
}

fn fields(line: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.as_bytes().split(|&c| c == b';').filter_map(|field| {
        let at = field.iter().position(|&c| c == b'=')?;
        Some((field[..at].trim_ascii(), field[at + 1..].trim_ascii()))
    })
}

/// `1-`, 8 digits of time, `-`, 24 digits.
fn root(text: &[u8]) -> Option<opentelemetry::trace::TraceId> {
    let (time, random) = text.strip_prefix(b"1-")?.split_at_checked(8)?;
    let random = random.strip_prefix(b"-")?;
    let (time, random): ([u8; 4], [u8; 12]) = (hex::read(time)?, hex::read(random)?);
    let mut id = [0; 16];
    id[..4].copy_from_slice(&time);
    id[4..].copy_from_slice(&random);
    (id != [0; 16]).then(|| opentelemetry::trace::TraceId::from_bytes(id))
}

pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let trace = context.trace_id.to_bytes();
    let mut line = *EMPTY;
    hex::write(&mut line[7..15], &trace[..4]);
    hex::write(&mut line[16..40], &trace[4..]);
    hex::write(&mut line[48..64], &context.span_id.to_bytes());
    line[73] += u8::from(context.sampled);
    let others = headers.get(HEADER).and_then(|before| with_others(&line, before));
    let value = match others {
        Some(line) => HeaderValue::from_maybe_shared(bytes::Bytes::from(line)),
        None => HeaderValue::from_bytes(&line),
    };
    if let Ok(value) = value {
        headers.insert(HEADER, value);
    }
}

/// The line with the fields that others had in it before, such as Lambda's `Lineage`; `None`: there are none.
fn with_others(line: &[u8], before: &HeaderValue) -> Option<Vec<u8>> {
    let mut all: Option<Vec<u8>> = None;
    for (key, value) in fields(before) {
        // `Self` is the load balancer's own, and says nothing to those behind us.
        if matches!(key, b"Root" | b"Parent" | b"Sampled" | b"Self") {
            continue;
        }
        let all = all.get_or_insert_with(|| line.to_vec());
        if all.len() + key.len() + value.len() + 2 > line.len() + MAX_OTHERS {
            break;
        }
        for part in [b";", key, b"=", value] {
            all.extend_from_slice(part);
        }
    }
    all
}
