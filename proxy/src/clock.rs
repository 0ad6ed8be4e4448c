//! The process's monotonic clock as the [`Tick`]s that bowline-core's algorithms take.

use std::sync::OnceLock;
use std::time::Instant;

use bowline_core::Tick;

/// The instant that tick 0 stands for. One for the process, so that ticks of different workers can be compared in
/// shared state such as ejections and retry budgets.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// A clock for one thread: it holds the origin, so that reading it is one read of the system's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock with the process's origin.
    pub fn new() -> Self {
        Clock { origin: origin() }
    }

    /// Now, in nanoseconds since the origin.
    #[inline]
    pub fn now(&self) -> Tick {
        Tick(self.origin.elapsed().as_nanos() as u64)
    }

    /// A moment of the runtime's timers as a tick.
    #[inline]
    pub fn tick(&self, instant: tokio::time::Instant) -> Tick {
        Tick(instant.into_std().saturating_duration_since(self.origin).as_nanos() as u64)
    }

    /// The same moment as the runtime's timers understand it.
    #[inline]
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        (self.origin + std::time::Duration::from_nanos(tick.0)).into()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
