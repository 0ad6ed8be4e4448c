use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span as Wanted, Status, span};
use prost::Message as _;

use super::{Attributes, Span, SpanBuffer};

fn text(rng: &mut fastrand::Rng, longest: usize) -> String {
    let len = rng.usize(0..=longest);
    (0..len).map(|_| rng.char(..)).collect()
}

/// Attributes of all kinds, as they are written and as they should be read.
fn random_attributes(rng: &mut fastrand::Rng, at: &mut Attributes<'_>) -> Vec<KeyValue> {
    let some = rng.usize(0..6);
    (0..some)
        .map(|n| {
            let key = format!("{n}.{}", text(rng, 30));
            let value = match rng.u8(0..5) {
                0 => {
                    let value = text(rng, 400);
                    at.str(&key, &value);
                    any_value::Value::StringValue(value)
                }
                1 => {
                    let value = rng.i64(..) >> rng.u32(0..64);
                    at.int(&key, value);
                    any_value::Value::IntValue(value)
                }
                2 => {
                    let value = rng.bool();
                    at.bool(&key, value);
                    any_value::Value::BoolValue(value)
                }
                3 => {
                    let value = rng.f64() * 1e9;
                    at.double(&key, value);
                    any_value::Value::DoubleValue(value)
                }
                _ => {
                    let many = rng.usize(0..4);
                    let values: Vec<String> = (0..many).map(|_| text(rng, 50)).collect();
                    at.str_array(&key, &values.iter().map(String::as_str).collect::<Vec<_>>());
                    let string = |value| AnyValue { value: Some(any_value::Value::StringValue(value)) };
                    any_value::Value::ArrayValue(ArrayValue {
                        values: values.into_iter().map(string).collect(),
                    })
                }
            };
            KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
        })
        .collect()
}

fn random_span(rng: &mut fastrand::Rng, buffer: &mut SpanBuffer) -> Wanted {
    let kinds =
        [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
    let kind = rng.usize(0..kinds.len());
    let (trace_id, span_id) = (TraceId::from(rng.u128(1..)), SpanId::from(rng.u64(1..)));
    let parent = rng.bool().then(|| SpanId::from(rng.u64(1..)));
    let state = rng.bool().then(|| text(rng, 600));
    let (remote, sampled) = (rng.bool(), rng.bool());
    let (start, end) = (rng.u64(..), rng.u64(..));
    // A description of a span longer than two bytes of length can tell, now and then.
    let longest = if rng.u8(..) == 0 { 20_000 } else { 40 };
    let error = rng.bool().then(|| text(rng, longest));
    let name = format!("GET {}", text(rng, 40));
    let (mut attributes, mut events) = (Vec::new(), Vec::new());
    let given = Span {
        trace_id,
        span_id,
        parent,
        parent_is_remote: remote,
        state: state.as_deref(),
        sampled,
        kind: kinds[kind].clone(),
        name: &name,
        start_unix_nanos: start,
        end_unix_nanos: end,
        error: error.as_deref(),
    };
    buffer.push(&given, |at| {
        attributes = random_attributes(rng, at);
        for n in 0..rng.usize(0..3) {
            let (name, time) = (format!("event {n}"), rng.u64(..));
            let mut own = Vec::new();
            at.event(&name, time, |at| own = random_attributes(rng, at));
            events.push(span::Event {
                time_unix_nano: time,
                name,
                attributes: own,
                dropped_attributes_count: 0,
            });
        }
    });
    let flags = u32::from(sampled) | 0x100 | if parent.is_some() && remote { 0x200 } else { 0 };
    Wanted {
        trace_id: trace_id.to_bytes().to_vec(),
        span_id: span_id.to_bytes().to_vec(),
        trace_state: state.unwrap_or_default(),
        parent_span_id: parent.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
        flags,
        name,
        kind: kind as i32 + 1,
        start_time_unix_nano: start,
        end_time_unix_nano: end.max(start),
        attributes,
        events,
        status: error.map(|message| Status { message, code: 2 }),
        ..Wanted::default()
    }
}

#[test]
fn random_spans_read_back_as_they_were_written() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..20 {
        let mut buffer = SpanBuffer::default();
        let wanted: Vec<Wanted> = (0..100).map(|_| random_span(&mut rng, &mut buffer)).collect();
        assert_eq!(buffer.len(), 100);
        let got = ScopeSpans::decode(buffer.bytes()).unwrap();
        assert_eq!(got.spans, wanted);
        // Nothing else is in it: unknown fields would be lost here.
        assert_eq!(got.encoded_len(), buffer.bytes().len());
    }
}

#[test]
fn an_empty_buffer_is_an_empty_message() {
    let buffer = SpanBuffer::with_capacity(100);
    assert!(buffer.is_empty());
    assert_eq!(ScopeSpans::decode(&*buffer.into_bytes()).unwrap(), ScopeSpans::default());
}
