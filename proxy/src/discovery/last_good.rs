//! The last good mesh on disk: what a proxy starts from while the control plane is away.

use std::io;
use std::path::{Path, PathBuf};

use bowline_xds::client_session::Held;

/// The file in the state directory.
#[derive(Clone, Debug)]
pub(super) struct LastGood {
    file: PathBuf,
}

impl LastGood {
    /// The file of this namespace in the directory.
    pub(super) fn new(state_dir: &Path, namespace: &str) -> Self {
        LastGood { file: state_dir.join(format!("last-good-{namespace}.json")) }
    }

    /// What was kept. A file that can't be read, or is damaged, is said and passed over.
    pub(super) fn load(&self) -> Option<Held> {
        let bytes = match std::fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, file = %self.file.display(), "the last good mesh can't be read");
                return None;
            }
        };
        serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::warn!(%error, file = %self.file.display(), "the last good mesh on disk is damaged: passed over");
            })
            .ok()
    }

    /// Keeps it. Written beside the file and renamed over it: a crash leaves the old one or the new one.
    pub(super) fn save(&self, held: &Held) {
        if let Err(error) = self.write(held) {
            tracing::warn!(%error, file = %self.file.display(), "the last good mesh can't be kept");
        }
    }

    fn write(&self, held: &Held) -> io::Result<()> {
        if let Some(dir) = self.file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = self.file.with_extension("json.new");
        std::fs::write(&new, serde_json::to_vec(held).map_err(io::Error::other)?)?;
        std::fs::rename(new, &self.file)
    }
}
