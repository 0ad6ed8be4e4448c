//! Where a redirected connection belongs, by the address that the app dialled: pure, but for the mesh it looks at.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bowline_api::model::AppProtocol;
use bowline_api::vip::VipRange;

use crate::snapshot::Snapshot;
use crate::telemetry::metrics::RedirectRefused;

/// What is done with a redirected connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes to this alias, `dnsName:port`, as if it had come in at its VIP listener.
    Alias(Arc<str>),
    /// It goes to an endpoint of this TCP service, one of whose endpoints the app has dialled.
    Service(Arc<str>),
    /// Its first bytes are looked at: an HTTP service of the mesh has this port.
    Look,
    /// It is passed through to where it was going.
    Through,
    /// It is reset.
    Refused(RedirectRefused),
}

/// A snapshot by the addresses that apps dial. It is made for the first redirected connection after each change of the
/// mesh; proxies that nothing is redirected to never make one.
#[derive(Debug, Default)]
pub struct Index {
    aliases: HashMap<SocketAddr, Arc<str>>,
    /// Ports of aliases of services that may speak HTTP.
    http_ports: HashSet<u16>,
    /// Endpoints of TCP services; `None`: of several, which can't be told apart.
    tcp_endpoints: HashMap<SocketAddr, Option<Arc<str>>>,
}

impl Index {
    /// That of this snapshot.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut index = Index::default();
        for service in &snapshot.services {
            let is_tcp = service.protocol == Some(AppProtocol::Tcp);
            for alias in &service.aliases {
                let authority = format!("{}:{}", alias.dns_name, alias.port);
                index.aliases.insert((alias.vip, alias.port).into(), authority.into());
                if !is_tcp {
                    index.http_ports.insert(alias.port);
                }
            }
            if !is_tcp {
                continue;
            }
            let name: Arc<str> = service.name.as_str().into();
            for endpoint in service.all_endpoints() {
                match index.tcp_endpoints.entry(endpoint.shared.addr) {
                    Entry::Vacant(free) => drop(free.insert(Some(name.clone()))),
                    Entry::Occupied(mut taken) if taken.get().as_ref() != Some(&name) => {
                        taken.insert(None);
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        index
    }

    /// Where a connection to `original` belongs. `is_own`: whether an address is one of this proxy's own listeners.
    pub fn way(&self, original: SocketAddr, range: VipRange, is_own: impl Fn(SocketAddr) -> bool) -> Way {
        if let Some(alias) = self.aliases.get(&original) {
            return Way::Alias(alias.clone());
        }
        if is_own(original) {
            return Way::Refused(RedirectRefused::Loop);
        }
        if matches!(original.ip(), IpAddr::V4(ip) if range.contains(ip)) {
            return Way::Refused(RedirectRefused::UnknownVip);
        }
        match self.tcp_endpoints.get(&original) {
            Some(Some(service)) => Way::Service(service.clone()),
            _ if self.http_ports.contains(&original.port()) => Way::Look,
            _ => Way::Through,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use bowline_core::Tick;

    use super::*;

    const MESH: &str = "
namespace: mesh.test
services:
  - discoveryName: web
    clientAliases: [{ dnsName: web.mesh.test, port: 80 }]
    endpoints: { static: [{ address: \"10.0.0.1:9001\" }] }
  - discoveryName: db
    appProtocol: tcp
    clientAliases: [{ dnsName: db.mesh.test, port: 5432 }]
    endpoints: { static: [{ address: \"10.0.0.2:5432\" }, { address: \"10.0.0.3:80\" }] }
  - discoveryName: one
    appProtocol: tcp
    clientAliases: [{ dnsName: one.mesh.test, port: 6000 }]
    endpoints: { static: [{ address: \"10.0.0.4:6000\" }] }
  - discoveryName: two
    appProtocol: tcp
    clientAliases: [{ dnsName: two.mesh.test, port: 6001 }]
    endpoints: { static: [{ address: \"10.0.0.4:6000\" }] }
";

    fn way(original: &str) -> Way {
        let mesh = bowline_api::mesh_file::parse("mesh.yaml", MESH).unwrap();
        let names = ["web", "db", "one", "two"].into_iter().zip(1..);
        let vips: BTreeMap<_, _> =
            names.map(|(name, n)| (format!("{name}.mesh.test"), Ipv4Addr::new(127, 255, 0, n))).collect();
        let snapshot = Snapshot::new(mesh, &vips, &BTreeMap::new(), None, Tick::default());
        let own: SocketAddr = "127.255.0.9:15001".parse().unwrap();
        let index = Index::new(&snapshot);
        index.way(original.parse().unwrap(), VipRange::DEFAULT, |addr| addr == own)
    }

    #[test]
    fn an_address_says_where_a_connection_belongs() {
        assert_eq!(way("127.255.0.1:80"), Way::Alias("web.mesh.test:80".into()));
        assert_eq!(way("127.255.0.2:5432"), Way::Alias("db.mesh.test:5432".into()));
        assert_eq!(way("127.255.0.1:81"), Way::Refused(RedirectRefused::UnknownVip));
        assert_eq!(way("127.255.0.200:80"), Way::Refused(RedirectRefused::UnknownVip));
        assert_eq!(way("127.255.0.9:15001"), Way::Refused(RedirectRefused::Loop), "wherever it listens");
        assert_eq!(way("10.0.0.2:5432"), Way::Service("db".into()));
        assert_eq!(way("10.0.0.3:80"), Way::Service("db".into()), "an endpoint says more than a port");
        assert_eq!(way("10.0.0.4:6000"), Way::Through, "it could be either");
        assert_eq!(
            way("10.0.0.1:9001"),
            Way::Through,
            "only what is dialled by its alias's port is looked at"
        );
        assert_eq!(way("192.0.2.1:80"), Way::Look);
        assert_eq!(way("[2001:db8::1]:80"), Way::Look);
        assert_eq!(way("192.0.2.1:5432"), Way::Through, "a TCP service's port says nothing");
        assert_eq!(way("192.0.2.1:443"), Way::Through);
    }
}
