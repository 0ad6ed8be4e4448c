//! Where snapshots come from: the mesh file and DNS, or the control plane. This room writes the snapshot and does nothing
//! else.

mod ads;
mod last_good;
mod local;
mod mesh_file;
mod names;
mod pushed;
mod vips;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bowline_api::vip::VipRange;
use bowline_sources::dns::Servers;
use bowline_xds::client_session::{ClientSession, Subscription};
use bowline_xds::node::NodeInfo;
use bowline_xds::world::World;
use tokio::sync::{mpsc, oneshot, watch};

use self::ads::Ads;
pub use self::ads::{Backoff, Target};
use self::last_good::LastGood;
use self::local::Local;
pub use self::mesh_file::Refused;
use self::pushed::Pushed;
use self::vips::Vips;
use crate::clock::Clock;
use crate::snapshot::{Published, Snapshot};
use crate::telemetry::control::ControlStatus;
use crate::telemetry::metrics::ProxyCounters;

/// Whatever can change the mesh.
pub struct Discovery {
    /// The mesh file: the authority where there is no control plane, else the seed until it has answered.
    local: Option<Local>,
    control: Option<Control>,
}

/// The control plane's side of it.
struct Control {
    ads: Ads,
    worlds: watch::Receiver<Option<Arc<World>>>,
    pushed: Pushed,
}

/// The control plane, as flags name it.
#[derive(Debug)]
pub struct ControlConfig {
    /// Its addresses, tried in turn.
    pub targets: Vec<Target>,
    /// This proxy, as the control plane is to know it, with the namespace that is asked for.
    pub node: NodeInfo,
    /// The services that are asked for; empty: all.
    pub services: BTreeSet<String>,
    /// Draws the pauses between tries.
    pub seed: u64,
}

/// What an operator asks for.
#[derive(Debug)]
pub enum Command {
    /// Send this service's traffic straight through, or no more.
    Bypass {
        /// Its `discoveryName`.
        service: String,
        /// Whether it is to be bypassed.
        on: bool,
        /// Told when that is in force.
        done: oneshot::Sender<()>,
    },
}

fn log_bypass(snapshot: &Snapshot, service: &str, on: bool) {
    let generation = snapshot.generation;
    match on {
        true => {
            tracing::warn!(
                generation,
                service,
                "bypassed: its traffic goes straight through, without policy"
            );
        }
        false => tracing::warn!(generation, service, "no longer bypassed"),
    }
}

impl Discovery {
    /// Reads the mesh file for the first time and looks its names up. `resolver`: the DNS server that is asked instead
    /// of the system's.
    ///
    /// # Errors
    /// It can't be read, or it is invalid: every mistake in it, with its line.
    pub async fn from_file(
        path: &Path,
        range: VipRange,
        state_dir: Option<&Path>,
        resolver: Servers,
    ) -> Result<(Self, Snapshot), Refused> {
        let (local, first) = Local::open(path, range, state_dir, resolver).await?;
        Ok((Discovery { local: Some(local), control: None }, first))
    }

    /// Begins with the last good mesh, or else the seed, or else with none; the control plane is asked once
    /// [`Discovery::follow`] runs.
    ///
    /// # Errors
    /// The seed can't be read, or it is invalid.
    pub async fn from_control(
        config: ControlConfig,
        status: Arc<ControlStatus>,
        range: VipRange,
        seed: Option<(&Path, Servers)>,
        state_dir: Option<&Path>,
    ) -> Result<(Self, Snapshot), Refused> {
        let ControlConfig { targets, node, services, seed: random } = config;
        let namespace = node.namespace.clone();
        let subscription = match services.is_empty() {
            true => Subscription::Namespace,
            false => Subscription::Services(services),
        };
        let mut session = ClientSession::new(node, subscription);
        let last_good = state_dir.map(|dir| LastGood::new(dir, &namespace));
        let clock = Clock::new();
        let mut pushed = Pushed::new(Vips::load(range, state_dir), clock);
        let mut local = None;
        let mut first = None;
        if let Some(held) = last_good.as_ref().and_then(LastGood::load) {
            for refused in session.restore(held) {
                tracing::warn!(
                    resource = refused.name,
                    why = refused.why,
                    "a part of the last good mesh is of no use"
                );
            }
            first = pushed.next(Arc::new(session.world()), None).filter(|first| !first.services.is_empty());
            if let Some(first) = &first {
                tracing::info!(services = first.services.len(), "started from the last good mesh");
                status.has_mesh("last good");
            }
        }
        if first.is_none()
            && let Some((path, resolver)) = seed
        {
            let (from_file, snapshot) = Local::open(path, range, state_dir, resolver).await?;
            tracing::info!(services = snapshot.services.len(), "started from the mesh file as a seed");
            status.has_mesh("seed");
            local = Some(from_file);
            first = Some(snapshot);
        }
        let first = first.unwrap_or_else(|| Snapshot::absent(&namespace, status.why_absent(), clock.now()));
        let (worlds, pushes) = watch::channel(None);
        let backoff = Backoff::new(random);
        let ads = Ads { session, targets, status, worlds, last_good, backoff };
        Ok((Discovery { local, control: Some(Control { ads, worlds: pushes, pushed }) }, first))
    }

    /// Takes up each change for ever, and what operators ask for. `applied` is called after a new snapshot is in force.
    pub async fn follow(
        self,
        published: Arc<Published>,
        counters: Arc<ProxyCounters>,
        mut commands: mpsc::Receiver<Command>,
        mut applied: impl FnMut(&Snapshot),
    ) {
        let Discovery { mut local, control } = self;
        let Some(Control { ads, mut worlds, mut pushed }) = control else {
            if let Some(local) = &mut local {
                local.follow(&published, &counters, &mut commands, &mut applied).await;
            }
            return;
        };
        let status = ads.status.clone();
        tokio::spawn(ads.run());
        if let Some(seed) = &mut local {
            tokio::select! {
                () = seed.follow(&published, &counters, &mut commands, &mut applied) => {}
                // An error means that the stream's task is gone: the process is ending.
                _ = worlds.changed() => worlds.mark_changed(),
            }
        }
        loop {
            tokio::select! {
                changed = worlds.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let world = worlds.borrow_and_update().clone();
                    let Some(world) = world else { continue };
                    if let Some(snapshot) = pushed.next(world, Some(&published.current())) {
                        let snapshot = published.publish(snapshot);
                        applied(&snapshot);
                        tracing::debug!(
                            generation = snapshot.generation,
                            services = snapshot.services.len(),
                            "a push is in force"
                        );
                    }
                    status.has_mesh("control");
                }
                Some(command) = commands.recv() => {
                    let Command::Bypass { service, on, done } = command;
                    let snapshot = pushed.with_bypass(&published.current(), &service, on);
                    log_bypass(&snapshot, &service, on);
                    applied(&published.publish(snapshot));
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
            }
        }
    }
}
