//! The snapshot in force, for all who look at it.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};

use super::Snapshot;

/// The snapshot in force. Workers look at the generation, one atomic load, and take the snapshot only when it moved.
#[derive(Debug)]
pub struct Published {
    generation: AtomicU64,
    current: Mutex<Arc<Snapshot>>,
}

impl Published {
    /// Publishes the first snapshot.
    pub fn new(first: Snapshot) -> Self {
        Published { generation: AtomicU64::new(first.generation), current: Mutex::new(Arc::new(first)) }
    }

    /// The generation in force.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one is in force.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = snapshot.clone();
        self.generation.store(snapshot.generation, Release);
        snapshot
    }
}
