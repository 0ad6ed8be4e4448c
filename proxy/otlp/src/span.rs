//! Spans, one after the other, as OTLP has them.

use opentelemetry::trace::{SpanId, SpanKind, TraceId};

use crate::wire::{self, Value};

/// One span, but for its attributes and events, which are written while they are looked at: see
/// [`SpanBuffer::push`].
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Itself.
    pub span_id: SpanId,
    /// The span it is below; `None`: the trace begins with it.
    pub parent: Option<SpanId>,
    /// Whether the parent is another process's. Of no meaning without a parent.
    pub parent_is_remote: bool,
    /// `tracestate`.
    pub state: Option<&'a str>,
    /// The `sampled` flag. A span that is exported without it was kept for another reason.
    pub sampled: bool,
    /// Which side of which call it is.
    pub kind: SpanKind,
    /// What was done, in few words; never empty, and without anything that a client can choose freely.
    pub name: &'a str,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// When it ended. A clock that was set back must not make a span end before it began: the later one counts.
    pub end_unix_nanos: u64,
    /// Status `Error` with this description (which may be empty); `None`: the status is left unset.
    pub error: Option<&'a str>,
}

// The fields of Span, of its events and of its status.
const SPANS: u32 = 2;
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const TRACE_STATE: u32 = 3;
const PARENT_SPAN_ID: u32 = 4;
const NAME: u32 = 5;
const KIND: u32 = 6;
const START: u32 = 7;
const END: u32 = 8;
const ATTRIBUTES: u32 = 9;
const EVENTS: u32 = 11;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;
const EVENT_TIME: u32 = 1;
const EVENT_NAME: u32 = 2;
const EVENT_ATTRIBUTES: u32 = 3;
const STATUS_MESSAGE: u32 = 2;
const STATUS_CODE: u32 = 3;
const STATUS_CODE_ERROR: u64 = 2;
/// Bits of `flags`: the decision, that it is known whether the parent is remote, and that it is.
const SAMPLED: u32 = 1;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Spans as the `spans` field of a `ScopeSpans` message.
#[derive(Debug, Default)]
pub struct SpanBuffer {
    bytes: Vec<u8>,
    spans: usize,
}

impl SpanBuffer {
    /// An empty one with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        SpanBuffer { bytes: Vec::with_capacity(bytes), spans: 0 }
    }

    /// Appends a span. `attributes` writes its attributes and events, in any order, each key once.
    pub fn push(&mut self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let out = &mut self.bytes;
        let start = wire::begin_message(out, SPANS);
        wire::bytes(out, TRACE_ID, &span.trace_id.to_bytes());
        wire::bytes(out, SPAN_ID, &span.span_id.to_bytes());
        if let Some(state) = span.state.filter(|state| !state.is_empty()) {
            wire::bytes(out, TRACE_STATE, state.as_bytes());
        }
        let mut flags = if span.sampled { SAMPLED } else { 0 } | HAS_IS_REMOTE;
        if let Some(parent) = span.parent {
            wire::bytes(out, PARENT_SPAN_ID, &parent.to_bytes());
            flags |= if span.parent_is_remote { IS_REMOTE } else { 0 };
        }
        wire::bytes(out, NAME, span.name.as_bytes());
        wire::number(out, KIND, kind(&span.kind));
        wire::fixed64(out, START, span.start_unix_nanos);
        wire::fixed64(out, END, span.end_unix_nanos.max(span.start_unix_nanos));
        attributes(&mut Attributes::of_span(out, ATTRIBUTES));
        if let Some(why) = span.error {
            let message = if why.is_empty() { 0 } else { wire::field_len(why.len()) };
            wire::header(out, STATUS, message + 2);
            if !why.is_empty() {
                wire::bytes(out, STATUS_MESSAGE, why.as_bytes());
            }
            wire::number(out, STATUS_CODE, STATUS_CODE_ERROR);
        }
        wire::fixed32(out, FLAGS, flags);
        wire::end_message(out, start);
        self.spans += 1;
    }

    /// How many spans are in it.
    pub fn len(&self) -> usize {
        self.spans
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans == 0
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// Where the attributes and events of one span are written. Keys must not come twice: collectors may take either.
#[derive(Debug)]
pub struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    field: u32,
    /// Whether there may be events beside them.
    events: bool,
}

impl<'a> Attributes<'a> {
    fn of_span(out: &'a mut Vec<u8>, field: u32) -> Self {
        Attributes { out, field, events: true }
    }

    /// Attributes of something else, which has them in this field.
    pub(crate) fn alone(out: &'a mut Vec<u8>, field: u32) -> Self {
        Attributes { out, field, events: false }
    }

    /// An attribute of any kind.
    pub fn set(&mut self, key: &str, value: Value<'_>) {
        wire::key_value(self.out, self.field, key, value);
    }

    /// Text.
    pub fn str(&mut self, key: &str, value: &str) {
        self.set(key, Value::Str(value));
    }

    /// A whole number.
    pub fn int(&mut self, key: &str, value: i64) {
        self.set(key, Value::Int(value));
    }

    /// Yes or no.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.set(key, Value::Bool(value));
    }

    /// A number.
    pub fn double(&mut self, key: &str, value: f64) {
        self.set(key, Value::Double(value));
    }

    /// Several texts.
    pub fn str_array(&mut self, key: &str, values: &[&str]) {
        self.set(key, Value::StrArray(values));
    }

    /// Something that happened meanwhile, at `unix_nanos`, with attributes of its own. Only spans have events:
    /// elsewhere this writes nothing.
    pub fn event(&mut self, name: &str, unix_nanos: u64, attributes: impl FnOnce(&mut Attributes<'_>)) {
        if !self.events {
            debug_assert!(false, "only spans have events");
            return;
        }
        let start = wire::begin_message(self.out, EVENTS);
        wire::fixed64(self.out, EVENT_TIME, unix_nanos);
        wire::bytes(self.out, EVENT_NAME, name.as_bytes());
        attributes(&mut Attributes::alone(self.out, EVENT_ATTRIBUTES));
        wire::end_message(self.out, start);
    }
}

#[cfg(test)]
mod tests;
