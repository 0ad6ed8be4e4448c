//! The mesh model as xDS resources and back, and the session machines of both ends.
//!
//! Not built yet.
