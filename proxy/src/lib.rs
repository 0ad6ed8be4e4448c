//! The data plane of Bowline: one small proxy beside each task.
//!
//! The rooms, from the ground floor up; each imports only from those before it:
//! `config`, `clock`, `error`, `telemetry`, `drain`, `net` ← `snapshot` ← `pool` ← `cluster` ← `tunnel`, `tcp`, `http` ← `listen` ← `worker` ←
//! `discovery`, `admin` ← `app`. Begin with [`http::forward`]: it is the way of a request.

pub mod admin;
pub mod app;
pub mod ask;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod descriptors;
pub mod discovery;
pub mod drain;
pub mod ecs;
pub mod error;
pub mod h2_body;
pub mod http;
pub mod interim;
pub mod limiter;
pub mod listen;
pub mod net;
pub mod pool;
pub mod reference;
pub mod register;
pub mod report;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
pub mod tunnel;
pub mod worker;

/// The allocator of the program, for whoever runs the proxy as a part of a program of their own.
#[cfg(feature = "jemalloc")]
pub use tikv_jemallocator::Jemalloc as Allocator;
