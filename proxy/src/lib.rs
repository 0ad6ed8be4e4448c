//! The data plane of Bowline: one small proxy beside each task.
//!
//! The rooms, from the ground floor up; each imports only from those before it:
//! `config`, `clock`, `error`, `telemetry`, `drain`, `net`, `dialled` ← `snapshot` ← `record` ← `pool` ← `cluster` ← `tunnel`, `tcp`,
//! `http` ← `listen` ← `redirected` ← `worker` ← `discovery`, `health`, `observe`, `admin` ← `app`. `redirect` stands beside: it is a command of
//! its own. Begin with [`http::forward`]: it is the way of a request.

pub mod access;
pub mod admin;
pub mod app;
pub mod ask;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod descriptors;
pub mod dialled;
pub mod discovery;
pub mod dns;
pub mod drain;
pub mod ecs;
pub mod error;
pub mod guard;
pub mod h2_body;
pub mod health;
pub mod hosts;
pub mod http;
pub mod inbound;
pub mod ingress;
pub mod interim;
pub mod limiter;
pub mod listen;
pub mod net;
pub mod observe;
pub mod pool;
pub mod record;
pub mod redirect;
pub mod redirected;
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
