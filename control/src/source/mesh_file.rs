//! The mesh file, or a folder of them, watched for change.

use std::path::Path;
use std::sync::Arc;

use bowline_api::Mesh;
use bowline_api::mesh_file::{Options, load_with};
use bowline_api::vip::VipRange;
use bowline_sources::file::Watch;
use tokio::sync::{mpsc, watch};

use super::{Change, Source};

const SOURCE: &str = "mesh";

/// The services and their policies, as a file says.
#[derive(Debug)]
pub struct MeshFileSource {
    watch: Watch,
    options: Options,
    last_good: Arc<Mesh>,
}

impl MeshFileSource {
    /// Reads the file, or the folder, for the first time. Pinned VIPs must lie in `vips`.
    ///
    /// # Errors
    /// It can't be read, or it is invalid: all that is wrong with it, one line a problem.
    pub fn open(path: &Path, vips: VipRange) -> Result<(Self, Arc<Mesh>), String> {
        // The watch begins before the file is read: a change while it is read is seen.
        let watch = Watch::new(path);
        let options = Options { vip_range: vips };
        let mesh = Arc::new(read(path, &options)?);
        Ok((MeshFileSource { watch, options, last_good: mesh.clone() }, mesh))
    }
}

fn read(path: &Path, options: &Options) -> Result<Mesh, String> {
    load_with(path, options).map(|loaded| loaded.mesh).map_err(|problems| problems.to_string())
}

impl Source for MeshFileSource {
    /// A change that is valid is reported as the mesh, one that is not as trouble with every mistake in it; the last good
    /// mesh stays.
    async fn run(mut self, _mesh: watch::Receiver<Arc<Mesh>>, changes: mpsc::Sender<Change>) {
        loop {
            tokio::select! {
                () = self.watch.changed() => {}
                () = changes.closed() => return,
            }
            let found = read(self.watch.path(), &self.options);
            let trouble =
                Change::Trouble { service: None, source: SOURCE, why: found.as_ref().err().cloned() };
            if changes.send(trouble).await.is_err() {
                return;
            }
            let Ok(mesh) = found else { continue };
            // A touched file is no change.
            if mesh == *self.last_good {
                continue;
            }
            self.last_good = Arc::new(mesh);
            if changes.send(Change::Mesh(self.last_good.clone())).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
