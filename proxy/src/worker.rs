//! A worker: one OS thread with one single-threaded runtime, which carries its connections from end to end.

mod carry;

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_api::model::AppProtocol;
use bowline_api::vip::VipRange;
use bowline_otlp::{Ids, Propagators, SpanId, TraceId};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::cluster::{Cluster, SWEEP_EVERY};
use crate::descriptors::Downstream as Place;
use crate::drain::Signal;
use crate::error::{Fault, Reason};
use crate::limiter::{Limiter, Place as ConnectionPlace};
use crate::listen::inbound::Apps;
use crate::listen::redirect::{Index, Way};
use crate::listen::watch::Watched;
use crate::listen::{Arrival, Refusal};
use crate::record::{Observers, Outbox, Tracing};
use crate::snapshot::{Here, Published, Snapshot};
use crate::telemetry::failures::Failures;
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
    /// Where VIPs are taken from: nobody else's addresses.
    pub vip_range: VipRange,
    /// Those who look at requests one by one.
    pub observers: Arc<Observers>,
    /// How requests are traced; `None`: not at all.
    pub tracing: Option<Arc<Tracing>>,
    /// The headers in which callers say what trace a request belongs to, for lines about it.
    pub propagators: Propagators,
    /// What has gone wrong.
    pub failures: Arc<Failures>,
    /// Where this proxy is.
    pub here: Arc<Here>,
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
    /// The way to those who look at requests.
    pub outbox: Rc<Outbox>,
    shared: Shared,
    counters: Arc<DownstreamCounters>,
    rng: RefCell<fastrand::Rng>,
    /// Names of traces and spans.
    ids: RefCell<Ids>,
    view: RefCell<View>,
    generation: Cell<u64>,
    watched: RefCell<Watched>,
    /// Rung when idle connections may be in the way of those who wait for one.
    bell: Arc<Notify>,
    /// Of what leads out of the mesh: it only counts.
    unlimited: Arc<Limiter>,
    /// Copies of requests that are under way.
    pub mirrors: Cell<usize>,
    /// The app itself, by the address that its callers are passed on to.
    apps: RefCell<HashMap<SocketAddr, Rc<Cluster>>>,
}

/// The mesh as this worker has taken it up.
struct View {
    snapshot: Arc<Snapshot>,
    /// By service name; variants by their keys.
    clusters: HashMap<String, Rc<Cluster>>,
    /// By the addresses that redirected connections were going to; made when the first one comes.
    index: OnceCell<Index>,
}

impl Worker {
    fn new(shared: Shared, counters: Arc<DownstreamCounters>, seed: u64) -> Rc<Self> {
        let snapshot = shared.published.current();
        let clock = Clock::new();
        let worker = Rc::new(Worker {
            clock,
            outbox: Outbox::new(shared.observers.clone(), clock),
            counters,
            // By a seed of their own: ids must not repeat what another worker draws, nor those of another process.
            ids: RefCell::new(Ids::new(fastrand::Rng::new())),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            view: RefCell::new(View {
                snapshot: snapshot.clone(),
                clusters: HashMap::new(),
                index: OnceCell::new(),
            }),
            generation: Cell::new(0),
            watched: RefCell::default(),
            bell: Arc::default(),
            unlimited: Arc::default(),
            mirrors: Cell::new(0),
            apps: RefCell::default(),
            shared,
        });
        worker.take_up(snapshot);
        worker
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Message>) {
        tokio::task::spawn_local(self.outbox.clone().keep_flushing());
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

    /// The app at this address, as this worker sees it. `None`: it has more ports than anybody keeps count of.
    pub fn app(&self, apps: &Apps, addr: SocketAddr, protocol: Option<AppProtocol>) -> Option<Rc<Cluster>> {
        if let Some(known) = self.apps.borrow().get(&addr) {
            return Some(known.clone());
        }
        let service = apps.at(addr, protocol, self.clock.now())?;
        let cluster =
            Cluster::new(service, self.clock, &self.bell, self.failures(), self.here(), &mut self.rng());
        self.apps.borrow_mut().insert(addr, cluster.clone());
        Some(cluster)
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

    /// Where this proxy is.
    pub fn here(&self) -> &Arc<Here> {
        &self.shared.here
    }

    /// Where failures are noted.
    pub fn failures(&self) -> &Arc<Failures> {
        &self.shared.failures
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

    /// Whether the process listens on this port of every address.
    pub fn listens_everywhere(&self, port: u16) -> bool {
        self.shared.listeners.iter().any(|own| own.port() == port && own.ip().is_unspecified())
    }

    /// Where a connection belongs that was redirected on its way to this address.
    pub fn way(&self, original: SocketAddr) -> Way {
        self.generation();
        let view = self.view.borrow();
        let index = view.index.get_or_init(|| Index::new(&view.snapshot));
        index.way(original, self.shared.vip_range, |addr| self.is_own_listener(addr))
    }

    /// The HTTP service that a request has named on a connection that was redirected on its way to `original`. Without a
    /// port the name means the one that was dialled.
    pub fn http_cluster_at(&self, authority: &str, original: SocketAddr) -> Option<Rc<Cluster>> {
        self.generation();
        // Nobody is to be told of a name that comes near: most are for somebody else.
        let cluster = match has_port(authority) {
            true => self.find(authority),
            false => self.find(&format!("{}:{}", authority.trim_end_matches(':'), original.port())),
        };
        cluster.filter(|cluster| cluster.service().protocol != Some(AppProtocol::Tcp))
    }

    /// The place of a connection that leads out of the mesh.
    ///
    /// # Errors
    /// There is no limit that could be reached.
    pub fn unlimited_place(&self) -> Result<ConnectionPlace, Fault> {
        self.unlimited.try_tunnel()
    }

    /// How requests are traced; `None`: not at all.
    #[inline]
    pub fn tracing(&self) -> Option<&Tracing> {
        self.shared.tracing.as_deref()
    }

    /// The headers in which callers say what trace a request belongs to.
    pub fn propagators(&self) -> Propagators {
        self.shared.propagators
    }

    /// A name for a trace that begins here.
    pub fn new_trace_id(&self, tracing: &Tracing) -> TraceId {
        let mut ids = self.ids.borrow_mut();
        if !tracing.propagators.has_xray() {
            return ids.trace_id();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ids.trace_id_at(u32::try_from(now.as_secs()).unwrap_or(u32::MAX))
    }

    /// A name for a span.
    pub fn new_span_id(&self) -> SpanId {
        self.ids.borrow_mut().span_id()
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
        match self.find(authority) {
            Some(cluster) => Ok(cluster),
            None => {
                let view = self.view.borrow();
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

    /// Why the service of an ingress can't be reached, which is not there.
    #[cold]
    pub fn no_service(&self, name: &str) -> Refusal {
        let view = self.view.borrow();
        let (reason, text) = match &view.snapshot.absent {
            Some(why) => (Reason::NoMesh, why.clone()),
            None => (Reason::UnknownService, format!("there is no service {name}, which the ingress is for")),
        };
        Refusal { reason, text, outside: false }
    }

    fn find(&self, authority: &str) -> Option<Rc<Cluster>> {
        let view = self.view.borrow();
        let service = match view.snapshot.by_authority(authority) {
            Some(service) => Some(service),
            None => view.snapshot.by_authority(&normalise(authority)),
        };
        view.clusters.get(&service?.name).cloned()
    }

    /// The service with this name, or the variant with this key.
    pub fn cluster_by_name(&self, service: &str) -> Option<Rc<Cluster>> {
        self.view.borrow().clusters.get(service).cloned()
    }

    #[cold]
    fn take_up(&self, snapshot: Arc<Snapshot>) {
        let mut view = self.view.borrow_mut();
        let mut rng = self.rng.borrow_mut();
        let mut old = std::mem::take(&mut view.clusters);
        for service in snapshot.services.iter().chain(&snapshot.variants) {
            let cluster = match old.remove(&service.key) {
                Some(cluster) => {
                    // Most services are the same object when DNS has changed one of them.
                    if !Arc::ptr_eq(&cluster.service(), service) {
                        cluster.update(service.clone(), &mut rng);
                    }
                    cluster
                }
                None => Cluster::new(
                    service.clone(),
                    self.clock,
                    &self.bell,
                    self.failures(),
                    self.here(),
                    &mut rng,
                ),
            };
            view.clusters.insert(service.key.clone(), cluster);
        }
        for cluster in old.values() {
            cluster.retire();
        }
        self.generation.set(snapshot.generation);
        view.snapshot = snapshot;
        view.index = OnceCell::new();
    }

    fn make_room(&self) {
        for cluster in self.view.borrow().clusters.values().chain(self.apps.borrow().values()) {
            cluster.make_room();
        }
    }

    fn sweep(&self) {
        self.generation();
        let view = self.view.borrow();
        for cluster in view.clusters.values().chain(self.apps.borrow().values()) {
            cluster.sweep();
        }
        // A connection may be used for several services: the most patient one decides.
        let idle = view
            .snapshot
            .services
            .iter()
            .filter(|s| s.protocol != Some(AppProtocol::Tcp))
            .flat_map(|s| [Some(s.policy.idle), s.rules.as_ref().and_then(|rules| rules.longest_idle())])
            .flatten()
            .max_by_key(|idle| idle.unwrap_or(std::time::Duration::MAX));
        let idle = idle.unwrap_or(Some(std::time::Duration::from_secs(300)));
        self.counters.timeouts.add(self.watched.borrow_mut().tick(idle));
    }
}

/// Whether a port stands at its end.
pub fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
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

#[cfg(test)]
pub(crate) mod tests;
