//! How apps find the mesh's names: the DNS server and the hosts file.

use std::io;
use std::net::SocketAddr;

use bowline_sources::dns::Servers;

use crate::config::Run;
use crate::dns::{self, MeshNames};
use crate::hosts::HostsFile;

/// Where that is this proxy's business.
pub(super) struct Names {
    pub(super) mesh: MeshNames,
    /// The DNS server and where it listens.
    server: Option<(dns::Guard, SocketAddr)>,
    pub(super) hosts: Option<HostsFile>,
}

impl Names {
    pub(super) async fn start(config: &Run) -> io::Result<Self> {
        let mesh = MeshNames::default();
        let server = match config.dns {
            Some(addr) => {
                dns::check(addr, &config.dns_upstream)?;
                let sockets = dns::Sockets::bind(addr).await?;
                let addr = sockets.local_addr()?;
                let sources = dns::Sources {
                    names: mesh.clone(),
                    namespace: config.namespace.clone(),
                    upstreams: config.dns_upstream.clone(),
                };
                Some((dns::serve(sockets, sources)?, addr))
            }
            None => None,
        };
        Ok(Names { mesh, server, hosts: config.write_hosts.as_deref().map(HostsFile::new) })
    }

    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|(_, addr)| *addr)
    }

    /// Whom this proxy asks itself for endpoints: never its own server, in which their names may be the mesh's.
    pub(super) fn servers(&self, config: &Run) -> Servers {
        match config.resolver {
            Some(_) => config.resolver.into(),
            None => Servers { named: config.dns_upstream.clone(), ours: self.addr() },
        }
    }
}
