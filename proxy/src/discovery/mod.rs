//! Where snapshots come from. This room writes the snapshot and does nothing else.

pub mod mesh_file;
mod vips;
