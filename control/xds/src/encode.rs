//! From the model to resources: what each kind of client gets of a service.

pub(crate) mod around;
pub(crate) mod bowline;
pub(crate) mod common;
pub(crate) mod envoy;
pub(crate) mod grpc;
pub(crate) mod load;
pub(crate) mod matching;
pub(crate) mod policy;

use std::net::Ipv4Addr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::VirtualHost;

use self::around::Around;
use self::envoy::filters::Filters;
use crate::kind::ClientKind;
use crate::resource::Resource;
use crate::world::ServiceState;

/// A service as one kind of client gets it.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// What was encoded.
    pub(crate) state: Arc<ServiceState>,
    /// What of other services was looked at for it.
    pub(crate) around: Around,
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
    /// Its routes and all else; name and domains are still missing.
    pub(crate) host: VirtualHost,
    /// The filters that it needs.
    pub(crate) filters: Filters,
    /// The longest body that it answers with by itself, in bytes.
    pub(crate) longest_body: usize,
    /// What stands for its content, where its bytes can't.
    pub(crate) version: Option<u64>,
}

/// The resources of a service.
pub(crate) fn service(
    kind: ClientKind,
    namespace: &str,
    state: &Arc<ServiceState>,
    around: Around,
) -> Encoded {
    let (resources, hosts) = match kind {
        ClientKind::Bowline => (bowline::resources(namespace, state), Vec::new()),
        ClientKind::Envoy => (envoy::resources(state, &around), envoy::hosts(state, &around)),
        ClientKind::Grpc => (grpc::resources(state, &around), Vec::new()),
    };
    Encoded { state: state.clone(), around, resources: resources.into_iter().map(Arc::new).collect(), hosts }
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
