//! Waiting for what should happen, with a deadline that only a broken proxy reaches.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long anything may take before a test gives up: ten times and more what it takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` says `Some`.
///
/// # Panics
/// Nothing has come of it in [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "in {PATIENCE:?} this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Awaits with the general deadline.
///
/// # Panics
/// It took longer than [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("in {PATIENCE:?} this did not end: {what}"),
    }
}

/// Something that backends wait for and a test opens.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A shut one.
    #[must_use]
    pub fn shut() -> Self {
        Gate(watch::Sender::new(false))
    }

    /// Lets all through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let mut seen = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = seen.wait_for(|open| *open).await;
    }
}
