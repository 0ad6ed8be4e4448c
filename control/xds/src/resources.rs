//! Everything that one kind of client can ask for, encoded, at one revision of the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::encode::around::Around;
use crate::encode::{self, Encoded};
use crate::kind::ClientKind;
use crate::resource::{Resource, ResourceType};
use crate::world::World;

/// For how many changes of the world it is remembered what has changed. Who is further behind looks at everything.
pub const CHANGES_KEPT: usize = 1024;

/// All resources for one kind of client. Immutable; the next revision shares whatever has stayed the same.
#[derive(Clone, Debug)]
pub struct Resources {
    kind: ClientKind,
    stamp: Arc<Stamp>,
    namespace: Arc<str>,
    services: BTreeMap<Arc<str>, Arc<Encoded>>,
    by_type: [BTreeMap<Arc<str>, Entry>; 4],
    changes: VecDeque<Arc<Change>>,
}

/// What tells one `Resources` from all others. Revisions don't: two worlds that grew from one may have the same.
#[derive(Debug)]
pub(crate) struct Stamp {
    revision: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    resource: Arc<Resource>,
    /// `None` for what belongs to all services together.
    service: Option<Arc<str>>,
}

/// What one revision changed against another.
#[derive(Debug)]
struct Change {
    since: Arc<Stamp>,
    names: Vec<(ResourceType, Arc<str>)>,
}

impl Resources {
    /// The resources of `world` for clients of this kind. `revision` is higher than that of `previous`; what has not
    /// changed since `previous` is taken from it: a service isn't encoded again for which, and for those that it leads to,
    /// the world holds the same [`Arc`].
    #[must_use]
    pub fn build(kind: ClientKind, revision: u64, world: &World, previous: Option<&Resources>) -> Resources {
        let namespace: Arc<str> = match previous {
            Some(before) if *before.namespace == *world.namespace => before.namespace.clone(),
            _ => world.namespace.as_str().into(),
        };
        // A namespace is part of each service for our own proxies.
        let before = previous.filter(|before| before.kind == kind && before.namespace == namespace);
        let mut next = Resources {
            kind,
            stamp: Arc::new(Stamp { revision }),
            namespace,
            services: BTreeMap::new(),
            by_type: before.map(|before| before.by_type.clone()).unwrap_or_default(),
            changes: VecDeque::new(),
        };
        let mut names = Vec::new();
        let mut shared_part_changed = before.is_none();
        let asked = encode::around::asked(kind, world);
        for (name, state) in &world.services {
            let around = Around::of(kind, &state.service, world, &asked);
            let known = before.and_then(|before| before.services.get_key_value(name.as_str()));
            let (name, encoded) = match known {
                Some((name, known)) if Arc::ptr_eq(&known.state, state) && known.around == around => {
                    (name.clone(), known.clone())
                }
                Some((name, known)) => {
                    let encoded = encode::service(kind, &next.namespace, state, around);
                    shared_part_changed |= encoded.hosts != known.hosts;
                    next.replace(name, &known.resources, &encoded.resources, &mut names);
                    (name.clone(), Arc::new(encoded))
                }
                None => {
                    let name: Arc<str> = name.as_str().into();
                    let encoded = encode::service(kind, &next.namespace, state, around);
                    shared_part_changed |= !encoded.hosts.is_empty();
                    next.replace(&name, &[], &encoded.resources, &mut names);
                    (name, Arc::new(encoded))
                }
            };
            next.services.insert(name, encoded);
        }
        for (name, encoded) in before.iter().flat_map(|before| &before.services) {
            if !next.services.contains_key(name) {
                shared_part_changed |= !encoded.hosts.is_empty();
                next.replace(name, &encoded.resources, &[], &mut names);
            }
        }
        if shared_part_changed {
            let hosts: Vec<_> = next.services.values().map(|encoded| &encoded.hosts).collect();
            for resource in encode::shared_part(kind, &hosts) {
                next.put(None, Arc::new(resource), &mut names);
            }
        }
        if let Some(before) = before {
            // An unchanged name can be there twice: it has moved from one service to another.
            names.sort_unstable();
            names.dedup();
            next.changes.clone_from(&before.changes);
            next.changes.push_back(Arc::new(Change { since: before.stamp.clone(), names }));
            while next.changes.len() > CHANGES_KEPT {
                next.changes.pop_front();
            }
        }
        next
    }

    /// For whom.
    #[must_use]
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// The revision of the world that it shows.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.stamp.revision
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.by_type[resource_type.index()].get(name).map(|entry| &entry.resource)
    }

    /// All resources of a type, in the order of their names.
    pub fn all(&self, resource_type: ResourceType) -> impl ExactSizeIterator<Item = &Arc<Resource>> {
        self.by_type[resource_type.index()].values().map(|entry| &entry.resource)
    }

    /// The `discoveryName` of the service that a resource belongs to; `None` where there is no such resource, or it
    /// belongs to all.
    #[must_use]
    pub fn service_of(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<str>> {
        self.by_type[resource_type.index()].get(name)?.service.as_ref()
    }

    /// The services whose resources are not those of `before`: who is subscribed to one of them has something to look
    /// at. `None`: all may have changed.
    #[must_use]
    pub fn services_changed_since(&self, before: &Resources) -> Option<BTreeSet<Arc<str>>> {
        let mut services = BTreeSet::new();
        for (resource_type, name) in self.changes_since(&before.stamp)? {
            let at = |resources: &Resources| resources.service_of(*resource_type, name).cloned();
            services.extend(at(self).or_else(|| at(before)));
        }
        Some(services)
    }

    pub(crate) fn stamp(&self) -> &Arc<Stamp> {
        &self.stamp
    }

    /// What has changed since; `None`: nobody knows any more.
    pub(crate) fn changes_since(
        &self,
        since: &Arc<Stamp>,
    ) -> Option<impl Iterator<Item = &(ResourceType, Arc<str>)>> {
        let first = if Arc::ptr_eq(since, &self.stamp) {
            self.changes.len()
        } else {
            let first = self.changes.partition_point(|change| change.since.revision < since.revision);
            let known = self.changes.get(first).is_some_and(|change| Arc::ptr_eq(&change.since, since));
            known.then_some(first)?
        };
        Some(self.changes.iter().skip(first).flat_map(|change| &change.names))
    }

    /// Takes the resources of a service out and puts its new ones in.
    fn replace(
        &mut self,
        service: &Arc<str>,
        old: &[Arc<Resource>],
        new: &[Arc<Resource>],
        names: &mut Vec<(ResourceType, Arc<str>)>,
    ) {
        for resource in old {
            let stays =
                new.iter().any(|n| n.resource_type == resource.resource_type && n.name == resource.name);
            let map = &mut self.by_type[resource.resource_type.index()];
            // It may be another service's by now.
            let own = map.get(&resource.name).is_some_and(|entry| entry.service.as_ref() == Some(service));
            if own && !stays {
                map.remove(&resource.name);
                names.push((resource.resource_type, resource.name.clone()));
            }
        }
        for resource in new {
            self.put(Some(service), resource.clone(), names);
        }
    }

    fn put(
        &mut self,
        service: Option<&Arc<str>>,
        resource: Arc<Resource>,
        names: &mut Vec<(ResourceType, Arc<str>)>,
    ) {
        let (resource_type, name) = (resource.resource_type, resource.name.clone());
        let map = &mut self.by_type[resource_type.index()];
        let before = map.get(&name).map(|entry| &entry.resource);
        let same = before.filter(|old| (old.hash, old.partial) == (resource.hash, resource.partial)).cloned();
        if same.is_none() {
            names.push((resource_type, name.clone()));
        }
        let entry = Entry { resource: same.unwrap_or(resource), service: service.cloned() };
        map.insert(name, entry);
    }
}

#[cfg(test)]
mod tests;
