//! The store of one control process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bowline_api::vip::VipRange;

use super::vips::{Record, Vips};
use super::{Shared, Tasks, unix_seconds};

/// Registrations in memory, and VIPs there and in a file.
#[derive(Debug)]
pub struct Memory {
    pub(super) shared: Arc<Shared>,
    vips: Mutex<Vips>,
    record: Mutex<Record>,
    file: Option<PathBuf>,
    _tasks: Tasks,
}

impl Memory {
    /// Reads the record of VIPs in the folder, if there is one. A record that can't be read is no reason not to start: it
    /// is said and begun anew.
    pub(super) fn open(state_dir: Option<&Path>) -> Self {
        let file = state_dir.map(|dir| dir.join("vips.json"));
        let record = match file.as_deref().map(fs::read) {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the record of VIPs is damaged: addresses are given out anew");
                Record::default()
            }),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the record of VIPs can't be read: addresses are given out anew");
                Record::default()
            }
            _ => Record::default(),
        };
        let shared = Shared::new();
        let mut tasks = Tasks::default();
        tasks.spawn(shared.clone().keep_time());
        Memory { shared, vips: Mutex::default(), record: Mutex::new(record), file, _tasks: tasks }
    }

    pub(super) fn vips(
        &self,
        range: VipRange,
        names: &BTreeMap<String, Option<Ipv4Addr>>,
    ) -> Result<BTreeMap<String, Ipv4Addr>, String> {
        let mut vips = self.vips.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let given =
            vips.allocate(range, names, &record, unix_seconds()).map_err(|error| error.to_string())?;
        vips.took(names);
        if given.record != *record {
            *record = given.record;
            if let Some(file) = &self.file
                && let Err(error) = save(file, &record)
            {
                tracing::warn!(%error, file = %file.display(), "the record of VIPs can't be written");
            }
        }
        Ok(given.vips)
    }
}

/// Writes beside the file and renames over it: a crash leaves the old record or the new one, never half of one.
fn save(file: &Path, record: &Record) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = file.with_extension("json.new");
    let mut written = File::create(&new)?;
    written.write_all(&serde_json::to_vec_pretty(record).map_err(io::Error::other)?)?;
    written.sync_all()?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests;
