//! Where the mesh and its endpoints come from: what the proxy and the control plane share of it.

pub mod dns;
pub mod file;
