//! Active health checks of endpoints: who is asked, when, and what follows from the answers.
//!
//! All of it runs on the thread of admin and discovery, never on a worker's. What comes out of it is one atomic by endpoint,
//! which workers look at when the service's epoch has moved: see [`crate::snapshot::Service::shares`].

mod ask;
mod grpc;
mod http1;
mod http2;
mod keep;

pub use self::keep::keep;
