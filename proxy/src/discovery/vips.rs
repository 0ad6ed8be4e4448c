//! Which loopback address each name has, remembered over restarts where there is a state directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_api::Mesh;
use bowline_api::mesh_file::Options;
use bowline_api::vip::{Recorded, VipError, VipRange, allocate};

/// The addresses given out so far.
#[derive(Debug)]
pub(super) struct Vips {
    range: VipRange,
    recorded: BTreeMap<String, Recorded>,
    file: Option<PathBuf>,
}

impl Vips {
    /// Reads what is on record. A record that can't be read is no reason not to start: it is said and begun anew.
    pub(super) fn load(range: VipRange, state_dir: Option<&Path>) -> Self {
        let file = state_dir.map(|dir| dir.join("vips.json"));
        let recorded = match file.as_deref().map(fs::read) {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the record of VIPs is damaged: addresses are given out anew");
                BTreeMap::new()
            }),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the record of VIPs can't be read: addresses are given out anew");
                BTreeMap::new()
            }
            _ => BTreeMap::new(),
        };
        Vips { range, recorded, file }
    }

    /// How a mesh file is checked whose pins must lie in the range.
    pub(super) fn options(&self) -> Options {
        Options { vip_range: self.range }
    }

    /// The address of every name of the mesh; names that had one keep it.
    pub(super) fn give(&mut self, mesh: &Mesh) -> Result<BTreeMap<String, Ipv4Addr>, VipError> {
        self.give_names(&pins(mesh))
    }

    /// An address for each name that has come without one, and those that have come: `given`.
    pub(super) fn complete(
        &mut self,
        mesh: &Mesh,
        mut given: BTreeMap<String, Ipv4Addr>,
    ) -> BTreeMap<String, Ipv4Addr> {
        let mut names = pins(mesh);
        if names.keys().all(|name| given.contains_key(name)) {
            return given;
        }
        for (name, pin) in &mut names {
            *pin = given.get(name).copied().filter(|vip| self.range.is_usable(*vip));
        }
        match self.give_names(&names) {
            Ok(all) => {
                for (name, vip) in all {
                    given.entry(name).or_insert(vip);
                }
            }
            Err(error) => tracing::error!(%error, "names that came without a VIP get none"),
        }
        given
    }

    fn give_names(
        &mut self,
        names: &BTreeMap<String, Option<Ipv4Addr>>,
    ) -> Result<BTreeMap<String, Ipv4Addr>, VipError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let given = allocate(self.range, names, &self.recorded, now)?;
        if given.record != self.recorded {
            self.recorded = given.record;
            if let Some(file) = &self.file
                && let Err(error) = save(file, &self.recorded)
            {
                tracing::warn!(%error, file = %file.display(), "the record of VIPs can't be written");
            }
        }
        Ok(given.vips)
    }
}

/// Every name that is dialled, with the address that is pinned for it.
fn pins(mesh: &Mesh) -> BTreeMap<String, Option<Ipv4Addr>> {
    let mut names: BTreeMap<String, Option<Ipv4Addr>> = BTreeMap::new();
    for service in &mesh.services {
        for alias in &service.client_aliases {
            let pin = names.entry(alias.dns_name.clone()).or_default();
            *pin = pin.or(service.vip);
        }
    }
    names
}

/// Writes beside the file and renames over it: a crash leaves the old record or the new one, never half of one.
fn save(file: &Path, recorded: &BTreeMap<String, Recorded>) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = file.with_extension("json.new");
    fs::write(&new, serde_json::to_vec_pretty(recorded).map_err(io::Error::other)?)?;
    fs::rename(new, file)
}
