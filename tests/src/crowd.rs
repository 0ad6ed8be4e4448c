//! How many are at the same place at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::wait::eventually;

/// Counts who is in, keeps the highest count, and serves so many of them at once.
#[derive(Clone, Debug)]
pub struct Crowd(Arc<State>);

#[derive(Debug)]
struct State {
    now: AtomicUsize,
    most: AtomicUsize,
    desks: Semaphore,
}

struct Inside<'a>(&'a State);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

impl Crowd {
    /// With so many desks; without any, all wait until there are some.
    #[must_use]
    pub fn with_desks(desks: usize) -> Self {
        Crowd(Arc::new(State {
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            desks: Semaphore::new(desks),
        }))
    }

    /// So many more desks.
    pub fn open(&self, desks: usize) {
        self.0.desks.add_permits(desks);
    }

    /// Comes in, waits for a desk, has it for this long, and leaves.
    pub async fn pass(&self, time: Duration) {
        self.0.most.fetch_max(self.0.now.fetch_add(1, SeqCst) + 1, SeqCst);
        let _inside = Inside(&self.0);
        let _desk = self.0.desks.acquire().await;
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    /// How many are in.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.now.load(SeqCst)
    }

    /// The most there have been.
    #[must_use]
    pub fn most(&self) -> usize {
        self.0.most.load(SeqCst)
    }

    /// Waits until so many are in.
    pub async fn counts(&self, n: usize) {
        eventually(&format!("{n} are in"), async || (self.now() == n).then_some(())).await;
    }
}
