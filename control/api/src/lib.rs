//! What Bowline's programs agree on: the mesh model, the mesh file it is read from, the JSON Schema made from it,
//! and the rule that gives names their virtual addresses.
//!
//! This crate is pure: no sockets, no clock, no runtime. It may read files, nothing else.

pub mod model;

pub use model::{Mesh, Service};
