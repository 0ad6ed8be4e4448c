//! Spans on their way: the batch that is filled, those that are full, and those that are being sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::counts::{Dropped, ExportCounts};
use crate::span::{Attributes, Span, SpanBuffer};

/// Spans of this many bytes are kept at most, however many spans that are.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// A batch goes off when it has this many bytes, however few spans that are: collectors take 4 MiB at a time.
const BATCH_BYTES: usize = 2 << 20;

/// All spans that are kept. Whoever has one and whoever sends them share it; the lock is held for as long as it takes
/// to write a span.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A batch has begun, or is full, or the end has come.
    news: Notify,
    /// Nothing is kept any more, after the end has come.
    empty: Notify,
    limits: Limits,
    counts: Arc<ExportCounts>,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_queue: usize,
    pub(super) max_batch: usize,
    pub(super) delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    open: SpanBuffer,
    /// When the open batch got its first span.
    since: Option<Instant>,
    full: VecDeque<SpanBuffer>,
    /// Spans and bytes in both, and in those that are being sent.
    spans: usize,
    bytes: usize,
    /// As long as the last batch was: what the next one will need.
    last_bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits, counts: Arc<ExportCounts>) -> Self {
        Queue { state: Mutex::default(), news: Notify::new(), empty: Notify::new(), limits, counts }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one more, or drops it where there is no room. Never waits for anybody.
    pub(super) fn push(&self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let mut state = self.state();
        let full = state.spans >= self.limits.max_queue || state.bytes >= MAX_BYTES;
        if full || state.closed {
            let why = if state.closed { Dropped::Shutdown } else { Dropped::QueueFull };
            self.counts.add_dropped(why, 1);
            return;
        }
        let first = state.open.is_empty();
        if first {
            state.since = Some(Instant::now());
            if state.open.bytes().is_empty() {
                state.open = SpanBuffer::with_capacity(state.last_bytes);
            }
        }
        let before = state.open.bytes().len();
        state.open.push(span, attributes);
        let after = state.open.bytes().len();
        state.bytes += after - before;
        state.spans += 1;
        self.counts.set_queued(state.spans);
        let is_full = state.open.len() >= self.limits.max_batch || after >= BATCH_BYTES;
        if is_full {
            state.close_batch();
        }
        drop(state);
        if first || is_full {
            self.news.notify_one();
        }
    }

    /// The next batch that is due; waits for one. Safe to cancel.
    pub(super) async fn next(&self) -> SpanBuffer {
        loop {
            let due = {
                let mut state = self.state();
                if let Some(batch) = state.full.pop_front() {
                    return batch;
                }
                let due = state.since.map(|since| since + self.limits.delay);
                if due.is_some_and(|due| state.closed || due <= Instant::now()) {
                    state.close_batch();
                    continue;
                }
                due
            };
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = wait => {}
            }
        }
    }

    /// A batch of [`Queue::next`] is not kept any more, whatever has become of it.
    pub(super) fn done(&self, spans: usize, bytes: usize) {
        let mut state = self.state();
        // After the end nothing is owed any more.
        state.spans = state.spans.saturating_sub(spans);
        state.bytes = state.bytes.saturating_sub(bytes);
        self.counts.set_queued(state.spans);
        if state.spans == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Takes nothing more; what is there is due at once.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.news.notify_one();
    }

    /// Waits until nothing is kept any more.
    pub(super) async fn emptied(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            // Listening begins before looking.
            empty.as_mut().enable();
            if self.state().spans == 0 {
                return;
            }
            empty.await;
        }
    }

    /// Gives up what is left, and says how many spans that were.
    pub(super) fn abandon(&self) -> usize {
        let mut state = self.state();
        let left = state.spans;
        *state = State { closed: true, ..State::default() };
        self.counts.set_queued(0);
        left
    }
}

impl State {
    fn close_batch(&mut self) {
        let batch = std::mem::take(&mut self.open);
        self.since = None;
        self.last_bytes = batch.bytes().len();
        self.full.push_back(batch);
    }
}

#[cfg(test)]
mod tests;
