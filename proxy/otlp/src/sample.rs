//! Which traces are kept.

use opentelemetry::trace::TraceId;

use crate::context::SpanContext;
use crate::propagate::Extracted;

/// A sampler of OpenTelemetry, by the names of `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampler {
    /// Every trace.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of all traces, from 0 to 1, whatever the caller has decided.
    Ratio(f64),
    /// As the caller has decided; every trace that begins here.
    #[default]
    ParentOrOn,
    /// As the caller has decided; no trace that begins here.
    ParentOrOff,
    /// As the caller has decided; this share of the traces that begin here.
    ParentOrRatio(f64),
}

impl Sampler {
    /// Whether this trace is kept. `parent` is the caller's span, which has decided; `None`: the trace begins here, or
    /// the decision was left to us.
    #[inline]
    pub fn sample(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        self.decide(parent.map(|parent| parent.sampled), trace_id)
    }

    /// The same for whatever a request has brought.
    #[inline]
    pub fn sample_extracted(&self, extracted: &Extracted, trace_id: TraceId) -> bool {
        self.decide(extracted.decision(), trace_id)
    }

    fn decide(&self, decided: Option<bool>, trace_id: TraceId) -> bool {
        match (*self, decided) {
            (Sampler::ParentOrOn | Sampler::ParentOrOff | Sampler::ParentOrRatio(_), Some(sampled)) => {
                sampled
            }
            (Sampler::AlwaysOn | Sampler::ParentOrOn, _) => true,
            (Sampler::AlwaysOff | Sampler::ParentOrOff, _) => false,
            (Sampler::Ratio(ratio) | Sampler::ParentOrRatio(ratio), _) => within(ratio, trace_id),
        }
    }
}

/// The rule of the SDKs: the lower 63 bits that remain of the id's second half, against the ratio. All who know the
/// trace come to the same decision, as long as their ratios are the same.
fn within(ratio: f64, trace_id: TraceId) -> bool {
    let bound = (ratio.max(0.0) * (1u64 << 63) as f64) as u64;
    ratio >= 1.0 || (u128::from_be_bytes(trace_id.to_bytes()) as u64) >> 1 < bound
}

#[cfg(test)]
mod tests;
