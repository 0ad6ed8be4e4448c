//! A worker: one OS thread with one single-threaded runtime, which carries its connections from end to end.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use bowline_api::model::AppProtocol;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::cluster::{Cluster, SWEEP_EVERY};
use crate::descriptors::Downstream as Place;
use crate::drain::Signal;
use crate::error::Reason;
use crate::http::server::{Ended, serve};
use crate::listen::watch::Watched;
use crate::listen::{Arrival, Downstream, Refusal};
use crate::snapshot::{Published, Snapshot};
use crate::tcp;
use crate::telemetry::metrics::DownstreamCounters;

/// What a worker is given to work with.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The mesh in force.
    pub published: Arc<Published>,
    /// What to do when the proxy is to end.
    pub drain: Signal,
    /// Where the process listens, VIPs apart.
    pub listeners: Arc<[SocketAddr]>,
}

/// What the rest of the process says to a worker.
enum Message {
    Connection(StdTcpStream, Arrival, Place),
    Inspect(Box<dyn FnOnce(&Worker) + Send>),
}

/// The other threads' hand on a worker.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    /// What it counts of its connections.
    pub counters: Arc<DownstreamCounters>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Message::Connection(..) => "Connection",
            Message::Inspect(_) => "Inspect",
        })
    }
}

impl Handle {
    /// Gives it a connection to carry.
    pub fn connection(&self, stream: StdTcpStream, arrival: Arrival, place: Place) {
        // Refused only when the worker has ended, and the connection with it.
        let _ = self.messages.send(Message::Connection(stream, arrival, place));
    }

    /// Has a look at something that only the worker can see.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Worker) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, result) = tokio::sync::oneshot::channel();
        let look = Box::new(move |worker: &Worker| drop(answer.send(look(worker))));
        self.messages.send(Message::Inspect(look)).ok()?;
        result.await.ok()
    }
}

/// Starts a worker.
///
/// # Errors
/// The thread or its runtime can't be made.
pub fn spawn(id: u16, shared: Shared, seed: u64) -> std::io::Result<Handle> {
    let (messages, inbox) = mpsc::unbounded_channel();
    let counters = Arc::new(DownstreamCounters::default());
    let handle = Handle { messages, counters: counters.clone() };
    thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
        let runtime = match Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())
        {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker's runtime can't be made");
                std::process::exit(1);
            }
        };
        runtime.block_on(Worker::new(shared, counters, seed).run(inbox));
    })?;
    Ok(handle)
}

/// The state of one worker; everything in it belongs to its thread.
pub struct Worker {
    /// The clock.
    pub clock: Clock,
    shared: Shared,
    counters: Arc<DownstreamCounters>,
    rng: RefCell<fastrand::Rng>,
    view: RefCell<View>,
    generation: Cell<u64>,
    watched: RefCell<Watched>,
    /// Rung when idle connections may be in the way of those who wait for one.
    bell: Arc<Notify>,
}

/// The mesh as this worker has taken it up.
struct View {
    snapshot: Arc<Snapshot>,
    /// By service name.
    clusters: HashMap<String, Rc<Cluster>>,
}

impl Worker {
    fn new(shared: Shared, counters: Arc<DownstreamCounters>, seed: u64) -> Rc<Self> {
        let snapshot = shared.published.current();
        let worker = Rc::new(Worker {
            clock: Clock::new(),
            counters,
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            view: RefCell::new(View { snapshot: snapshot.clone(), clusters: HashMap::new() }),
            generation: Cell::new(0),
            watched: RefCell::default(),
            bell: Arc::default(),
            shared,
        });
        worker.take_up(snapshot);
        worker
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(Message::Connection(stream, arrival, place)) => {
                        self.clone().carry(stream, arrival, place);
                    }
                    Some(Message::Inspect(look)) => look(&self),
                    None => return,
                },
                () = self.bell.notified() => self.make_room(),
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn carry(self: Rc<Self>, stream: StdTcpStream, arrival: Arrival, place: Place) {
        match arrival {
            Arrival::Vip(_) => self.counters.accepts_vip.inc(),
            Arrival::ForwardProxy => self.counters.accepts_forward_proxy.inc(),
        }
        let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection broke before it was taken up");
                return;
            }
        };
        let activity = self.watched.borrow_mut().add();
        let drain = self.shared.drain.clone();
        tokio::task::spawn_local(async move {
            let _open = (Open::new(self.counters.clone()), place);
            let counters = self.counters.clone();
            let downstream = Rc::new(Downstream::new(self, arrival, activity));
            if let Some(cluster) = downstream.tcp_service() {
                return Box::pin(tcp::serve(downstream, cluster, stream, drain)).await;
            }
            match serve(downstream, stream, drain).await {
                Ended::Well => {}
                Ended::Protocol(error) => {
                    counters.protocol_errors.inc();
                    tracing::debug!(%error, "a client did not speak HTTP");
                }
                Ended::Flood(error) => {
                    counters.floods.inc();
                    tracing::warn!(%error, "a client flooded its connection, which was closed");
                }
                Ended::Broken(error) => {
                    counters.broken.inc();
                    tracing::debug!(%error, "a client's connection broke");
                }
            }
        });
    }

    /// The generation of the mesh that this worker has taken up, brought up to date first: one atomic load when
    /// nothing has changed.
    #[inline]
    pub fn generation(&self) -> u64 {
        if self.shared.published.generation() != self.generation.get() {
            self.take_up(self.shared.published.current());
        }
        self.generation.get()
    }

    /// What it counts of its connections.
    pub fn counters(&self) -> &DownstreamCounters {
        &self.counters
    }

    /// Whether a connection to this address would come back to this proxy.
    pub fn is_own_listener(&self, addr: SocketAddr) -> bool {
        let same = |own: SocketAddr| {
            let everywhere = own.ip().is_unspecified() && addr.ip().is_loopback();
            own.port() == addr.port() && (own.ip() == addr.ip() || everywhere || addr.ip().is_unspecified())
        };
        let view = self.view.borrow();
        self.shared
            .listeners
            .iter()
            .copied()
            .chain(view.snapshot.vip_listeners().map(|(vip, _)| vip))
            .any(same)
    }

    /// Random numbers of this worker.
    pub fn rng(&self) -> RefMut<'_, fastrand::Rng> {
        self.rng.borrow_mut()
    }

    /// The service with this authority. Ask [`Worker::generation`] first.
    ///
    /// # Errors
    /// There is none: says which name comes nearest.
    pub fn cluster(&self, authority: &str) -> Result<Rc<Cluster>, Refusal> {
        let view = self.view.borrow();
        let service = match view.snapshot.by_authority(authority) {
            Some(service) => Some(service),
            None => view.snapshot.by_authority(&normalise(authority)),
        };
        match service.and_then(|service| view.clusters.get(&service.name)) {
            Some(cluster) => Ok(cluster.clone()),
            None => {
                let authority = normalise(authority);
                Err(Refusal {
                    reason: match view.snapshot.absent {
                        Some(_) => Reason::NoMesh,
                        None => Reason::UnknownService,
                    },
                    text: view.snapshot.why_unknown(&authority),
                    outside: view.snapshot.is_outside(&authority),
                })
            }
        }
    }

    /// The service with this name.
    pub fn cluster_by_name(&self, service: &str) -> Option<Rc<Cluster>> {
        self.view.borrow().clusters.get(service).cloned()
    }

    #[cold]
    fn take_up(&self, snapshot: Arc<Snapshot>) {
        let mut view = self.view.borrow_mut();
        let mut rng = self.rng.borrow_mut();
        let mut old = std::mem::take(&mut view.clusters);
        for service in &snapshot.services {
            let cluster = match old.remove(&service.name) {
                Some(cluster) => {
                    // Most services are the same object when DNS has changed one of them.
                    if !Arc::ptr_eq(&cluster.service(), service) {
                        cluster.update(service.clone(), &mut rng);
                    }
                    cluster
                }
                None => Cluster::new(service.clone(), self.clock, &self.bell, &mut rng),
            };
            view.clusters.insert(service.name.clone(), cluster);
        }
        for cluster in old.values() {
            cluster.retire();
        }
        self.generation.set(snapshot.generation);
        view.snapshot = snapshot;
    }

    fn make_room(&self) {
        for cluster in self.view.borrow().clusters.values() {
            cluster.make_room();
        }
    }

    fn sweep(&self) {
        self.generation();
        let view = self.view.borrow();
        for cluster in view.clusters.values() {
            cluster.sweep();
        }
        // A connection may be used for several services: the most patient one decides.
        let idle = view
            .snapshot
            .services
            .iter()
            .filter(|s| s.protocol != Some(AppProtocol::Tcp))
            .map(|s| s.policy.idle)
            .max_by_key(|idle| idle.unwrap_or(std::time::Duration::MAX));
        let idle = idle.unwrap_or(Some(std::time::Duration::from_secs(300)));
        self.counters.timeouts.add(self.watched.borrow_mut().tick(idle));
    }
}

/// `host:port` in lower case, with the port that HTTP means when there is none, and without the root's dot.
pub fn normalise(authority: &str) -> String {
    let lower = authority.to_ascii_lowercase();
    let (host, port) = match lower.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (lower.as_str(), "80"),
    };
    format!("{}:{port}", host.strip_suffix('.').unwrap_or(host))
}

/// Counts a connection while it is open, and notices when its task panics.
struct Open(Arc<DownstreamCounters>);

impl Open {
    fn new(counters: Arc<DownstreamCounters>) -> Self {
        counters.connections.add(1);
        Open(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.add(-1);
        if thread::panicking() {
            self.0.panics.inc();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
