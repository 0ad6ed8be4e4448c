//! Resources from a control plane that isn't ours: clusters, listeners and routes, as far as a service can be made of
//! them.

mod aliases;
mod clusters;
mod policies;

pub(crate) use aliases::{Entry, Routes, Way, listener, routes};
pub(super) use clusters::cluster;
