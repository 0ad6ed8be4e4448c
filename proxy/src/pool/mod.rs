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

use crate::error::Fault;
use crate::snapshot::SharedEndpoint;
use crate::telemetry::metrics::EndpointCounters;

/// How long an unused connection is kept at most. Below the 60 s after which nginx and AWS load balancers close from
/// their side, so that the close that loses a race against a request is mostly ours.
pub const MAX_IDLE: Duration = Duration::from_secs(55);

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
}

impl Upstream {
    /// An endpoint without connections yet.
    pub fn new(shared: Arc<SharedEndpoint>, slot: usize) -> Rc<Self> {
        let counters = shared.counters.register();
        Rc::new(Upstream {
            addr: shared.addr,
            slot: Cell::new(Some(slot)),
            shared,
            counters,
            h1: RefCell::new(Vec::new()),
            h2: h2::Pool::default(),
        })
    }

    /// A connection for one HTTP/1.1 exchange: the one that was used last (its buffers are warm, and the others get a
    /// chance to age out), or a new one.
    pub async fn checkout_h1(
        self: &Rc<Self>,
        connect_timeout: Duration,
        may_reuse: bool,
    ) -> Result<h1::Lease, Fault> {
        if may_reuse {
            loop {
                let idle = self.h1.borrow_mut().pop();
                match idle {
                    Some(connection) if connection.is_usable() => {
                        return Ok(h1::Lease::new(self, connection));
                    }
                    Some(_closed) => {}
                    None => break,
                }
            }
        }
        // Connecting is rare and its future is large: keep it out of every request's own.
        let connection = Box::pin(h1::connect(self, connect_timeout)).await?;
        Ok(h1::Lease::new(self, connection))
    }

    /// A connection that is no part of the pool.
    pub async fn connect(&self, timeout: Duration) -> Result<tokio::net::TcpStream, Fault> {
        connect::tcp(self, timeout).await.map(socket::Metered::into_inner)
    }

    /// A place for one more stream on an HTTP/2 connection.
    pub async fn checkout_h2(self: &Rc<Self>, connect_timeout: Duration) -> Result<h2::Lease, Fault> {
        self.h2.checkout(self, connect_timeout).await
    }

    fn put_back_h1(&self, mut connection: Box<h1::Connection>) {
        if self.slot.get().is_some() {
            connection.rest();
            self.h1.borrow_mut().push(connection);
        }
    }

    /// Lets go of connections that nobody uses: those the endpoint has closed, and those idle for `max_idle_sweeps`
    /// sweeps. Called about once a second.
    pub fn sweep(&self, max_idle_sweeps: u32) {
        self.h1.borrow_mut().retain_mut(|connection| {
            connection.idle_for += 1;
            connection.idle_for <= max_idle_sweeps && connection.still_open()
        });
        self.h2.sweep(max_idle_sweeps);
    }

    /// The endpoint is no longer part of the service: idle connections are closed now, busy ones when their last
    /// response has ended.
    pub fn retire(&self) {
        self.slot.set(None);
        self.h1.borrow_mut().clear();
        self.h2.retire();
    }
}
