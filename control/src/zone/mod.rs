//! The names of the mesh in a private zone of Route 53: `--publish-zone`.
//!
//! `record` is what a zone has, `plan` what is to be changed in it, `desk` when Route 53 is asked what, and `check` whether
//! the zone is one to publish in: all pure. `route53` makes the calls, `keeper` is the task that does so while the control
//! plane runs, and `unpublish` the command that takes everything away again.

pub mod check;
mod desk;
pub mod keeper;
mod name;
pub mod plan;
pub mod record;
#[cfg_attr(not(feature = "aws"), path = "without.rs")]
pub mod route53;
#[cfg(test)]
mod testing;
pub mod unpublish;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Every name that clients dial, with its VIP.
pub type Names = BTreeMap<String, Ipv4Addr>;
