//! The mesh as its file says it, with DNS for the endpoints of the services that say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bowline_api::Mesh;
use bowline_api::vip::VipRange;
use bowline_sources::dns::Servers;
use bowline_sources::file::Watch;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::mesh_file::{MeshFile, Refused};
use super::names::Names;
use super::{Command, log_bypass};
use crate::clock::Clock;
use crate::snapshot::{Published, Snapshot};
use crate::telemetry::metrics::ProxyCounters;

/// Answers that come within this time of each other make one snapshot.
const COALESCE: Duration = Duration::from_millis(20);
/// How long the first mesh waits for DNS; where that is away, the proxy starts without its answers.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);
/// How long a changed mesh file waits for the answers to names that are new in it.
const NEW_ANSWERS: Duration = Duration::from_millis(300);

/// Whatever can change the mesh.
#[derive(Debug)]
pub(super) struct Local {
    watch: Watch,
    mesh: Live,
}

/// The mesh as it is now.
#[derive(Debug)]
struct Live {
    file: MeshFile,
    names: Names,
    vips: BTreeMap<String, Ipv4Addr>,
    clock: Clock,
}

impl Local {
    /// Reads the mesh file for the first time and looks its names up. `resolver`: the DNS server that is asked instead
    /// of the system's.
    ///
    /// # Errors
    /// It can't be read, or it is invalid: every mistake in it, with its line.
    pub(super) async fn open(
        path: &Path,
        range: VipRange,
        state_dir: Option<&Path>,
        resolver: Servers,
    ) -> Result<(Self, Snapshot), Refused> {
        // The watch begins before the file is read: a change while it is read is seen.
        let watch = Watch::new(path);
        let mut file = MeshFile::new(path, range, state_dir);
        let (mesh, vips) = file.read()?;
        warn_of_what_needs_control(&mesh);
        let clock = Clock::new();
        let mut names = Names::new(resolver, range);
        names.follow(&mesh);
        names.settle(FIRST_ANSWERS, clock).await;
        let first = Snapshot::new(mesh, &vips, names.resolved(), None, clock.now());
        Ok((Local { watch, mesh: Live { file, names, vips, clock } }, first))
    }

    /// Takes up each change for ever, and what operators ask for. `applied` is called after a new snapshot is in force.
    pub(super) async fn follow(
        &mut self,
        published: &Arc<Published>,
        counters: &Arc<ProxyCounters>,
        commands: &mut mpsc::Receiver<Command>,
        applied: &mut impl FnMut(&Snapshot),
    ) {
        let Local { watch, mesh } = self;
        // The services that DNS has changed, and when that is to be published.
        let mut changed = BTreeSet::new();
        let mut due = Instant::now();
        loop {
            // One look for change until it ends: it must not begin anew with each answer that comes in between.
            let mut file_changed = pin!(watch.changed());
            loop {
                tokio::select! {
                    () = &mut file_changed => break,
                    service = mesh.names.next_change(mesh.clock) => {
                        if changed.is_empty() {
                            due = Instant::now() + COALESCE;
                        }
                        changed.insert(service);
                    }
                    Some(command) = commands.recv() => {
                        let Command::Bypass { service, on, done } = command;
                        let snapshot = mesh.with_bypass(&published.current(), &service, on);
                        applied(&published.publish(snapshot));
                        // Whoever asked may have gone.
                        let _ = done.send(());
                    }
                    () = sleep_until(due), if !changed.is_empty() => {
                        let snapshot = mesh.with_answers(&published.current(), &std::mem::take(&mut changed));
                        applied(&published.publish(snapshot));
                    }
                }
            }
            if let Some(snapshot) = mesh.reload(&published.current(), counters).await {
                changed.clear();
                applied(&published.publish(snapshot));
            }
        }
    }
}

impl Live {
    /// The mesh with what DNS says now.
    fn with_answers(&self, previous: &Snapshot, changed: &BTreeSet<String>) -> Snapshot {
        let (vips, now) = (&self.vips, self.clock.now());
        let snapshot = Snapshot::with_endpoints(previous, changed, vips, self.names.resolved(), now);
        for service in snapshot.services.iter().filter(|service| changed.contains(&service.name)) {
            tracing::info!(
                generation = snapshot.generation,
                service = service.name,
                endpoints = service.endpoints.len(),
                "new endpoints from DNS"
            );
        }
        snapshot
    }

    /// The mesh with a service bypassed, or no more.
    fn with_bypass(&self, previous: &Snapshot, service: &str, on: bool) -> Snapshot {
        let (vips, now) = (&self.vips, self.clock.now());
        let snapshot = Snapshot::with_bypass(previous, service, on, vips, self.names.resolved(), now);
        log_bypass(&snapshot, service, on);
        snapshot
    }

    /// The mesh that the changed file says; `None` when it is refused.
    async fn reload(&mut self, previous: &Snapshot, counters: &ProxyCounters) -> Option<Snapshot> {
        match self.file.read() {
            Ok((mesh, vips)) => {
                warn_of_what_needs_control(&mesh);
                self.vips = vips;
                self.names.follow(&mesh);
                self.names.settle(NEW_ANSWERS, self.clock).await;
                let (names, now) = (self.names.resolved(), self.clock.now());
                let snapshot = Snapshot::new(mesh, &self.vips, names, Some(previous), now);
                counters.reloads_applied.fetch_add(1, Relaxed);
                counters.mesh_refused.store(0, Relaxed);
                let endpoints: usize = snapshot.services.iter().map(|s| s.endpoints.len()).sum();
                tracing::info!(
                    generation = snapshot.generation,
                    services = snapshot.services.len(),
                    endpoints,
                    "mesh file taken up"
                );
                Some(snapshot)
            }
            Err(Refused(why)) => {
                counters.reloads_refused.fetch_add(1, Relaxed);
                counters.mesh_refused.store(1, Relaxed);
                for line in why.lines() {
                    tracing::error!("mesh file refused: {line}");
                }
                tracing::error!(generation = previous.generation, "the last good mesh stays in force");
                None
            }
        }
    }
}

/// Says which services have no endpoints here, because only the control plane can find them.
fn warn_of_what_needs_control(mesh: &Mesh) {
    for service in mesh.services.iter().filter(|service| service.endpoints.need_control()) {
        tracing::warn!(
            service = service.discovery_name,
            "its endpoints come from the control plane: on a mesh file alone, this proxy has none for it"
        );
    }
}
