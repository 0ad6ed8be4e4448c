//! The end of a proxy's life, in steps that every connection can wait for.

use tokio::sync::watch;

/// How far the proxy is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// At work.
    Serving,
    /// Still accepting, but asking clients to go: `Connection: close` and GOAWAY.
    Leaving,
    /// Connections that carry nothing at the moment are closed.
    Closing,
    /// Whatever is left is cut.
    Ended,
}

/// The side that drives the drain.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// The side that obeys.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<Phase>);

/// A drain and its signal.
pub fn channel() -> (Drain, Signal) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Drain(sender), Signal(receiver))
}

impl Drain {
    /// Moves on to a phase; never back.
    pub fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let further = *phase < to;
            *phase = to.max(*phase);
            further
        });
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }
}

impl Signal {
    /// Where it is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the drain has reached `phase` or is past it.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the driving side is gone: the process is ending.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
