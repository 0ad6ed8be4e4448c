//! From the model to resources: what each kind of client gets of a service.

pub(crate) mod bowline;
pub(crate) mod common;
pub(crate) mod envoy;
pub(crate) mod grpc;
pub(crate) mod load;

use std::net::Ipv4Addr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::Route;

use crate::kind::ClientKind;
use crate::resource::Resource;
use crate::world::ServiceState;

/// A service as one kind of client gets it.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// What was encoded.
    pub(crate) state: Arc<ServiceState>,
    /// Its resources.
    pub(crate) resources: Vec<Arc<Resource>>,
    /// Its part of what is served for all services together.
    pub(crate) hosts: Vec<Host>,
}

/// A name that HTTP requests can be for.
#[derive(Debug, PartialEq)]
pub(crate) struct Host {
    pub(crate) dns_name: String,
    pub(crate) port: u16,
    pub(crate) vip: Option<Ipv4Addr>,
    pub(crate) routes: Vec<Route>,
}

/// The resources of a service.
pub(crate) fn service(kind: ClientKind, namespace: &str, state: &Arc<ServiceState>) -> Encoded {
    let (resources, hosts) = match kind {
        ClientKind::Bowline => (bowline::resources(namespace, state), Vec::new()),
        ClientKind::Envoy => (envoy::resources(state), envoy::hosts(state)),
        ClientKind::Grpc => (grpc::resources(state), Vec::new()),
    };
    Encoded { state: state.clone(), resources: resources.into_iter().map(Arc::new).collect(), hosts }
}

/// The resources that belong to all services together.
pub(crate) fn shared_part(kind: ClientKind, hosts: &[&Vec<Host>]) -> Vec<Resource> {
    match kind {
        ClientKind::Envoy => envoy::outbound(hosts.iter().copied().flatten()),
        ClientKind::Bowline | ClientKind::Grpc => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
