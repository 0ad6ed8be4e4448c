use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, TraceId};

use super::{BATCH_BYTES, Limits, MAX_BYTES, Queue};
use crate::export::{Dropped, ExportCounts};
use crate::span::Span;

fn queue(max_queue: usize, max_batch: usize) -> (Queue, Arc<ExportCounts>) {
    let counts = Arc::new(ExportCounts::default());
    let limits = Limits { max_queue, max_batch, delay: Duration::from_secs(600) };
    (Queue::new(limits, counts.clone()), counts)
}

fn push(queue: &Queue, text: &str) {
    let span = Span {
        trace_id: TraceId::from(1),
        span_id: SpanId::from(1),
        parent: None,
        parent_is_remote: false,
        state: None,
        sampled: true,
        kind: SpanKind::Server,
        name: "GET",
        start_unix_nanos: 1,
        end_unix_nanos: 1,
        error: None,
    };
    queue.push(&span, |at| at.str("text", text));
}

#[tokio::test]
async fn batches_and_the_queue_are_bounded_in_bytes_too() {
    let (queue, counts) = queue(1_000_000, 1_000_000);
    let text = "x".repeat(100_000);
    for _ in 0..1000 {
        push(&queue, &text);
    }
    let kept = counts.queued();
    assert_eq!(kept + counts.dropped(Dropped::QueueFull), 1000);
    let (mut spans, mut bytes) = (0, 0);
    queue.close();
    while spans < kept {
        let batch = queue.next().await;
        assert!(batch.bytes().len() <= BATCH_BYTES + 200_000);
        spans += batch.len() as u64;
        bytes += batch.bytes().len();
        queue.done(batch.len(), batch.bytes().len());
    }
    assert!((MAX_BYTES..MAX_BYTES + 200_000).contains(&bytes), "{bytes}");
    queue.emptied().await;
    assert_eq!(counts.queued(), 0);
}

#[tokio::test]
async fn a_batch_counts_as_kept_until_it_is_done() {
    let (queue, counts) = queue(4, 2);
    for _ in 0..6 {
        push(&queue, "");
    }
    assert_eq!((counts.queued(), counts.dropped(Dropped::QueueFull)), (4, 2));
    let batch = queue.next().await;
    push(&queue, "");
    assert_eq!((counts.queued(), counts.dropped(Dropped::QueueFull)), (4, 3));
    queue.done(batch.len(), batch.bytes().len());
    push(&queue, "");
    assert_eq!((counts.queued(), counts.dropped(Dropped::QueueFull)), (3, 3));
    assert_eq!(queue.next().await.len(), 2);
    // The end makes an open batch due.
    queue.close();
    assert_eq!(queue.next().await.len(), 1);
    push(&queue, "");
    assert_eq!(counts.dropped(Dropped::Shutdown), 1);
    assert_eq!((queue.abandon(), counts.queued()), (3, 0));
    // What comes back after that owes nothing.
    queue.done(2, 100);
    assert_eq!(counts.queued(), 0);
}
