//! The mesh model as xDS resources and back, and the session machines of both ends. Pure: no sockets, no clock, no
//! runtime, no randomness.

pub mod world;
