//! What is known of the mesh, put together: pure, the time passed in.
//!
//! Sources report [`Change`]s; the registry keeps what is known, and says when the next [`World`] is due. What adds
//! something waits a little, so that a deployment's dozens of changes make a few pushes; what takes an endpoint away does
//! not wait, because every request to it until then is one that may fail.

pub mod diff;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::model::{Endpoint, Endpoints};
use bowline_api::{Mesh, Service};
use bowline_xds::world::{ServiceState, World};

use crate::source::Change;

/// How long an addition waits for others to come with it.
pub const COALESCE: Duration = Duration::from_millis(20);
/// The least time between two pushes, removals included: a thousand endpoints that flap make fifty pushes a second.
pub const LEAST_GAP: Duration = Duration::from_millis(20);

/// A time since some fixed moment, which is the caller's.
pub type Moment = Duration;

/// Everything that the control plane knows.
#[derive(Clone, Debug)]
pub struct Registry {
    mesh: Arc<Mesh>,
    found: BTreeMap<String, Found>,
    vips: BTreeMap<String, Ipv4Addr>,
    world: Arc<World>,
    /// Nothing has been published yet.
    unpublished: bool,
    /// Services that differ from the world.
    changed: BTreeSet<String>,
    due: Option<Moment>,
    pushed: Option<Moment>,
    allow_empty: bool,
    held: BTreeMap<String, Held>,
    /// Services that may be emptied, since somebody said so.
    confirmed: BTreeSet<String>,
    troubles: BTreeMap<(String, Option<String>), Trouble>,
}

/// A world that is to be pushed.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The world.
    pub world: Arc<World>,
    /// The services that are not as they were in the one before: new, gone, or different.
    pub changed: BTreeSet<String>,
}

/// What a source has found for a service.
#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    endpoints: Vec<Endpoint>,
    settled: bool,
}

/// A list of endpoints that would empty a service, and waits for somebody to confirm it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since when.
    pub since: Moment,
    /// How many endpoints the service keeps meanwhile.
    pub endpoints: usize,
}

/// A source that can't look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Moment,
    /// What is wrong, in words.
    pub why: String,
}

impl Registry {
    /// Knows nothing but the mesh file. `vips` has an address for every dnsName in it. With `allow_empty`, a service that
    /// had endpoints may lose all of them without confirmation.
    pub fn new(mesh: Arc<Mesh>, vips: BTreeMap<String, Ipv4Addr>, allow_empty: bool) -> Self {
        let mut registry = Registry {
            world: Arc::new(World { namespace: mesh.namespace.clone(), services: BTreeMap::new() }),
            mesh,
            found: BTreeMap::new(),
            vips,
            unpublished: true,
            changed: BTreeSet::new(),
            due: None,
            pushed: None,
            allow_empty,
            held: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            troubles: BTreeMap::new(),
        };
        registry.changed = registry.mesh.services.iter().map(|s| s.discovery_name.clone()).collect();
        registry.due = Some(Moment::ZERO);
        registry
    }

    /// The mesh in force.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// The VIP of every dnsName of the mesh.
    pub fn vips(&self) -> &BTreeMap<String, Ipv4Addr> {
        &self.vips
    }

    /// What was published last.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Lists that wait for confirmation, by service.
    pub fn held(&self) -> &BTreeMap<String, Held> {
        &self.held
    }

    /// Sources that can't look, by source and service.
    pub fn troubles(&self) -> &BTreeMap<(String, Option<String>), Trouble> {
        &self.troubles
    }

    /// Takes note of the VIP of every dnsName.
    pub fn set_vips(&mut self, vips: BTreeMap<String, Ipv4Addr>, now: Moment) {
        let moved: Vec<_> = self
            .mesh
            .services
            .iter()
            .filter(|s| s.client_aliases.iter().any(|a| vips.get(&a.dns_name) != self.vips.get(&a.dns_name)))
            .map(|s| s.discovery_name.clone())
            .collect();
        self.vips = vips;
        for service in moved {
            self.touched(service, now);
        }
    }

    /// Takes in what a source has found.
    pub fn apply(&mut self, change: Change, now: Moment) {
        match change {
            Change::Mesh(mesh) => self.apply_mesh(mesh, now),
            Change::Endpoints { service, mut endpoints, settled } => {
                // Two addresses that are the same would be one endpoint with twice the weight: the first one counts.
                endpoints.sort_by_key(|endpoint| endpoint.address);
                endpoints.dedup_by_key(|endpoint| endpoint.address);
                let found = Found { endpoints, settled };
                if self.found.get(&service) == Some(&found) {
                    return;
                }
                self.found.insert(service.clone(), found);
                self.touched(service, now);
            }
            Change::Trouble { service, source, why } => {
                let key = (source.to_owned(), service);
                match why {
                    None => drop(self.troubles.remove(&key)),
                    Some(why) => match self.troubles.get_mut(&key) {
                        Some(trouble) => trouble.why = why,
                        None => drop(self.troubles.insert(key, Trouble { since: now, why })),
                    },
                }
            }
        }
    }

    fn apply_mesh(&mut self, mesh: Arc<Mesh>, now: Moment) {
        let before = std::mem::replace(&mut self.mesh, mesh);
        let names: BTreeSet<String> =
            before.services.iter().chain(&self.mesh.services).map(|s| s.discovery_name.clone()).collect();
        for name in names {
            let (old, new) = (before.service(&name), self.mesh.service(&name));
            if old == new {
                continue;
            }
            // What was found for another source, or another name there, says nothing of this one.
            if old.map(|s| &s.endpoints) != new.map(|s| &s.endpoints) {
                self.found.remove(&name);
            }
            self.troubles.retain(|(_, service), _| service.as_deref() != Some(&name) || new.is_some());
            self.touched(name, now);
        }
    }

    /// A service differs from what was published: when is it to be published?
    fn touched(&mut self, service: String, now: Moment) {
        let removes = {
            let next = self.mesh.service(&service).and_then(|s| self.endpoints_of(s));
            self.world.services.get(&service).is_some_and(|state| match next {
                Some((next, _)) => state.endpoints.iter().filter(|old| old.weight > 0).any(|old| {
                    let at = next.binary_search_by_key(&old.address, |e| e.address);
                    at.map_or(true, |at| next[at].weight == 0)
                }),
                None => true,
            })
        };
        self.changed.insert(service);
        let wait = if removes { Duration::ZERO } else { COALESCE };
        let earliest = self.pushed.map_or(Duration::ZERO, |pushed| pushed + LEAST_GAP);
        let due = (now + wait).max(earliest);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// The endpoints that a service has now, in order; `None` while its source has not said anything yet.
    fn endpoints_of(&self, service: &Service) -> Option<(Vec<Endpoint>, bool)> {
        match &service.endpoints {
            Endpoints::Static(list) => {
                let mut list = list.clone();
                list.sort_by_key(|endpoint| endpoint.address);
                Some((list, true))
            }
            _ => self.found.get(&service.discovery_name).map(|f| (f.endpoints.clone(), f.settled)),
        }
    }

    /// When the next world is to be published; `None`: nothing has changed.
    pub fn due(&self) -> Option<Moment> {
        self.due
    }

    /// Confirms that a service may lose all its endpoints. False: nothing of it is held.
    pub fn confirm(&mut self, service: &str, now: Moment) -> bool {
        if self.held.remove(service).is_none() {
            return false;
        }
        self.confirmed.insert(service.to_owned());
        self.changed.insert(service.to_owned());
        self.due = Some(now);
        true
    }

    /// The next world, if one is due and differs from the last.
    pub fn publish(&mut self, now: Moment) -> Option<Publication> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        let mut services = self.world.services.clone();
        let mut differing = BTreeSet::new();
        for name in std::mem::take(&mut self.changed) {
            let before = services.get(&name).cloned();
            let next = self.next_state(&name, before.as_deref(), now);
            if before.as_deref() == next.as_ref() {
                continue;
            }
            match next {
                Some(state) => drop(services.insert(name.clone(), Arc::new(state))),
                None => drop(services.remove(&name)),
            }
            differing.insert(name);
        }
        if differing.is_empty() && !std::mem::take(&mut self.unpublished) {
            return None;
        }
        self.unpublished = false;
        self.pushed = Some(now);
        self.world = Arc::new(World { namespace: self.mesh.namespace.clone(), services });
        Some(Publication { world: self.world.clone(), changed: differing })
    }

    /// What is to be published of a service; `None`: it is no part of the mesh any more.
    fn next_state(&mut self, name: &str, before: Option<&ServiceState>, now: Moment) -> Option<ServiceState> {
        let Some(service) = self.mesh.service(name).cloned() else {
            self.held.remove(name);
            self.found.remove(name);
            return None;
        };
        let known = before.map_or(&[][..], |before| &before.endpoints);
        // A source that has said nothing yet takes nothing away.
        let (mut endpoints, settled) = self.endpoints_of(&service).unwrap_or_else(|| (known.to_vec(), false));
        // A lease that has run out is evidence of its own; an empty answer, or an edit, may be a mistake.
        let may_be_mistaken = !matches!(service.endpoints, Endpoints::Registered(_));
        let empties = endpoints.is_empty() && !known.is_empty() && may_be_mistaken;
        if empties && !self.allow_empty && !self.confirmed.contains(name) {
            endpoints = known.to_vec();
            self.held.entry(name.to_owned()).or_insert(Held { since: now, endpoints: endpoints.len() });
        } else {
            self.held.remove(name);
            self.confirmed.remove(name);
        }
        let vips = service
            .client_aliases
            .iter()
            .filter_map(|alias| Some((alias.dns_name.clone(), *self.vips.get(&alias.dns_name)?)))
            .collect();
        Some(ServiceState { service, endpoints, settled, vips })
    }
}

#[cfg(test)]
mod tests;
