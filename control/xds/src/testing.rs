//! Worlds for tests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bowline_api::Service;
use bowline_api::model::{ClientAlias, Endpoint, Endpoints, RegisteredSource};

use crate::world::{ServiceState, World};

pub(crate) const NAMESPACE: &str = "hello-world.com";

/// A service that is dialled as `NAME.hello-world.com:5000`, with endpoints on these ports.
pub(crate) fn state(name: &str, ports: &[u16]) -> ServiceState {
    let dns_name = format!("{name}.{NAMESPACE}");
    let mut service = Service::new(name, Endpoints::Registered(RegisteredSource {}));
    service.client_aliases =
        vec![ClientAlias { dns_name: dns_name.clone(), port: 5000, test_traffic_rules: None }];
    let endpoints = ports.iter().map(|port| Endpoint::new(([10, 0, 0, 1], *port).into())).collect();
    let vip = Ipv4Addr::new(127, 255, 1, name.as_bytes()[0]);
    ServiceState { service, endpoints, settled: true, vips: [(dns_name, vip)].into_iter().collect() }
}

pub(crate) fn world(states: impl IntoIterator<Item = ServiceState>) -> World {
    let services: BTreeMap<String, Arc<ServiceState>> =
        states.into_iter().map(|state| (state.service.discovery_name.clone(), Arc::new(state))).collect();
    World { namespace: NAMESPACE.to_owned(), services }
}
