//! The mesh with the endpoints it has at the moment: what the control plane pushes, and what a proxy makes of the pushes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bowline_api::Service;
use bowline_api::model::Endpoint;

/// All services of a namespace. Immutable; a change makes another one, which shares whatever has stayed the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// The namespace.
    pub namespace: String,
    /// Each service by its `discoveryName`.
    pub services: BTreeMap<String, Arc<ServiceState>>,
}

/// One service: what the mesh file says, and what its source of endpoints has found.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceState {
    /// The service as it was written. Its `endpoints` say where they come from; `static` ones are in the list below too.
    pub service: Service,
    /// The endpoints it has now, in the order of their addresses.
    pub endpoints: Vec<Endpoint>,
    /// False while some may be missing: the control plane has just started and not all tasks have registered again. Whoever
    /// knows others keeps them.
    pub settled: bool,
    /// The VIP of each of its `dnsName`s.
    pub vips: BTreeMap<String, Ipv4Addr>,
}
