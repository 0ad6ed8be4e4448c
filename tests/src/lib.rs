//! What the end to end tests are written with: the real proxy as a process, scripted backends and clients over real
//! sockets, and waiting for what should happen instead of sleeping.
//!
//! A test reads like a story: start backends, start a proxy on a mesh that names them, send a request, look at what
//! came back and at what each backend has seen.

pub mod backend;
pub mod client;
pub mod control;
pub mod crowd;
pub mod dns;
pub mod etcd;
pub mod frames;
pub mod grpc;
pub mod h2_backend;
pub mod h2_client;
pub mod load;
pub mod mesh;
pub mod metrics;
pub mod netns;
pub mod process;
pub mod proxy;
pub mod range;
pub mod route53;
pub mod running;
pub mod sockets;
pub mod task;
pub mod tcp_backend;
pub mod wait;
pub mod wire;
pub mod xds_load;

pub use backend::{Backend, Received, Reply};
pub use client::Raw;
pub use control::Control;
pub use crowd::Crowd;
pub use etcd::Etcd;
pub use h2_backend::H2Backend;
pub use h2_client::H2Client;
pub use load::Load;
pub use mesh::{Mesh, PORT, authority, service, url};
pub use netns::Netns;
pub use process::BackendProcess;
pub use proxy::Proxy;
pub use route53::Route53;
pub use task::Task;
pub use tcp_backend::TcpBackend;
pub use wait::{Gate, eventually};
pub use wire::Answer;

/// Random choices of a test come from here: the seed is printed, and `BOWLINE_TEST_SEED` brings a run back.
pub fn seeded() -> fastrand::Rng {
    let seed = std::env::var("BOWLINE_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: BOWLINE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
