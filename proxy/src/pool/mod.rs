//! Connections to endpoints: each worker has its own, per service and endpoint, so that no request waits for a lock or
//! wakes another thread.

mod connect;
pub mod h1;
pub mod h2;
mod socket;
mod waker;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Fault, Reason};
use crate::limiter::{Grant, Kind, Limiter, Place};
use crate::snapshot::SharedEndpoint;
use crate::telemetry::metrics::EndpointCounters;

/// How long an unused connection is kept at most. Below the 60 s after which nginx and AWS load balancers close from
/// their side, so that the close that loses a race against a request is mostly ours.
pub const MAX_IDLE: Duration = Duration::from_secs(55);

/// How many idle connections are kept for as long as that.
const KEPT: usize = 16;
/// How many sweeps, about a second each, the others are kept: what a burst has opened costs some 10 KB each (HAProxy
/// purges such connections after 5 s).
const SURPLUS_SWEEPS: u32 = 10;

/// One endpoint as a worker sees it: where it is, its connections, its counters.
pub struct Upstream {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its place in the service's present list of endpoints; `None` once it has been removed.
    pub slot: Cell<Option<usize>>,
    /// What all workers share of it.
    pub shared: Arc<SharedEndpoint>,
    /// This worker's counters of it.
    pub counters: Arc<EndpointCounters>,
    #[expect(
        clippy::vec_box,
        reason = "they go back and forth between here and leases: a pointer moves, not 700 bytes"
    )]
    h1: RefCell<Vec<Box<h1::Connection>>>,
    h2: h2::Pool,
    /// How many connections the service may have, on all workers.
    limiter: Arc<Limiter>,
    /// Idle connections that have been promised to those who waited for one.
    promised: Cell<usize>,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To be opened.
    pub connect: Duration,
    /// Until when one may be waited for where the service has as many as it may.
    pub wait: Instant,
}

impl Upstream {
    /// An endpoint without connections yet.
    pub fn new(shared: Arc<SharedEndpoint>, slot: usize, limiter: &Arc<Limiter>) -> Rc<Self> {
        let counters = shared.counters.register();
        Rc::new(Upstream {
            addr: shared.addr,
            slot: Cell::new(Some(slot)),
            shared,
            counters,
            h1: RefCell::new(Vec::new()),
            h2: h2::Pool::default(),
            limiter: limiter.clone(),
            promised: Cell::new(0),
        })
    }

    /// A connection for one HTTP/1.1 exchange: the one that was used last (its buffers are warm, and the others get a
    /// chance to age out), or a new one. Where the service has as many as it may, one that becomes free.
    pub async fn checkout_h1(
        self: &Rc<Self>,
        patience: Patience,
        may_reuse: bool,
    ) -> Result<h1::Lease, Fault> {
        if may_reuse {
            while let Some(idle) = self.take_idle() {
                if idle.is_usable() {
                    return Ok(h1::Lease::new(self, idle));
                }
            }
        }
        // Connecting is rare and its future is large: keep it out of every request's own.
        Box::pin(self.another_h1(patience, may_reuse)).await
    }

    async fn another_h1(self: &Rc<Self>, patience: Patience, may_reuse: bool) -> Result<h1::Lease, Fault> {
        let place = match self.limiter.try_connect() {
            Some(place) => place,
            None => match self.wait(patience.wait, may_reuse).await? {
                Waited::Place(place) => place,
                Waited::Idle(idle) if idle.is_usable() => return Ok(h1::Lease::new(self, idle)),
                // The endpoint has closed it meanwhile: another one in its place.
                Waited::Idle(closed) => closed.into_place(),
            },
        };
        let connection = h1::connect(self, patience.connect, place).await?;
        Ok(h1::Lease::new(self, connection))
    }

    /// Waits for the right to open a connection, or for an idle one.
    async fn wait(self: &Rc<Self>, latest: Instant, may_reuse: bool) -> Result<Waited, Fault> {
        /// Hands on what was promised to a request that has gone.
        struct Waiting<'a>(&'a Upstream, crate::limiter::Wait);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                if self.1.was_promised_idle() {
                    self.0.promised.set(self.0.promised.get() - 1);
                    if let Some(idle) = self.0.take_idle() {
                        self.0.put_back_h1(idle);
                    }
                }
            }
        }
        let home = if may_reuse { self.home() } else { 0 };
        let mut waiting = Waiting(self, self.limiter.queue(Kind::Connection, home)?);
        match waiting.1.until(latest).await? {
            Grant::Idle => {
                self.promised.set(self.promised.get() - 1);
                let idle = self.h1.borrow_mut().pop();
                idle.map(Waited::Idle)
                    .ok_or_else(|| Fault::unsent(Reason::Overloaded, "the connection waited for has gone"))
            }
            Grant::Place(place) => Ok(Waited::Place(place)),
            Grant::Expired(_) => unreachable!("it is an error"),
        }
    }

    /// What stands for this pool among those of all workers.
    fn home(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// An idle connection that nobody has been promised.
    fn take_idle(&self) -> Option<Box<h1::Connection>> {
        let mut idle = self.h1.borrow_mut();
        if idle.len() > self.promised.get() { idle.pop() } else { None }
    }

    /// A connection that is no part of the pool, with its place among the service's.
    pub async fn connect_tunnel(&self, timeout: Duration) -> Result<(tokio::net::TcpStream, Place), Fault> {
        let mut place = self.limiter.try_tunnel()?;
        Ok((connect::tcp(self, timeout, &mut place).await?.into_inner(), place))
    }

    /// A place for one more stream on an HTTP/2 connection.
    pub async fn checkout_h2(self: &Rc<Self>, patience: Patience) -> Result<h2::Lease, Fault> {
        self.h2.checkout(self, patience).await
    }

    fn put_back_h1(&self, mut connection: Box<h1::Connection>) {
        if self.slot.get().is_none() {
            return;
        }
        connection.rest();
        if self.limiter.waiting(Kind::Connection) > 0 {
            self.h1.borrow_mut().push(connection);
            self.promised.set(self.promised.get() + 1);
            if !self.limiter.offer_idle(self.home()) {
                // Somebody waits for a connection to another endpoint, or in another worker.
                self.promised.set(self.promised.get() - 1);
                let surplus = self.take_idle();
                drop(surplus);
            }
            return;
        }
        self.h1.borrow_mut().push(connection);
    }

    /// Closes an idle connection, the one that has been so for the longest time, to make room for another. True: there
    /// was one.
    pub fn close_idle(&self) -> bool {
        let idle = {
            let mut idle = self.h1.borrow_mut();
            (idle.len() > self.promised.get()).then(|| idle.remove(0))
        };
        idle.is_some() || self.h2.close_idle()
    }

    /// Lets go of connections that nobody uses: those the endpoint has closed, and those idle for `max_idle_sweeps`
    /// sweeps. Called about once a second.
    pub fn sweep(&self, max_idle_sweeps: u32) {
        // Those that are promised stay: whoever comes for one counts on finding it.
        if self.promised.get() == 0 {
            let mut idle = self.h1.borrow_mut();
            // The last ones are those that were used last.
            let mut above = idle.len();
            idle.retain_mut(|connection| {
                above -= 1;
                let surplus = above >= KEPT;
                let at_most = if surplus { max_idle_sweeps.min(SURPLUS_SWEEPS) } else { max_idle_sweeps };
                connection.idle_for += 1;
                connection.idle_for <= at_most && connection.still_open()
            });
        }
        self.h2.sweep(max_idle_sweeps);
    }

    /// The endpoint is no longer part of the service: idle connections are closed now, busy ones when their last
    /// response has ended.
    pub fn retire(&self) {
        self.slot.set(None);
        let keep = self.promised.get();
        self.h1.borrow_mut().truncate(keep);
        self.h2.retire();
    }
}

/// What came of waiting for a connection.
enum Waited {
    Place(Place),
    Idle(Box<h1::Connection>),
}
