//! The mesh as the control plane pushes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bowline_api::Mesh;
use bowline_xds::world::{ServiceState, World};

use super::vips::Vips;
use crate::clock::Clock;
use crate::snapshot::{Found, Origin, Snapshot};

/// The world in force, and what a snapshot takes from it.
#[derive(Debug)]
pub(super) struct Pushed {
    world: Arc<World>,
    vips: BTreeMap<String, Ipv4Addr>,
    found: BTreeMap<String, Found>,
    /// Gives addresses to names that come without: from a control plane that is not ours.
    own_vips: Vips,
    clock: Clock,
}

impl Pushed {
    /// Nothing yet.
    pub(super) fn new(own_vips: Vips, clock: Clock) -> Self {
        Pushed { world: Arc::default(), vips: BTreeMap::new(), found: BTreeMap::new(), own_vips, clock }
    }

    /// The snapshot of the next world; `None` when it is no other than the last.
    pub(super) fn next(&mut self, world: Arc<World>, previous: Option<&Snapshot>) -> Option<Snapshot> {
        let before = std::mem::replace(&mut self.world, world);
        let world = &self.world;
        let same = |name: &str, state: &Arc<ServiceState>| {
            before.services.get(name).is_some_and(|b| Arc::ptr_eq(b, state) || b == state)
        };
        let changed: BTreeSet<String> = world
            .services
            .iter()
            .filter(|(name, state)| !same(name, state))
            .map(|(name, _)| name.clone())
            .collect();
        let gone = before.services.keys().any(|name| !world.services.contains_key(name));
        if changed.is_empty() && !gone && previous.is_some_and(|previous| previous.absent.is_none()) {
            return None;
        }
        // What is to be made anew: only the endpoints, or the services themselves.
        let only_endpoints = !gone
            && changed.iter().all(|name| {
                let (next, before) = (&world.services[name], before.services.get(name));
                before.is_some_and(|before| before.service == next.service && before.vips == next.vips)
            });
        for name in &changed {
            let state = &world.services[name];
            let found = Found { endpoints: state.endpoints.clone().into(), origin: Origin::Control };
            self.found.insert(name.clone(), found);
        }
        self.found.retain(|name, _| world.services.contains_key(name));
        let now = self.clock.now();
        Some(match previous {
            Some(previous) if only_endpoints && previous.absent.is_none() => {
                Snapshot::with_endpoints(previous, &changed, &self.vips, &self.found, now)
            }
            _ => {
                let given = world.services.values().flat_map(|state| &state.vips);
                let given = given.map(|(name, vip)| (name.clone(), *vip)).collect();
                let services = world.services.values().map(|state| state.service.clone()).collect();
                let mesh = Mesh { namespace: world.namespace.clone(), services };
                self.vips = self.own_vips.complete(&mesh, given);
                Snapshot::new(mesh, &self.vips, &self.found, previous, now)
            }
        })
    }

    /// The mesh in force with a service bypassed, or no more.
    pub(super) fn with_bypass(&self, previous: &Snapshot, service: &str, on: bool) -> Snapshot {
        Snapshot::with_bypass(previous, service, on, &self.vips, &self.found, self.clock.now())
    }
}
