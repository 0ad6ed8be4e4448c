//! Where a request is looked at: a record of it begins here, and its place in a trace is decided. Who only passes by pays
//! one atomic load.

use bowline_core::Tick;
use bowline_otlp::{Extracted, SpanContext, SpanId};
use http::request;

use super::headers::Scan;
use crate::listen::Downstream;
use crate::record::{Ending, Record, Recording, Texts, Trace, Wants};
use crate::snapshot::SharedEndpoint;
use crate::worker::Worker;

/// Begins the record of a request, if anybody wants one.
#[inline]
pub fn begin(app: &Downstream, head: &mut request::Parts, scan: &Scan) -> Option<Recording> {
    match app.worker().outbox.wants() {
        Wants(0) => None,
        wants => watch(app, head, scan, wants),
    }
}

fn watch(app: &Downstream, head: &mut request::Parts, scan: &Scan, wants: Wants) -> Option<Recording> {
    let worker = app.worker();
    // Before the trace's headers are changed.
    let headers = wants.any(Wants::HEADERS).then(|| Box::new(head.headers.clone()));
    let trace = match wants.any(Wants::TRACES) {
        true => trace(worker, head, app.is_inbound()),
        false => None,
    };
    if trace.is_none() && !wants.any(Wants::LOG | Wants::TAP) {
        return None;
    }
    let said = match trace {
        None => worker.propagators().extract(&head.headers).trace_id(),
        Some(_) => None,
    };
    let record = Record {
        trace,
        said,
        service: None,
        route: None,
        delayed: std::time::Duration::ZERO,
        client: app.client(),
        method: head.method.clone(),
        version: head.version,
        grpc: scan.grpc,
        texts: Texts::of(head),
        headers,
        started: worker.clock.now(),
        answered: Tick(0),
        ended: Tick(0),
        status: 0,
        grpc_status: None,
        reason: None,
        ending: Ending::Cancelled,
        received: 0,
        sent: 0,
        attempts: Vec::with_capacity(1),
    };
    Some(Recording::new(record, worker.outbox.clone()))
}

/// The request's place in a trace that is recorded. Where it is not, the head says so to those who come after, but for
/// what the caller has said itself, which stays as it is.
fn trace(worker: &Worker, head: &mut request::Parts, inbound: bool) -> Option<Trace> {
    let tracing = worker.tracing()?;
    let extracted = tracing.propagators.extract(&head.headers);
    let id = extracted.trace_id().unwrap_or_else(|| worker.new_trace_id(tracing));
    let sampled = tracing.sampler.sample_extracted(&extracted, id);
    if !sampled && (extracted.decision() == Some(false) || !tracing.begins) {
        return None;
    }
    let span = worker.new_span_id();
    let parent = extracted.parent().map(|parent| parent.span_id);
    let state = match extracted {
        Extracted::Parent(context) | Extracted::Undecided(context) => context.state,
        _ => None,
    };
    // The span that is the caller of whoever comes next: behind this proxy its own, on the way out each attempt's.
    if inbound || !sampled {
        let context = SpanContext { trace_id: id, span_id: span, sampled, state: state.clone() };
        tracing.propagators.inject(&context, &mut head.headers);
    }
    sampled.then_some(Trace { id, span, parent, state })
}

/// An attempt at this endpoint begins; in a trace its span is what the endpoint's side of it belongs to.
pub fn attempt(
    worker: &Worker,
    recording: &mut Recording,
    endpoint: &std::sync::Arc<SharedEndpoint>,
    inbound: bool,
    now: Tick,
    head: &mut request::Parts,
) {
    let mut span: Option<SpanId> = None;
    if !inbound && let (Some(tracing), Some(trace)) = (worker.tracing(), recording.trace()) {
        let id = worker.new_span_id();
        let context =
            SpanContext { trace_id: trace.id, span_id: id, sampled: true, state: trace.state.clone() };
        tracing.propagators.inject(&context, &mut head.headers);
        span = Some(id);
    }
    recording.attempt(endpoint, span, now);
}
