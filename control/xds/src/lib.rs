//! The mesh model as xDS resources and back, and the session machines of both ends. Pure: no sockets, no clock, no
//! runtime, no randomness.

pub mod client_session;
mod decode;
mod encode;
pub mod kind;
pub mod load_report;
pub mod lost;
pub mod message;
pub mod node;
mod partial;
pub mod registration;
pub mod resource;
pub mod resources;
pub mod server_session;
#[cfg(test)]
mod testing;
pub mod world;
