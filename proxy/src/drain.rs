//! The end of a proxy's life, in steps that every connection can wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Acquire, Ordering::Release};

use tokio::sync::watch;

/// How far the proxy is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// At work.
    Serving,
    /// The app may still be there, and is served: but clients are asked to go, by `Connection: close` and GOAWAY.
    Leaving,
    /// Connections that carry nothing at the moment are closed.
    Closing,
    /// Whatever is left is cut.
    Ended,
}

/// The side that drives the drain.
#[derive(Debug)]
pub struct Drain {
    changes: watch::Sender<Phase>,
    now: Arc<AtomicU8>,
}

/// The side that obeys.
#[derive(Clone, Debug)]
pub struct Signal {
    changes: watch::Receiver<Phase>,
    /// The phase again, for a look at every poll of a connection.
    now: Arc<AtomicU8>,
}

/// A drain and its signal.
pub fn channel() -> (Drain, Signal) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    let now = Arc::new(AtomicU8::new(Phase::Serving as u8));
    (Drain { changes: sender, now: now.clone() }, Signal { changes: receiver, now })
}

impl Drain {
    /// Moves on to a phase; never back.
    pub fn advance(&self, to: Phase) {
        // Before those who wait are woken, so that they see it.
        self.now.fetch_max(to as u8, Release);
        self.changes.send_if_modified(|phase| {
            let further = *phase < to;
            *phase = to.max(*phase);
            further
        });
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        *self.changes.borrow()
    }
}

impl Signal {
    /// Where it is.
    pub fn phase(&self) -> Phase {
        *self.changes.borrow()
    }

    /// Whether it has reached `phase`: a plain load.
    #[inline]
    pub fn has_reached(&self, phase: Phase) -> bool {
        self.now.load(Acquire) >= phase as u8
    }

    /// Waits until the drain has reached `phase` or is past it.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the driving side is gone: the process is ending.
        let _ = self.changes.wait_for(|now| *now >= phase).await;
    }
}
