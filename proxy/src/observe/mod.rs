//! Those who look at requests one by one: traces, the access log, taps. All of it runs on the thread of the admin pages,
//! from records that the workers have put down.

pub mod access_log;
pub mod attributes;
pub mod fields;
mod line;
mod spans;
pub mod tap;
mod wall;
mod words;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bowline_core::Tick;
use bowline_otlp::{Attributes, Span, Traces};

use self::access_log::AccessLog;
use self::spans::{Scratch, Sink, spans};
use self::tap::Taps;
use self::wall::Wall;
use crate::clock::Clock;
use crate::record::{Received, Record};

/// Whom records are shown to.
#[derive(Debug)]
pub struct Observe {
    /// Spans are made of them.
    pub traces: Option<Traces>,
    /// Lines are made of them.
    pub log: Option<AccessLog>,
    /// Who looks at the moment.
    pub taps: Arc<Taps>,
    /// The process's.
    pub clock: Clock,
}

impl Observe {
    /// Shows all that come, until no worker is left.
    pub async fn run(mut self, mut received: Received) {
        let mut scratch = Scratch::default();
        while let Some(batch) = received.recv().await {
            self.show(&batch, &mut scratch);
        }
    }

    fn show(&mut self, batch: &[Record], scratch: &mut Scratch) {
        let wall = Wall::now(self.clock);
        if let Some(traces) = &self.traces {
            for record in batch {
                spans(record, wall, scratch, &mut Exported(traces));
                exemplar(record, wall);
            }
        }
        if let Some(log) = &mut self.log {
            for record in batch {
                log.add(record, wall);
            }
            log.flush();
        }
        self.taps.show(batch, wall);
    }
}

/// A request that was traced stands for others of its latency.
fn exemplar(record: &Record, wall: Wall) {
    let (Some(service), Some(trace)) = (&record.service, &record.trace) else { return };
    if record.answered != Tick(0) {
        let seconds = record.answered.since(record.started).as_secs_f64();
        let at = UNIX_EPOCH + wall.since_epoch(record.answered);
        service.shared.exemplars.note(seconds, trace.id, trace.span, at);
    }
}

struct Exported<'a>(&'a Traces);

impl Sink for Exported<'_> {
    fn push(&mut self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.0.push(span, attributes);
    }
}

#[cfg(test)]
mod tests;
