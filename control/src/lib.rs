//! The control plane: finds endpoints and pushes each change to every proxy that needs it.

pub mod admin;
pub mod app;
#[cfg(feature = "aws")]
mod aws;
pub mod backoff;
pub mod bootstrap;
pub mod config;
pub mod health;
pub mod holdback;
pub mod hub;
pub mod lease;
pub mod mind;
pub mod picture;
mod query;
pub mod reference;
pub mod registry;
pub mod serve;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod zone;
