//! The entries into the mesh for callers from outside.

use std::net::{IpAddr, SocketAddr};

use crate::config::Ingress as Config;
use crate::drain::Signal;
use crate::snapshot::Snapshot;

/// One listener.
#[derive(Debug)]
pub struct Ingress {
    /// What `--ingress` says of it.
    pub config: Config,
    /// Where it listens.
    pub listen: SocketAddr,
    /// When its callers are to go.
    pub drain: Signal,
}

impl Ingress {
    /// Why its requests lead nowhere; `None`: its service is there.
    pub fn trouble(&self, snapshot: &Snapshot) -> Option<String> {
        let name = &self.config.service;
        if snapshot.services.iter().any(|service| service.name == *name) {
            return None;
        }
        Some(match &snapshot.absent {
            Some(why) => format!("the ingress at {} leads nowhere: {why}", self.listen),
            None => format!("the ingress at {} leads nowhere: there is no service {name}", self.listen),
        })
    }
}

/// A caller from outside.
pub struct Guest {
    /// Who calls.
    pub client: IpAddr,
    /// What stands in for `Host` where a request has none.
    pub authority: Box<str>,
}
