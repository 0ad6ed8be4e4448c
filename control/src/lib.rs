//! The control plane: finds endpoints and pushes each change to every proxy that needs it.

pub mod source;
