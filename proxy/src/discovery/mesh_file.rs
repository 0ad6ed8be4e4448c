//! The mesh file as the one authority: read at the start, watched from then on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bowline_api::vip::VipRange;
use bowline_api::{Mesh, mesh_file};
use bowline_sources::file::Watch;

use super::vips::Vips;
use crate::clock::Clock;
use crate::snapshot::{Published, Snapshot};
use crate::telemetry::metrics::ProxyCounters;

/// The mesh file and what has been made of it.
#[derive(Debug)]
pub struct MeshFile {
    path: PathBuf,
    watch: Watch,
    vips: Vips,
    clock: Clock,
}

/// Why a mesh file was not taken up; one line an error.
#[derive(Debug)]
pub struct Refused(pub String);

impl MeshFile {
    /// Reads the mesh file for the first time.
    ///
    /// # Errors
    /// It can't be read, or it is invalid: every mistake in it, with its line.
    pub fn open(path: &Path, range: VipRange, state_dir: Option<&Path>) -> Result<(Self, Snapshot), Refused> {
        // The watch begins before the file is read: a change while it is read is seen.
        let watch = Watch::new(path);
        let mut file = MeshFile {
            path: path.to_owned(),
            watch,
            vips: Vips::load(range, state_dir),
            clock: Clock::new(),
        };
        let first = file.read(None)?;
        Ok((file, first))
    }

    fn read(&mut self, previous: Option<&Snapshot>) -> Result<Snapshot, Refused> {
        let mesh: Mesh = mesh_file::load_with(&self.path, &self.vips.options())
            .map_err(|problems| Refused(problems.to_string()))?
            .mesh;
        let vips =
            self.vips.give(&mesh).map_err(|error| Refused(format!("{}: {error}", self.path.display())))?;
        Ok(Snapshot::new(mesh, &vips, previous, self.clock.now()))
    }

    /// Takes up each change for ever. `applied` is called after a new snapshot is in force.
    pub async fn follow(
        mut self,
        published: Arc<Published>,
        counters: Arc<ProxyCounters>,
        mut applied: impl FnMut(&Snapshot),
    ) {
        loop {
            self.watch.changed().await;
            let previous = published.current();
            match self.read(Some(&previous)) {
                Ok(snapshot) => {
                    counters.reloads_applied.fetch_add(1, Relaxed);
                    counters.mesh_refused.store(0, Relaxed);
                    let endpoints: usize = snapshot.services.iter().map(|s| s.endpoints.len()).sum();
                    tracing::info!(
                        generation = snapshot.generation,
                        services = snapshot.services.len(),
                        endpoints,
                        "mesh file taken up"
                    );
                    let snapshot = published.publish(snapshot);
                    applied(&snapshot);
                }
                Err(Refused(why)) => {
                    counters.reloads_refused.fetch_add(1, Relaxed);
                    counters.mesh_refused.store(1, Relaxed);
                    for line in why.lines() {
                        tracing::error!("mesh file refused: {line}");
                    }
                    tracing::error!(generation = previous.generation, "the last good mesh stays in force");
                }
            }
        }
    }
}
