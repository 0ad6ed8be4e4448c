//! The mesh file: read, checked, and each of its names given an address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bowline_api::vip::VipRange;
use bowline_api::{Mesh, mesh_file};

use super::vips::Vips;

/// The mesh file and the addresses of its names.
#[derive(Debug)]
pub(super) struct MeshFile {
    path: PathBuf,
    vips: Vips,
}

/// Why a mesh file was not taken up; one line an error.
#[derive(Debug)]
pub struct Refused(pub String);

impl MeshFile {
    /// The file at this path, which has not been read yet.
    pub(super) fn new(path: &Path, range: VipRange, state_dir: Option<&Path>) -> Self {
        MeshFile { path: path.to_owned(), vips: Vips::load(range, state_dir) }
    }

    /// Reads it: the mesh, and the address of every dnsName.
    pub(super) fn read(&mut self) -> Result<(Mesh, BTreeMap<String, Ipv4Addr>), Refused> {
        let mesh: Mesh = mesh_file::load_with(&self.path, &self.vips.options())
            .map_err(|problems| Refused(problems.to_string()))?
            .mesh;
        let vips =
            self.vips.give(&mesh).map_err(|error| Refused(format!("{}: {error}", self.path.display())))?;
        Ok((mesh, vips))
    }
}
