//! The ids of a trace and of a span.

use opentelemetry::trace::{SpanId, TraceId};

/// What one span tells the next process of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace it belongs to; never all zero.
    pub trace_id: TraceId,
    /// The span itself; never all zero.
    pub span_id: SpanId,
    /// Whether it is kept. The others of its trace do as it does.
    pub sampled: bool,
    /// `tracestate` as it came: what vendors have to say to themselves.
    pub state: Option<Box<str>>,
}

impl SpanContext {
    /// A span below this one: same trace, same decision, same state.
    pub fn child(&self, span_id: SpanId) -> SpanContext {
        SpanContext { span_id, ..self.clone() }
    }
}

/// Draws ids.
#[derive(Clone, Debug)]
pub struct Ids(fastrand::Rng);

impl Ids {
    /// All ids come from this generator. Two processes with the same seed draw the same ids.
    pub fn new(rng: fastrand::Rng) -> Self {
        Ids(rng)
    }

    /// The id of a new trace.
    pub fn trace_id(&mut self) -> TraceId {
        TraceId::from(self.0.u128(1..))
    }

    /// The id of a new trace for AWS X-Ray, which wants the time in its first four bytes and refuses traces that are
    /// older than 30 days by it.
    pub fn trace_id_at(&mut self, unix_seconds: u32) -> TraceId {
        let random = self.0.u128(1..1 << 96);
        TraceId::from(u128::from(unix_seconds) << 96 | random)
    }

    /// The id of a new span.
    pub fn span_id(&mut self) -> SpanId {
        SpanId::from(self.0.u64(1..))
    }
}

#[cfg(test)]
mod tests;
