//! The waker of a connection that is polled by whichever task uses it at the moment.
//!
//! A connection keeps one waker for life, which passes wake-ups on to the task that has it. That saves cloning a new
//! waker into every place that keeps one, and it can be muted: hyper's two halves wake each other through it, which
//! is of no use to a task that polls them one after the other.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Where wake-ups go.
#[derive(Debug, Default)]
pub(super) struct Relay {
    task: Mutex<Option<Waker>>,
    muted: AtomicBool,
}

impl Relay {
    /// From now on this task is woken.
    pub(super) fn set(&self, task: &Waker) {
        let mut current = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| current.will_wake(task)) {
            *current = Some(task.clone());
        }
    }

    /// Nobody uses the connection.
    pub(super) fn clear(&self) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Does something whose wake-ups are not wanted, because the connection is polled right afterwards.
    pub(super) fn muted<T>(&self, act: impl FnOnce() -> T) -> T {
        self.muted.store(true, Relaxed);
        let result = act();
        self.muted.store(false, Relaxed);
        result
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.muted.load(Relaxed) {
            return;
        }
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}
