//! The gRPC side: who may connect, and the streams on which clients are served.

pub mod access;
pub mod ads;
mod dialect;
pub mod load;
