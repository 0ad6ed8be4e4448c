//! One who waits.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_core::limit::Ticket;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Kind, Limiter, Place, Shed};
use crate::error::Fault;

/// How waiting ended.
#[derive(Debug)]
pub enum Grant {
    /// With a place.
    Place(Place),
    /// With an idle connection of the pool, which is kept for whoever gets this.
    Idle,
    /// Under lasting overload, after this long.
    Expired(Duration),
}

/// A place in a queue; dropped, it is given up.
#[derive(Debug)]
pub struct Wait {
    limiter: Arc<Limiter>,
    kind: Kind,
    ticket: Option<Ticket>,
    granted: oneshot::Receiver<Grant>,
    since: Tick,
}

impl Wait {
    pub(super) fn new(
        limiter: &Arc<Limiter>,
        kind: Kind,
        ticket: Option<Ticket>,
        granted: oneshot::Receiver<Grant>,
        since: Tick,
    ) -> Self {
        Wait { limiter: limiter.clone(), kind, ticket, granted, since }
    }

    /// For which a place was free.
    pub(super) fn over(limiter: &Arc<Limiter>, place: Place) -> Self {
        let (grant, granted) = oneshot::channel();
        let _ = grant.send(Grant::Place(place));
        Wait::new(limiter, Kind::Request, None, granted, Tick::ZERO)
    }

    /// Waits for a place, or an idle connection, at most until this moment.
    ///
    /// # Errors
    /// None came in time.
    pub async fn until(&mut self, latest: Instant) -> Result<Grant, Fault> {
        match tokio::time::timeout_at(latest, &mut self.granted).await {
            Ok(Ok(Grant::Expired(waited))) => {
                Err(self.limiter.refusal(Shed::WaitedTooLong, self.kind, waited))
            }
            Ok(Ok(grant)) => {
                self.ticket = None;
                Ok(grant)
            }
            Ok(Err(_)) | Err(_) => {
                let waited = self.limiter.clock.now().since(self.since);
                Err(self.limiter.refusal(Shed::WaitedTooLong, self.kind, waited))
            }
        }
    }

    fn leave(&mut self, lost: bool) {
        if let Some(ticket) = self.ticket.take() {
            self.limiter.withdraw(self.kind, ticket, lost);
        }
    }

    /// Gives up waiting, because there is no need for it any more.
    pub fn call_off(mut self) {
        self.leave(false);
    }

    /// Gives up waiting. True: an idle connection had been promised meanwhile.
    pub fn was_promised_idle(&mut self) -> bool {
        self.leave(true);
        matches!(self.granted.try_recv(), Ok(Grant::Idle))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // A place that is on its way is dropped with the channel, and so given back.
        self.leave(true);
    }
}
