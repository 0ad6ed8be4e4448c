//! Spans to the collector.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::around::Around;
use super::connection::Collector;
use super::counts::{Dropped, ExportCounts};
use super::courier::{Courier, Post};
use super::queue::{Limits, Queue};
use super::tls::StartError;
use crate::env::TraceSettings;
use crate::resource::Resource;
use crate::span::{Attributes, Span};

/// Requests under way at a time. The second connection is opened when a batch is full while another is being sent.
/// Measured over loopback with batches of 512, spans a second by what a collector takes for a request: 5 ms: 54,000 with
/// one, 98,000 with two, 190,000 with four; 20 ms: 21,000, 42,000, 84,000. Two are enough for what one worker makes beside
/// a collector that is near.
const COURIERS: usize = 2;

/// Starts the export of spans.
#[derive(Debug)]
pub struct TraceExporter;

impl TraceExporter {
    /// Begins to export on the tokio runtime that this is called on. No connection is opened before there is a span.
    /// `scope` is who has made the spans: name and version.
    ///
    /// # Errors
    /// [`StartError`] when a certificate or key can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        settings: &TraceSettings,
        resource: &Resource,
        scope: (&str, &str),
    ) -> Result<Traces, StartError> {
        let counts = Arc::new(ExportCounts::default());
        let collector = Collector::new(settings.target.clone())?;
        let limits = Limits {
            max_queue: settings.max_queue,
            max_batch: settings.max_batch,
            delay: settings.schedule_delay,
        };
        let queue = Arc::new(Queue::new(limits, counts.clone()));
        let post = Arc::new(Post::new(collector, counts.clone(), settings.export_timeout, "spans"));
        let around = Around::new(resource, scope);
        let task = tokio::spawn(send_all(queue.clone(), post.clone(), around)).abort_handle();
        Ok(Traces(Arc::new(Inner { queue, post, counts, task: Mutex::new(Some(task)) })))
    }
}

/// Where spans are handed in. Cheap to clone; any thread may use it.
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    post: Arc<Post>,
    counts: Arc<ExportCounts>,
    task: Mutex<Option<AbortHandle>>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("counts", &self.0.counts).finish_non_exhaustive()
    }
}

impl Traces {
    /// Hands in a span; `attributes` writes its attributes and events. Where there is no room the span is dropped and
    /// counted. Never waits; the cost is that of writing the span.
    pub fn push(&self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.0.queue.push(span, attributes);
    }

    /// What the export has come to.
    pub fn counts(&self) -> &Arc<ExportCounts> {
        &self.0.counts
    }

    /// Takes no more spans, and waits until all are sent, the collector turns out to be away, or the time is over. What is
    /// left then is dropped.
    pub async fn flush(&self, within: Duration) {
        self.0.queue.close();
        self.0.post.hurry();
        let sent = async {
            tokio::select! {
                () = self.0.queue.emptied() => true,
                () = self.0.post.given_up.notified() => false,
            }
        };
        let sent = timeout(within, sent).await.unwrap_or(false);
        if let Some(task) = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        if !sent {
            let left = self.0.queue.abandon();
            self.0.counts.add_dropped(Dropped::Shutdown, left as u64);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

async fn send_all(queue: Arc<Queue>, post: Arc<Post>, around: Around) {
    let around = Arc::new(around);
    let mut idle: Vec<Courier> = (0..COURIERS).map(|_| Courier::new(post.clone())).collect();
    let mut busy = JoinSet::new();
    loop {
        tokio::select! {
            back = busy.join_next(), if !busy.is_empty() => match back {
                Some(Ok(courier)) => idle.push(courier),
                // One that has broken down is replaced.
                _ => idle.push(Courier::new(post.clone())),
            },
            // The one that came back last has a connection: it goes first.
            batch = queue.next(), if !idle.is_empty() => {
                let Some(mut courier) = idle.pop() else { continue };
                let (queue, post, around) = (queue.clone(), post.clone(), around.clone());
                busy.spawn(async move {
                    // Kept until it is delivered, given up, or the courier has broken down.
                    let kept = Kept { spans: batch.len(), bytes: batch.bytes().len(), queue };
                    let payload = around.payload(&post.collector.target, batch.into_bytes());
                    courier.deliver(&payload, kept.spans as u64).await;
                    courier
                });
            }
        }
    }
}

/// A batch that counts as kept for as long as this lives.
struct Kept {
    spans: usize,
    bytes: usize,
    queue: Arc<Queue>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.queue.done(self.spans, self.bytes);
    }
}
