//! What Bowline's programs agree on: the mesh model, the mesh file it is read from, the JSON Schema made from it,
//! and the rule that gives names their virtual addresses.
//!
//! This crate is pure: no sockets, no clock, no runtime. It may read files, nothing else.

pub mod admin;
pub mod control_admin;
pub mod lenient;
pub mod mesh_file;
pub mod model;
pub mod picture;
pub mod reference;
pub mod schema;
pub mod vip;

pub use mesh_file::words::nearest;
pub use mesh_file::{Loaded, Problem, Problems, header_kept_from_rules, load, parse};
pub use model::{Mesh, Service};
pub use schema::{generate as generate_json_schema, json_schema};
