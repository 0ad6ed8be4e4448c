//! Watching a mesh file, or a folder of them, for change.
//!
//! By looking at it four times a second, not by inotify: a look costs a few microseconds, and it sees every change on
//! every file system: bind mounts, NFS, an editor that writes a new file over the old one, a ConfigMap's link that is
//! switched over. inotify misses most of these.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often the file is looked at.
pub const EVERY: Duration = Duration::from_millis(250);
/// How soon again once it has changed: it counts as written when nothing has changed in between.
const SETTLED: Duration = Duration::from_millis(50);
/// A file that keeps changing is read after this long, finished or not; a half-written one is refused and read again.
const AT_LATEST: Duration = Duration::from_secs(1);

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    inode: u64,
    folder: bool,
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        // Follows links: it is the file at the end that matters.
        let meta = fs::metadata(path).ok()?;
        Some(Mark {
            path: path.to_owned(),
            modified: meta.modified().ok(),
            length: meta.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&meta),
            folder: meta.is_dir(),
        })
    }
}

/// The state of a file or of all files of a folder.
fn marks(path: &Path) -> Vec<Mark> {
    let Some(own) = Mark::of(path) else { return Vec::new() };
    let folder = own.folder;
    let mut marks = vec![own];
    if folder && let Ok(entries) = fs::read_dir(path) {
        marks.extend(entries.filter_map(|entry| Mark::of(&entry.ok()?.path())));
        // The order of a folder's entries means nothing.
        marks[1..].sort_by(|a, b| a.path.cmp(&b.path));
    }
    marks
}

/// A watch on a path.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    seen: Vec<Mark>,
}

impl Watch {
    /// Watches `path` from its present state on. Start it before the file is read for the first time, so that no change
    /// falls between.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let seen = marks(&path);
        Watch { path, seen }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the file has changed and then stayed as it is for one look (so that it is not read half-written). A
    /// file that has vanished is a change too. Safe to cancel.
    pub async fn changed(&mut self) {
        let mut changing_since: Option<tokio::time::Instant> = None;
        let mut last = self.seen.clone();
        loop {
            tokio::time::sleep(if changing_since.is_some() { SETTLED } else { EVERY }).await;
            let now = marks(&self.path);
            if now != last {
                changing_since.get_or_insert_with(tokio::time::Instant::now);
                last = now;
                if changing_since.is_some_and(|since| since.elapsed() < AT_LATEST) {
                    continue;
                }
            } else if last == self.seen {
                // Nothing has changed, or it has been changed back.
                changing_since = None;
                continue;
            }
            self.seen = last;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
