use super::{Ids, SpanContext};
use opentelemetry::trace::{SpanId, TraceId};

#[test]
fn ids_are_drawn_from_the_generator_alone_and_are_never_zero() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut ids = Ids::new(fastrand::Rng::with_seed(seed));
    let mut again = Ids::new(fastrand::Rng::with_seed(seed));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let (trace, span) = (ids.trace_id(), ids.span_id());
        assert_eq!((trace, span), (again.trace_id(), again.span_id()));
        assert!(trace != TraceId::INVALID && span != SpanId::INVALID);
        assert!(seen.insert(trace.to_bytes().to_vec()) && seen.insert(span.to_bytes().to_vec()));
    }
}

#[test]
fn an_id_for_x_ray_begins_with_the_time() {
    let mut ids = Ids::new(fastrand::Rng::with_seed(1));
    let (one, other) = (ids.trace_id_at(0x5759_e988), ids.trace_id_at(0x5759_e988));
    assert!(format!("{one}").starts_with("5759e988") && format!("{other}").starts_with("5759e988"));
    assert_ne!(one, other);
}

#[test]
fn a_child_differs_by_its_own_id_alone() {
    let parent = SpanContext {
        trace_id: TraceId::from(7),
        span_id: SpanId::from(8),
        sampled: true,
        state: Some("a=b".into()),
    };
    let child = parent.child(SpanId::from(9));
    assert_eq!(child, SpanContext { span_id: SpanId::from(9), ..parent });
}
