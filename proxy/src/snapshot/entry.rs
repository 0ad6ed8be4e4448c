//! What a service leads to where it is an ingress.

use std::collections::HashMap;

use bowline_api::model::{self, Endpoints, Mesh};

/// What callers from outside can reach by their own words, beside the service's routes.
#[derive(Debug, Default)]
pub struct Entry {
    /// The service has no `ingress`, and endpoints of its own, or no routes: it is reached itself where no route fits, as in
    /// any caller's proxy.
    pub is_whole: bool,
    /// Exposed services by their names, in lower case: each with the port of its alias.
    by_host: HashMap<String, Vec<(u16, Box<str>)>>,
}

impl Entry {
    /// What the mesh says of a service.
    pub(super) fn new(service: &model::Service, mesh: &Mesh) -> Self {
        let has_endpoints = !matches!(&service.endpoints, Endpoints::Static(list) if list.is_empty());
        let is_whole = service.ingress.is_none() && (has_endpoints || service.routes.is_empty());
        let mut by_host: HashMap<String, Vec<(u16, Box<str>)>> = HashMap::new();
        for name in service.ingress.iter().flat_map(|ingress| &ingress.expose) {
            let Some(exposed) = mesh.services.iter().find(|other| other.discovery_name == *name) else {
                continue;
            };
            for alias in &exposed.client_aliases {
                let host = alias.dns_name.to_ascii_lowercase();
                by_host.entry(host).or_default().push((alias.port, name.as_str().into()));
            }
        }
        Entry { is_whole, by_host }
    }

    /// The exposed service that `Host` names. Its port decides only between services of the same name.
    pub fn exposed(&self, authority: &str) -> Option<&str> {
        if self.by_host.is_empty() {
            return None;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port.parse().ok()),
            _ => (authority, None),
        };
        let lower = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let named = self.by_host.get(&lower)?;
        let by_port = named.iter().find(|(alias, _)| Some(*alias) == port.or(Some(80)));
        by_port.or(named.first()).map(|(_, name)| &**name)
    }
}
