use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext as TheirContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::trace::{Sampler as Theirs, SamplingDecision, ShouldSample as _};

use super::Sampler;
use crate::context::SpanContext;
use crate::propagate::Extracted;

fn pairs(ratio: f64) -> [(Sampler, Theirs); 6] {
    let parent = |root| Theirs::ParentBased(Box::new(root));
    [
        (Sampler::AlwaysOn, Theirs::AlwaysOn),
        (Sampler::AlwaysOff, Theirs::AlwaysOff),
        (Sampler::Ratio(ratio), Theirs::TraceIdRatioBased(ratio)),
        (Sampler::ParentOrOn, parent(Theirs::AlwaysOn)),
        (Sampler::ParentOrOff, parent(Theirs::AlwaysOff)),
        (Sampler::ParentOrRatio(ratio), parent(Theirs::TraceIdRatioBased(ratio))),
    ]
}

#[test]
fn all_six_decide_as_the_sdk_does() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut kept = 0;
    for round in 0..4000 {
        let ratio = [0.0, 1.0, 0.5, -1.0, 2.0, f64::MIN_POSITIVE, 1.0 - f64::EPSILON, rng.f64()][round % 8];
        // Ids at the edge of the ratio, too.
        let edge = ((ratio.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64).wrapping_shl(1);
        let low = if rng.bool() { edge.wrapping_add(rng.u64(0..4)).wrapping_sub(2) } else { rng.u64(..) };
        let trace_id = TraceId::from(u128::from(rng.u64(1..)) << 64 | u128::from(low));
        let parent = (rng.u8(0..3) > 0).then(|| SpanContext {
            trace_id,
            span_id: SpanId::from(7),
            sampled: rng.bool(),
            state: None,
        });
        let context = parent.as_ref().map(|parent| {
            let flags = TraceFlags::default().with_sampled(parent.sampled);
            let state = TraceState::default();
            let span = TheirContext::new(trace_id, parent.span_id, flags, true, state);
            Context::new().with_remote_span_context(span)
        });
        for (ours, theirs) in pairs(ratio) {
            let result = theirs.should_sample(context.as_ref(), trace_id, "", &SpanKind::Server, &[], &[]);
            let wanted = result.decision == SamplingDecision::RecordAndSample;
            assert_eq!(ours.sample(parent.as_ref(), trace_id), wanted, "{ours:?} {trace_id} {parent:?}");
            kept += usize::from(wanted);
        }
    }
    // Neither all nor nothing: the comparison has compared something.
    assert!((4_000..20_000).contains(&kept), "{kept}");
}

#[test]
fn a_decision_without_a_span_counts_as_the_callers_and_a_span_without_a_decision_does_not() {
    let trace_id = TraceId::from(1);
    let context = SpanContext { trace_id, span_id: SpanId::from(1), sampled: false, state: None };
    for (extracted, on, off) in [
        (Extracted::Nothing, true, false),
        (Extracted::Decision { sampled: false }, false, false),
        (Extracted::Decision { sampled: true }, true, true),
        (Extracted::Undecided(context.clone()), true, false),
        (Extracted::Parent(context), false, false),
        (Extracted::Trace { trace_id, sampled: None }, true, false),
        (Extracted::Trace { trace_id, sampled: Some(true) }, true, true),
    ] {
        assert_eq!(Sampler::ParentOrOn.sample_extracted(&extracted, trace_id), on, "{extracted:?}");
        assert_eq!(Sampler::ParentOrOff.sample_extracted(&extracted, trace_id), off, "{extracted:?}");
        assert!(Sampler::AlwaysOn.sample_extracted(&extracted, trace_id));
    }
}
