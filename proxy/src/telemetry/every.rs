//! Something that is done every so often, and once more at the end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

/// A task that does it.
#[derive(Debug)]
pub struct Repeated {
    end: Arc<Notify>,
    task: JoinHandle<()>,
}

/// When it is to be done.
#[derive(Debug)]
pub struct Turns {
    ticks: Interval,
    end: Arc<Notify>,
    ended: bool,
}

impl Repeated {
    /// Begins. `work` takes its turns until there is none any more.
    pub fn start<W: Future<Output = ()> + Send + 'static>(
        every: Duration,
        work: impl FnOnce(Turns) -> W,
    ) -> Self {
        let end = Arc::new(Notify::new());
        let mut ticks = interval_at(Instant::now() + every, every);
        // After one that took long there is nothing to catch up on.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let task = tokio::spawn(work(Turns { ticks, end: end.clone(), ended: false }));
        Repeated { end, task }
    }

    /// Has it done once more, and ends it.
    pub async fn end(mut self, within: Duration) {
        self.end.notify_one();
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Turns {
    /// Waits for the next turn; false: there is none any more.
    pub async fn next(&mut self) -> bool {
        if self.ended {
            return false;
        }
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = self.end.notified() => self.ended = true,
        }
        true
    }
}
