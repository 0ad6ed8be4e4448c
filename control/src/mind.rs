//! Where everything comes together: what sources report goes into the registry, and what the registry makes of it to the
//! hub. One task, so that nothing is decided twice.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_api::Mesh;
use bowline_api::control_admin::{Diff, HeldBack, ServiceSnapshot, Snapshot, SourceTrouble};
use bowline_api::model::Endpoints;
use bowline_api::vip::VipRange;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use crate::holdback::{self, Counts, Verdict};
use crate::hub::{Hub, Track};
use crate::registry::{Registry, diff};
use crate::source::Change;
use crate::store::Store;
use crate::telemetry::metrics::{Metrics, Now};
use crate::zone::{Names, keeper};

/// How long the store may take to give names their VIPs.
const VIPS_WITHIN: Duration = Duration::from_secs(5);
/// How soon a mesh that got no VIPs is tried again.
const VIPS_AGAIN: Duration = Duration::from_secs(2);

/// How often a mesh that is tried is judged.
const JUDGED_EVERY: Duration = Duration::from_millis(500);

/// What an operator asks.
#[derive(Debug)]
pub enum Command {
    /// A service may lose all its endpoints. The answer: whether one was held.
    Confirm(String, oneshot::Sender<bool>),
    /// What would this mesh change?
    Diff(Box<Mesh>, oneshot::Sender<Diff>),
    /// What is pushed?
    Snapshot(oneshot::Sender<Snapshot>),
    /// How is it, for the metrics?
    Now(oneshot::Sender<Now>),
}

/// What of the flags concerns it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where VIPs are taken from.
    pub vip_range: VipRange,
    /// The share of clients that get a new mesh first, in percent; 0: all at once.
    pub hold_back: u8,
    /// For how long.
    pub tried_for: Duration,
}

/// A new mesh that only some clients have.
#[derive(Debug)]
struct Trial {
    registry: Registry,
    began: Instant,
    before: Counts,
}

/// The one that decides.
#[derive(Debug)]
pub struct Mind {
    registry: Registry,
    hub: Arc<Hub>,
    store: Arc<Store>,
    settings: Settings,
    metrics: Arc<Metrics>,
    started: Instant,
    revision: u64,
    trial: Option<Trial>,
    /// Why the last new mesh was not given to all.
    stopped: Option<String>,
    /// Sources follow it.
    mesh: watch::Sender<Arc<Mesh>>,
    /// The zone follows it.
    names: watch::Sender<Arc<Names>>,
    /// A mesh whose names have no VIPs yet, and when that is tried again.
    waiting: Option<(Arc<Mesh>, Instant)>,
}

/// Every name of the mesh that clients dial, with the VIP that is pinned for it.
pub fn names(mesh: &Mesh) -> BTreeMap<String, Option<Ipv4Addr>> {
    let mut names: BTreeMap<String, Option<Ipv4Addr>> = BTreeMap::new();
    for service in &mesh.services {
        for alias in &service.client_aliases {
            let pin = names.entry(alias.dns_name.clone()).or_default();
            *pin = pin.or(service.vip);
        }
    }
    names
}

/// How a source is called in pages and metrics.
fn source_of(endpoints: &Endpoints) -> &'static str {
    match endpoints {
        Endpoints::Static(_) => "static",
        Endpoints::Dns(_) => "dns",
        Endpoints::CloudMap(_) => "cloudMap",
        Endpoints::Registered(_) => "registered",
    }
}

impl Mind {
    /// One that knows a mesh whose names have their VIPs.
    pub fn new(
        registry: Registry,
        hub: Arc<Hub>,
        store: Arc<Store>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> (Self, watch::Receiver<Arc<Mesh>>) {
        let (mesh, followed) = watch::channel(registry.mesh().clone());
        let names = watch::Sender::new(Arc::new(registry.vips().clone()));
        let started = Instant::now();
        let mind = Mind {
            registry,
            hub,
            store,
            settings,
            metrics,
            started,
            revision: 0,
            trial: None,
            stopped: None,
            mesh,
            names,
            waiting: None,
        };
        (mind, followed)
    }

    /// The names that clients may dial, with their VIPs, as they are and will be.
    pub fn names(&self) -> watch::Receiver<Arc<Names>> {
        self.names.subscribe()
    }

    /// Decides until nobody reports anything any more.
    pub async fn run(mut self, mut changes: mpsc::Receiver<Change>, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.publish();
            self.judge();
            let tried = self.trial.as_ref().and_then(|trial| trial.registry.due());
            let due = self.registry.due().into_iter().chain(tried).map(|due| self.started + due);
            let again = self.waiting.as_ref().map(|(_, again)| *again);
            let look = self.trial.as_ref().map(|_| Instant::now() + JUDGED_EVERY);
            let next = due.chain(again).chain(look).min();
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.take(change).await,
                    None => return,
                },
                Some(command) = commands.recv() => self.answer(command),
                () = async { sleep_until(next.unwrap_or_else(Instant::now).into()).await }, if next.is_some() => {
                    if let Some((mesh, again)) = self.waiting.take() {
                        match again <= Instant::now() {
                            true => self.take_mesh(mesh).await,
                            false => self.waiting = Some((mesh, again)),
                        }
                    }
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn take(&mut self, change: Change) {
        self.metrics.changed();
        match change {
            Change::Mesh(mesh) => self.take_mesh(mesh).await,
            Change::Trouble { service, source, why } => {
                match &why {
                    Some(why) if source == keeper::SOURCE => {
                        tracing::warn!(why, "not all names are in the zone as they should be");
                    }
                    Some(why) => {
                        tracing::warn!(source, service, why, "a source can't look; what it found last stays");
                    }
                    None => {
                        let key = (source.to_owned(), service.clone());
                        if self.registry.troubles().contains_key(&key) {
                            tracing::info!(source, service, "a source is well again");
                        }
                    }
                }
                if source == "mesh" && why.is_some() {
                    self.metrics.reloaded(false);
                }
                self.registry.apply(Change::Trouble { service, source, why }, self.now());
            }
            change @ Change::Endpoints { .. } => self.take_endpoints(change),
        }
    }

    async fn take_mesh(&mut self, mesh: Arc<Mesh>) {
        if mesh.namespace != self.registry.mesh().namespace {
            tracing::error!(
                now = self.registry.mesh().namespace,
                file = mesh.namespace,
                "the mesh file has another namespace: not taken up; start a control plane of its own for it"
            );
            self.metrics.reloaded(false);
            return;
        }
        let names = names(&mesh);
        let vips = tokio::time::timeout(VIPS_WITHIN, self.store.vips(self.settings.vip_range, &names)).await;
        match vips.unwrap_or_else(|_elapsed| Err("the store did not answer within 5 seconds".to_owned())) {
            Ok(vips) => {
                let diff = diff::diff(self.registry.world(), &mesh);
                tracing::info!(
                    services = mesh.services.len(),
                    added = diff.added.len(),
                    removed = diff.removed.len(),
                    changed = diff.changed.len(),
                    "mesh file taken up"
                );
                self.metrics.reloaded(true);
                self.end_trial();
                self.stopped = None;
                if diff == Diff::default() || self.settings.hold_back == 0 || !self.try_mesh(&mesh, &vips) {
                    self.registry.apply(Change::Mesh(mesh.clone()), self.now());
                    self.registry.set_vips(vips, self.now());
                    self.mesh.send_replace(mesh);
                }
                self.tell_names();
            }
            Err(why) => {
                tracing::error!(why, "no VIPs for the names of the mesh file: tried again in 2 seconds");
                self.waiting = Some((mesh, Instant::now() + VIPS_AGAIN));
            }
        }
    }

    /// Endpoints are the same for a mesh that is tried, unless it finds them elsewhere.
    fn take_endpoints(&mut self, change: Change) {
        let now = self.now();
        let Change::Endpoints { service, .. } = &change else { return };
        if let Some(trial) = &mut self.trial {
            let source = |mesh: &Mesh| mesh.service(service).map(|service| service.endpoints.clone());
            let same = source(self.registry.mesh()) == source(trial.registry.mesh());
            let known = trial.registry.mesh().service(service).is_some();
            if known {
                trial.registry.apply(change.clone(), now);
            }
            if known && !same {
                return;
            }
        }
        self.registry.apply(change, now);
    }

    /// Gives a new mesh to some of the clients. False: there are none, so that nothing would be learnt.
    fn try_mesh(&mut self, mesh: &Arc<Mesh>, vips: &BTreeMap<String, Ipv4Addr>) -> bool {
        let mut registry = self.registry.clone();
        let now = self.now();
        registry.apply(Change::Mesh(mesh.clone()), now);
        registry.set_vips(vips.clone(), now);
        let percent = self.settings.hold_back;
        self.revision += 1;
        let Some(before) = self.hub.begin_trial(percent, registry.world().clone(), self.revision) else {
            return false;
        };
        tracing::warn!(percent, "the new mesh is given to a share of the clients first");
        self.trial = Some(Trial { registry, began: Instant::now(), before });
        // What only the old mesh has goes on being looked for, since most clients still have that.
        let mut both = (**mesh).clone();
        let old = self.registry.mesh().services.iter();
        both.services.extend(old.filter(|s| mesh.service(&s.discovery_name).is_none()).cloned());
        self.mesh.send_replace(Arc::new(both));
        true
    }

    /// Promotes a mesh that has been tried, or stops it.
    fn judge(&mut self) {
        let Some(trial) = &self.trial else { return };
        let [tried, others] = self.hub.reports();
        match holdback::judge(trial.began.elapsed(), self.settings.tried_for, tried, others, trial.before) {
            Verdict::Wait => {}
            Verdict::Promote => {
                tracing::info!(
                    requests = tried.requests(),
                    failed = tried.failed,
                    "the new mesh is given to all"
                );
                self.promote();
            }
            Verdict::Stop(why) => {
                tracing::error!(
                    why,
                    "the new mesh is taken back; it is not tried again until the file changes"
                );
                self.end_trial();
                self.stopped = Some(why);
                self.mesh.send_replace(self.registry.mesh().clone());
                self.tell_names();
            }
        }
    }

    fn promote(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        let before = self.registry.world().services.keys();
        let changed = before.chain(trial.registry.world().services.keys()).cloned().collect();
        self.revision += 1;
        self.hub.publish(Track::Stable, trial.registry.world().clone(), self.revision, &changed);
        self.hub.end_trial();
        self.mesh.send_replace(trial.registry.mesh().clone());
        self.registry = trial.registry;
        self.tell_names();
    }

    /// While a mesh is tried, the names of both are there: most clients have the old ones, and where a new one was not there
    /// when it was asked for, that would be remembered.
    fn tell_names(&self) {
        let mut names = self.trial.as_ref().map(|trial| trial.registry.vips().clone()).unwrap_or_default();
        names.extend(self.registry.vips().clone());
        self.names.send_if_modified(|before| {
            let differs = **before != names;
            if differs {
                *before = Arc::new(names);
            }
            differs
        });
    }

    fn end_trial(&mut self) {
        if self.trial.take().is_some() {
            self.hub.end_trial();
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        if let Some(publication) = self.trial.as_mut().and_then(|trial| trial.registry.publish(now)) {
            self.revision += 1;
            self.hub.publish(Track::Trial, publication.world, self.revision, &publication.changed);
        }
        let held = self.registry.held().clone();
        let Some(publication) = self.registry.publish(self.now()) else { return };
        for (service, held_now) in self.registry.held().iter().filter(|(name, _)| !held.contains_key(*name)) {
            tracing::warn!(
                service,
                endpoints = held_now.endpoints,
                "it has lost all its endpoints: the last ones stay until POST /allow-empty?service={service}"
            );
        }
        self.revision += 1;
        tracing::debug!(revision = self.revision, services = ?publication.changed, "published");
        self.hub.publish(Track::Stable, publication.world, self.revision, &publication.changed);
    }

    fn answer(&mut self, command: Command) {
        // Whoever asked may have gone.
        match command {
            Command::Confirm(service, done) => {
                let was_held = self.registry.confirm(&service, self.now());
                if was_held {
                    tracing::warn!(service, "may be empty: somebody has said so");
                }
                let _ = done.send(was_held);
            }
            Command::Diff(mesh, done) => drop(done.send(diff::diff(self.registry.world(), &mesh))),
            Command::Snapshot(done) => drop(done.send(self.snapshot())),
            Command::Now(done) => drop(done.send(self.figures())),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let world = self.registry.world();
        let service = |name: &String, state: &bowline_xds::world::ServiceState| ServiceSnapshot {
            service: name.clone(),
            source: source_of(&state.service.endpoints).to_owned(),
            vips: state.vips.clone(),
            endpoints: state.endpoints.clone(),
            settled: state.settled,
            held: self.registry.held().contains_key(name),
        };
        let trouble =
            |((source, service), trouble): (&(String, Option<String>), &crate::registry::Trouble)| {
                SourceTrouble {
                    source: source.clone(),
                    service: service.clone(),
                    why: trouble.why.clone(),
                    seconds: now.saturating_sub(trouble.since).as_secs_f64(),
                }
            };
        Snapshot {
            namespace: world.namespace.clone(),
            revision: self.revision,
            services: world.services.iter().map(|(name, state)| service(name, state)).collect(),
            troubles: self.registry.troubles().iter().map(trouble).collect(),
            held_back: self.held_back(),
        }
    }

    fn held_back(&self) -> Option<HeldBack> {
        let percent = self.settings.hold_back;
        match (&self.trial, &self.stopped) {
            (Some(trial), _) => Some(HeldBack {
                percent,
                seconds: trial.began.elapsed().as_secs_f64(),
                state: "trying".to_owned(),
                why: None,
            }),
            (None, Some(why)) => {
                Some(HeldBack { percent, seconds: 0.0, state: "stopped".to_owned(), why: Some(why.clone()) })
            }
            (None, None) => None,
        }
    }

    fn figures(&self) -> Now {
        let now = self.now();
        let mut endpoints: BTreeMap<&'static str, usize> = BTreeMap::new();
        for state in self.registry.world().services.values() {
            *endpoints.entry(source_of(&state.service.endpoints)).or_default() += state.endpoints.len();
        }
        let mut troubles: BTreeMap<String, f64> = BTreeMap::new();
        for ((source, _), trouble) in self.registry.troubles() {
            let since = now.saturating_sub(trouble.since).as_secs_f64();
            let longest = troubles.entry(source.clone()).or_default();
            *longest = longest.max(since);
        }
        Now {
            services: self.registry.world().services.len(),
            endpoints: endpoints.into_iter().collect(),
            held: self.registry.held().len(),
            troubles: troubles.into_iter().collect(),
            uptime: now.as_secs_f64(),
        }
    }
}
