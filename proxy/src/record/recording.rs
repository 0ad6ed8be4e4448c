//! A record while its request is under way. Whatever becomes of the request, it ends up with those who look: dropped
//! early, as one whose caller has gone.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_otlp::SpanId;
use http::StatusCode;

use super::{Attempt, Ending, Outbox, Outcome, Record, Trace};
use crate::error::{Fault, Reason};
use crate::snapshot::{Service, SharedEndpoint};

/// One record under way.
pub struct Recording(Box<Inner>);

struct Inner {
    /// Taken out when it is over.
    record: Option<Record>,
    outbox: Rc<Outbox>,
    /// What has come of the request's body: its reader counts on when the response has begun.
    received: Rc<Cell<u64>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.record.fmt(f)
    }
}

impl Recording {
    /// Begins one. Its ending is taken for a cancellation until something else is known.
    pub fn new(record: Record, outbox: Rc<Outbox>) -> Self {
        Recording(Box::new(Inner { record: Some(record), outbox, received: Rc::default() }))
    }

    fn record(&mut self) -> &mut Record {
        self.0.record.as_mut().expect("it is taken out at the end only")
    }

    /// The request's place in a trace.
    pub fn trace(&mut self) -> Option<&Trace> {
        self.record().trace.as_ref()
    }

    /// Whom the request is for.
    pub fn is_for(&mut self, service: &Arc<Service>) {
        self.record().service = Some(service.clone());
    }

    /// The route that it takes.
    pub fn takes(&mut self, route: Option<&Arc<str>>) {
        self.record().route = route.cloned();
    }

    /// It was held up on purpose for so long.
    pub fn delayed(&mut self, time: Duration) {
        self.record().delayed = time;
    }

    /// Where the bytes of the request's body are to be counted.
    pub fn received(&self) -> Rc<Cell<u64>> {
        self.0.received.clone()
    }

    /// An attempt begins.
    pub fn attempt(&mut self, endpoint: &Arc<SharedEndpoint>, span: Option<SpanId>, now: Tick) {
        self.record().attempts.push(Attempt {
            span,
            endpoint: endpoint.clone(),
            started: now,
            ended: Tick(0),
            outcome: Outcome::Nothing,
            ejected: false,
            retried: None,
        });
    }

    fn ended(&mut self, outcome: Outcome, ejected: bool, now: Tick) {
        if let Some(attempt) = self.record().attempts.last_mut() {
            attempt.outcome = outcome;
            attempt.ejected |= ejected;
            attempt.ended = now;
        }
    }

    /// Its response head has come.
    pub fn attempt_answered(&mut self, status: StatusCode, grpc: Option<u32>, ejected: bool, now: Tick) {
        self.ended(Outcome::Answer(status.as_u16(), grpc), ejected, now);
    }

    /// It brought no answer.
    pub fn attempt_failed(&mut self, fault: &Fault, ejected: bool, now: Tick) {
        self.ended(Outcome::Fault(fault.reason, fault.detail.as_str().into()), ejected, now);
    }

    /// Another one follows, because of this, after this wait.
    pub fn retried(&mut self, why: &'static str, wait: Duration) {
        if let Some(attempt) = self.record().attempts.last_mut() {
            attempt.retried = Some((why, wait));
        }
    }

    /// Of two attempts at a time it is the earlier one whose outcome follows; the later one is over.
    pub fn first_counts(&mut self, now: Tick) {
        let attempts = &mut self.record().attempts;
        let last = attempts.len().saturating_sub(1);
        if let Some(attempt) = attempts.last_mut() {
            attempt.ended = now;
        }
        if last > 0 {
            attempts.swap(last, last - 1);
        }
    }

    /// The response head is passed on.
    pub fn answered(&mut self, status: StatusCode, grpc: Option<u32>, now: Tick) {
        let record = self.record();
        record.status = status.as_u16();
        record.grpc_status = grpc;
        record.answered = now;
    }

    /// The proxy answers itself, with a body of this many bytes.
    pub fn refused(mut self, reason: Reason, bytes: u64, now: Tick) {
        let (status, grpc) = match self.record().grpc {
            true => (StatusCode::OK, Some(reason.grpc_status().into())),
            false => (reason.status(), None),
        };
        self.refused_with(reason, status, grpc, bytes, now);
    }

    /// The same with a status that does not follow from the reason.
    pub fn refused_with(
        mut self,
        reason: Reason,
        status: StatusCode,
        grpc: Option<u32>,
        bytes: u64,
        now: Tick,
    ) {
        let record = self.record();
        record.reason = Some(reason);
        record.status = status.as_u16();
        record.grpc_status = grpc;
        record.answered = now;
        record.sent = bytes;
        self.complete();
    }

    /// Bytes of the response's body were passed on.
    #[inline]
    pub fn passed(&mut self, bytes: usize) {
        self.record().sent += bytes as u64;
    }

    /// Bytes of the request's body, where nobody counts them as they come.
    pub fn took(&mut self, bytes: u64) {
        self.0.received.set(bytes);
    }

    /// The status of a gRPC call, from the trailers of its response.
    pub fn grpc_status(&mut self, status: u32) {
        let record = self.record();
        if record.grpc {
            record.grpc_status = Some(status);
        }
    }

    /// All of the response was passed on.
    pub fn complete(mut self) {
        self.record().ending = Ending::Complete;
    }

    /// The response broke off. `ejected`: because of it the endpoint was ejected.
    pub fn broken(mut self, reason: Reason, ejected: bool) {
        let record = self.record();
        record.ending = Ending::Broken(reason);
        if record.grpc {
            record.grpc_status = Some(reason.grpc_status().into());
        }
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.ejected |= ejected;
        }
    }

    /// Nobody is to know of it after all.
    pub fn forget(mut self) {
        self.0.record = None;
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(mut record) = self.0.record.take() else { return };
        record.ended = self.0.outbox.clock.now();
        record.received = self.0.received.get();
        self.0.outbox.put(record);
    }
}
