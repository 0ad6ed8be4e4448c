//! What an import makes.

use super::draft::Draft;

/// A mesh file, yet to be written.
#[derive(Debug)]
pub(crate) struct Made {
    /// Comments at the top.
    pub(crate) head: Vec<String>,
    /// The mesh.
    pub(crate) mesh: Draft,
    /// How many services it has.
    pub(crate) services: usize,
}
