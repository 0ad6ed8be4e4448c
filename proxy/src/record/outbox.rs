//! The way of records from the workers to those who look at them: in batches, so that a thread is woken once for many,
//! and bounded, so that whoever looks too slowly misses some and delays nobody.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::Record;
use crate::clock::Clock;

/// Records that are handed over together.
const BATCH: usize = 64;
/// Batches that may wait to be looked at: 8,192 records, some 5 MB.
const WAITING: usize = 128;
/// A batch that is not full goes after this long.
const WITHIN: Duration = Duration::from_millis(100);

/// Batches on their way.
pub type Received = mpsc::Receiver<Vec<Record>>;

/// Who looks, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants(pub u8);

impl Wants {
    /// Requests of sampled traces.
    pub const TRACES: u8 = 1;
    /// All requests, for the access log.
    pub const LOG: u8 = 2;
    /// All requests, for `tap`.
    pub const TAP: u8 = 4;
    /// Their headers as well.
    pub const HEADERS: u8 = 8;

    /// Whether one of these is wanted.
    #[inline]
    pub fn any(self, of: u8) -> bool {
        self.0 & of != 0
    }
}

/// Who looks at requests, for all workers.
#[derive(Debug)]
pub struct Observers {
    wants: AtomicU8,
    batches: mpsc::Sender<Vec<Record>>,
    /// Records that nobody had time for.
    pub dropped: AtomicU64,
}

impl Observers {
    /// Nobody yet; what comes for them, when they are there, comes out at the other end.
    pub fn new() -> (Arc<Self>, Received) {
        let (batches, received) = mpsc::channel(WAITING);
        (Arc::new(Observers { wants: AtomicU8::new(0), batches, dropped: AtomicU64::new(0) }), received)
    }

    /// Who looks now.
    #[inline]
    pub fn wants(&self) -> Wants {
        Wants(self.wants.load(Relaxed))
    }

    /// From now on these look as well.
    pub fn want(&self, more: u8) {
        self.wants.fetch_or(more, Relaxed);
    }

    /// These do no more.
    pub fn want_no_more(&self, those: u8) {
        self.wants.fetch_and(!those, Relaxed);
    }
}

/// One worker's end of it.
#[derive(Debug)]
pub struct Outbox {
    observers: Arc<Observers>,
    /// The worker's clock.
    pub clock: Clock,
    batch: RefCell<Vec<Record>>,
    begun: Notify,
}

impl Outbox {
    /// To these observers.
    pub fn new(observers: Arc<Observers>, clock: Clock) -> Rc<Self> {
        Rc::new(Outbox { observers, clock, batch: RefCell::default(), begun: Notify::new() })
    }

    /// Who looks now: one atomic load.
    #[inline]
    pub fn wants(&self) -> Wants {
        self.observers.wants()
    }

    pub(super) fn put(&self, record: Record) {
        let mut batch = self.batch.borrow_mut();
        if batch.capacity() == 0 {
            batch.reserve_exact(BATCH);
            self.begun.notify_one();
        }
        batch.push(record);
        let is_full = batch.len() == BATCH;
        drop(batch);
        if is_full {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub fn flush(&self) {
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.observers.batches.try_send(batch) {
            let (mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) = error;
            self.observers.dropped.fetch_add(lost.len() as u64, Relaxed);
        }
    }

    /// Hands over in time what does not fill a batch, for ever.
    pub async fn keep_flushing(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(WITHIN).await;
            self.flush();
        }
    }
}
