//! Between the registry, which publishes, and the streams, which push: the latest resources for each kind of client, and
//! whom a change concerns.
//!
//! A push carries nothing to a stream but "look again". The stream's session then finds out what its client lacks, so that
//! a slow client falls behind without anything piling up for it, and whatever changed twice meanwhile is sent once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bowline_api::control_admin::Client as ClientPage;
use bowline_xds::kind::ClientKind;
use bowline_xds::lost::lost;
use bowline_xds::resources::Resources;
use bowline_xds::server_session::Interest;
use bowline_xds::world::World;
use tokio::sync::Notify;

use crate::holdback::{Counts, order, threshold};
use crate::telemetry::metrics::Metrics;

/// When the last so many revisions were published, to tell how long an acknowledgement took.
const REMEMBERED: usize = 1024;

/// Which of two meshes a client gets while a new one is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The one that all have.
    Stable,
    /// The one that is tried.
    Trial,
}

/// The latest world, its resources and its readers.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
    most_clients: usize,
}

#[derive(Debug)]
struct State {
    stable: Latest,
    trial: Option<Latest>,
    /// The clients up to this place have the trial's world: see `holdback::order`.
    trial_until: u64,
    /// What clients have reported of their requests since the trial began, or altogether while there is none: those that
    /// follow it, and the others.
    reports: [Counts; 2],
    published: BTreeMap<u64, Instant>,
    /// In which revision each service was last changed, those that have gone included.
    changed_in: BTreeMap<String, u64>,
    next_client: u64,
    clients: BTreeMap<u64, Client>,
    /// Who looks at everything.
    all: BTreeSet<u64>,
    /// Who looks at a service.
    by_service: BTreeMap<Arc<str>, BTreeSet<u64>>,
}

/// A world, and what has been made of it.
#[derive(Debug)]
struct Latest {
    world: Arc<World>,
    revision: u64,
    resources: [Option<Arc<Resources>>; ClientKind::ALL.len()],
}

#[derive(Debug)]
struct Client {
    who: Who,
    track: Track,
    interest: Interest,
    wake: Arc<Notify>,
    connected: Instant,
    status: Status,
}

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Who {
    /// What it calls itself.
    pub id: String,
    /// What it is.
    pub kind: ClientKind,
    /// Its version, as it says.
    pub version: String,
    /// Its zone.
    pub zone: Option<String>,
    /// What runs beside it; empty: it doesn't say.
    pub caller: String,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// `delta` or `sotw`.
    pub protocol: &'static str,
}

/// How a client is doing.
#[derive(Clone, Debug, Default)]
struct Status {
    acknowledged: u64,
    acknowledged_after: Option<f64>,
    pushes: u64,
    nacks: u64,
    last_nack: Option<String>,
}

impl Client {
    /// The highest revision of which it lacks nothing. It is not woken for what does not concern it, and has then
    /// everything that it needs of the latest one too.
    fn knows(&self, latest: u64, changed_in: &BTreeMap<String, u64>) -> u64 {
        let acknowledged = self.status.acknowledged;
        let lacks_nothing = match &self.interest {
            Interest::All => false,
            Interest::Services(names) => {
                let changed = |name: &Arc<str>| changed_in.get(&**name).copied().unwrap_or(0);
                acknowledged > 0 && names.iter().all(|name| changed(name) <= acknowledged)
            }
        };
        if lacks_nothing { latest.max(acknowledged) } else { acknowledged }
    }
}

impl Latest {
    fn new(world: Arc<World>, revision: u64) -> Self {
        Latest { world, revision, resources: Default::default() }
    }

    fn resources(&mut self, kind: ClientKind) -> Arc<Resources> {
        self.resources[kind as usize]
            .get_or_insert_with(|| Arc::new(Resources::build(kind, self.revision, &self.world, None)))
            .clone()
    }

    /// The next world. Resources are made anew for the kinds of client that are there, from those before.
    fn follow(&mut self, world: Arc<World>, revision: u64, wanted: impl Fn(ClientKind) -> bool) {
        for kind in ClientKind::ALL {
            let slot = &mut self.resources[kind as usize];
            *slot = match slot.take() {
                Some(previous) if wanted(kind) => {
                    Some(Arc::new(Resources::build(kind, revision, &world, Some(&previous))))
                }
                _ => None,
            };
        }
        self.world = world;
        self.revision = revision;
    }
}

impl Hub {
    /// A hub without clients.
    pub fn new(world: Arc<World>, metrics: Arc<Metrics>, most_clients: usize) -> Arc<Self> {
        Arc::new(Hub {
            state: Mutex::new(State {
                stable: Latest::new(world, 0),
                trial: None,
                trial_until: 0,
                reports: [Counts::default(); 2],
                published: BTreeMap::new(),
                changed_in: BTreeMap::new(),
                next_client: 0,
                clients: BTreeMap::new(),
                all: BTreeSet::new(),
                by_service: BTreeMap::new(),
            }),
            metrics,
            most_clients,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace that is served.
    pub fn namespace(&self) -> String {
        self.state().stable.world.namespace.clone()
    }

    /// The mesh that all have, and the one that is tried, if there is one.
    pub fn worlds(&self) -> (Arc<World>, Option<Arc<World>>) {
        let state = self.state();
        (state.stable.world.clone(), state.trial.as_ref().map(|trial| trial.world.clone()))
    }

    /// In which revision a service was last changed, and who looks at it and has not acknowledged that.
    pub fn behind(&self, service: &str) -> (u64, Vec<String>) {
        let state = self.state();
        let changed = state.changed_in.get(service).copied().unwrap_or(0);
        let is_behind = |client: &&Client| {
            client.interest.includes(service)
                && client.knows(state.stable.revision, &state.changed_in) < changed
        };
        (changed, state.clients.values().filter(is_behind).map(|client| client.who.id.clone()).collect())
    }

    /// Publishes a world to a track, and wakes whom its changes concern: `changed` names the services that differ from
    /// the one before.
    pub fn publish(&self, track: Track, world: Arc<World>, revision: u64, changed: &BTreeSet<String>) {
        let mut state = self.state();
        let state = &mut *state;
        let kinds: Vec<_> = state.clients.values().map(|client| client.who.kind).collect();
        let wanted = |kind| kinds.contains(&kind);
        match (track, &mut state.trial) {
            (Track::Stable, _) => state.stable.follow(world, revision, wanted),
            (Track::Trial, Some(trial)) => trial.follow(world, revision, wanted),
            (Track::Trial, trial @ None) => *trial = Some(Latest::new(world, revision)),
        }
        state.published.insert(revision, Instant::now());
        while state.published.len() > REMEMBERED {
            state.published.pop_first();
        }
        for name in changed {
            state.changed_in.insert(name.clone(), revision);
        }
        self.metrics.revision(revision);
        let concerned = changed.iter().filter_map(|name| state.by_service.get(name.as_str())).flatten();
        for id in state.all.iter().chain(concerned) {
            let Some(client) = state.clients.get(id) else { continue };
            if client.track == track || state.trial.is_none() {
                client.wake.notify_one();
            }
        }
    }

    /// From now on so many percent of the clients, always the same ones, follow the trial track. What was reported up to
    /// now; `None`, and no trial, when there are no clients.
    pub fn begin_trial(&self, percent: u8, world: Arc<World>, revision: u64) -> Option<Counts> {
        let mut state = self.state();
        let ids: Vec<&str> = state.clients.values().map(|client| client.who.id.as_str()).collect();
        let until = threshold(percent, &ids)?;
        state.trial = Some(Latest::new(world, revision));
        state.trial_until = until;
        state.published.insert(revision, Instant::now());
        self.metrics.revision(revision);
        let mut before = Counts::default();
        std::mem::take(&mut state.reports).into_iter().for_each(|counts| before.add(counts));
        for client in state.clients.values_mut() {
            client.track = track_of(&client.who.id, until);
            if client.track == Track::Trial {
                client.wake.notify_one();
            }
        }
        Some(before)
    }

    /// Ends the trial: all follow the stable track again.
    pub fn end_trial(&self) {
        let mut state = self.state();
        state.trial = None;
        state.reports = [Counts::default(); 2];
        for client in state.clients.values_mut() {
            client.track = Track::Stable;
            client.wake.notify_one();
        }
    }

    /// A client reports how its requests have fared since its last report.
    pub fn reported(&self, id: &str, counts: Counts) {
        let mut state = self.state();
        let on_trial = state.trial.is_some() && track_of(id, state.trial_until) == Track::Trial;
        state.reports[usize::from(!on_trial)].add(counts);
    }

    /// What was reported since the trial began: by the clients that follow it, and by the others.
    pub fn reports(&self) -> [Counts; 2] {
        self.state().reports
    }

    /// A client has come.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn join(self: &Arc<Self>, who: Who) -> Result<Member, TooMany> {
        let mut state = self.state();
        if state.clients.len() >= self.most_clients {
            return Err(TooMany(self.most_clients));
        }
        state.next_client += 1;
        let (id, wake) = (state.next_client, Arc::new(Notify::new()));
        let track = match state.trial {
            Some(_) => track_of(&who.id, state.trial_until),
            None => Track::Stable,
        };
        self.metrics.client_joined(who.kind);
        let client = Client {
            who: who.clone(),
            track,
            interest: Interest::Services(BTreeSet::new()),
            wake: wake.clone(),
            connected: Instant::now(),
            status: Status::default(),
        };
        state.clients.insert(id, client);
        Ok(Member { hub: self.clone(), id, who, wake })
    }

    /// What `/clients` shows.
    pub fn clients(&self) -> (u64, Vec<ClientPage>) {
        let state = self.state();
        let page = |client: &Client| {
            let Latest { world, revision, .. } = match (client.track, &state.trial) {
                (Track::Trial, Some(trial)) => trial,
                _ => &state.stable,
            };
            let seen = |name: &str| client.interest.includes(name);
            ClientPage {
                id: client.who.id.clone(),
                kind: client.who.kind.as_str().to_owned(),
                version: client.who.version.clone(),
                zone: client.who.zone.clone(),
                caller: client.who.caller.clone(),
                peer: client.who.peer,
                protocol: client.who.protocol.to_owned(),
                connected_seconds: client.connected.elapsed().as_secs_f64(),
                acknowledged: client.knows(*revision, &state.changed_in),
                acknowledged_after_milliseconds: client
                    .status
                    .acknowledged_after
                    .map(|seconds| seconds * 1e3),
                pushes: client.status.pushes,
                nacks: client.status.nacks,
                last_nack: client.status.last_nack.clone(),
                lost: world
                    .services
                    .iter()
                    .filter(|(name, _)| client.who.kind != ClientKind::Bowline && seen(name))
                    .map(|(name, state)| (name.clone(), lost(client.who.kind, &state.service)))
                    .filter(|(_, lost)| !lost.is_empty())
                    .collect(),
            }
        };
        (state.stable.revision, state.clients.values().map(page).collect())
    }
}

/// Whether a client is among the first to get a new mesh.
fn track_of(id: &str, until: u64) -> Track {
    if order(id) <= until { Track::Trial } else { Track::Stable }
}

/// There are as many clients as there may be.
#[derive(Clone, Copy, Debug)]
pub struct TooMany(pub usize);

/// A client's place in the hub; dropped, it has gone.
#[derive(Debug)]
pub struct Member {
    hub: Arc<Hub>,
    id: u64,
    who: Who,
    wake: Arc<Notify>,
}

impl Member {
    /// Who it is.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// What it is to have now.
    pub fn resources(&self) -> Arc<Resources> {
        let mut state = self.hub.state();
        let track = state.clients.get(&self.id).map_or(Track::Stable, |client| client.track);
        match (track, &mut state.trial) {
            (Track::Trial, Some(trial)) => trial.resources(self.who.kind),
            _ => state.stable.resources(self.who.kind),
        }
    }

    /// Waits until something that concerns it has changed.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// It looks at other parts of the mesh from now on.
    pub fn looks_at(&self, interest: &Interest) {
        let mut state = self.hub.state();
        let state = &mut *state;
        let Some(client) = state.clients.get_mut(&self.id) else { return };
        if client.interest == *interest {
            return;
        }
        // What changed since it looked last would have woken others only.
        client.wake.notify_one();
        let before = std::mem::replace(&mut client.interest, interest.clone());
        forget(&mut state.all, &mut state.by_service, self.id, &before);
        match &client.interest {
            Interest::All => drop(state.all.insert(self.id)),
            Interest::Services(names) => {
                for name in names {
                    state.by_service.entry(name.clone()).or_default().insert(self.id);
                }
            }
        }
    }

    /// Something was sent.
    pub fn pushed(&self) {
        if let Some(client) = self.hub.state().clients.get_mut(&self.id) {
            client.status.pushes += 1;
        }
    }

    /// It has acknowledged a revision.
    pub fn acknowledged(&self, revision: u64) {
        let mut state = self.hub.state();
        let published = state.published.get(&revision).copied();
        let Some(client) = state.clients.get_mut(&self.id) else { return };
        // An answer to one type can come behind a later one to another.
        if revision > client.status.acknowledged {
            client.status.acknowledged = revision;
            // What was published before it came says nothing of how quick it is.
            if let Some(published) = published.filter(|published| *published >= client.connected) {
                let took = published.elapsed().as_secs_f64();
                client.status.acknowledged_after = Some(took);
                self.hub.metrics.acknowledged(took);
            }
        }
    }

    /// It lacks nothing of a revision, whether or not it was sent anything.
    pub fn lacks_nothing(&self, revision: u64) {
        if let Some(client) = self.hub.state().clients.get_mut(&self.id) {
            client.status.acknowledged = client.status.acknowledged.max(revision);
        }
    }

    /// It has refused something.
    pub fn refused(&self, why: &str) {
        if let Some(client) = self.hub.state().clients.get_mut(&self.id) {
            client.status.nacks += 1;
            client.status.last_nack = Some(why.trim().to_owned());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        let state = &mut *state;
        if let Some(client) = state.clients.remove(&self.id) {
            forget(&mut state.all, &mut state.by_service, self.id, &client.interest);
            self.hub.metrics.client_left(client.who.kind);
        }
    }
}

fn forget(
    all: &mut BTreeSet<u64>,
    by_service: &mut BTreeMap<Arc<str>, BTreeSet<u64>>,
    id: u64,
    interest: &Interest,
) {
    match interest {
        Interest::All => drop(all.remove(&id)),
        Interest::Services(names) => {
            for name in names {
                if let Some(readers) = by_service.get_mut(name) {
                    readers.remove(&id);
                    if readers.is_empty() {
                        by_service.remove(name);
                    }
                }
            }
        }
    }
}
