//! The resources that a proxy holds, and the services they make.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use bowline_api::model::Endpoint;
use envoy_types::pb::google::protobuf::Any;

use crate::decode::{ClusterSpec, EndpointsFrom, Entry, Routes, Way};
use crate::resource::ResourceType;
use crate::world::ServiceState;

/// A resource as it came, and as it was understood.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    /// Empty for what has taken the place of something removed.
    pub(super) version: String,
    pub(super) any: Any,
    pub(super) value: T,
}

/// A list of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) partial: bool,
}

/// All that is held.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) clusters: BTreeMap<String, Kept<ClusterSpec>>,
    pub(super) endpoints: BTreeMap<String, Kept<Load>>,
    pub(super) listeners: BTreeMap<String, Kept<Entry>>,
    pub(super) routes: BTreeMap<String, Kept<Routes>>,
}

/// The ways to each cluster.
pub(super) type Ways = BTreeMap<String, Vec<Way>>;

impl Store {
    /// A resource is gone. Endpoints that are still asked for become none.
    pub(super) fn remove(&mut self, resource_type: ResourceType, name: &str) {
        match resource_type {
            ResourceType::Cluster => drop(self.clusters.remove(name)),
            ResourceType::Endpoint => {
                let value = Load { endpoints: Vec::new(), partial: false };
                let (any, _) = crate::encode::load::encode(name, &[]);
                let any = Any { type_url: resource_type.type_url().to_owned(), value: any };
                self.endpoints.insert(name.to_owned(), Kept { version: String::new(), any, value });
            }
            ResourceType::Listener => drop(self.listeners.remove(name)),
            ResourceType::Route => drop(self.routes.remove(name)),
        }
    }

    /// Forgets what nobody names.
    pub(super) fn tidy(&mut self) {
        for resource_type in [ResourceType::Endpoint, ResourceType::Route] {
            let wanted: BTreeSet<String> = self.wanted(resource_type).map(str::to_owned).collect();
            match resource_type {
                ResourceType::Endpoint => self.endpoints.retain(|name, _| wanted.contains(name)),
                _ => self.routes.retain(|name, _| wanted.contains(name)),
            }
        }
    }

    /// The names that other resources name; none for the types that are asked for as a whole.
    pub(super) fn wanted(&self, resource_type: ResourceType) -> Box<dyn Iterator<Item = &str> + '_> {
        match resource_type {
            ResourceType::Endpoint => {
                Box::new(self.clusters.values().filter_map(|kept| match &kept.value.endpoints {
                    EndpointsFrom::Resource(name) => Some(name.as_str()),
                    EndpointsFrom::Inline(_) => None,
                }))
            }
            ResourceType::Route => {
                Box::new(self.listeners.values().filter_map(|kept| kept.value.route_name()))
            }
            ResourceType::Cluster | ResourceType::Listener => Box::new(std::iter::empty()),
        }
    }

    /// The names and versions of a type.
    pub(super) fn versions(
        &self,
        resource_type: ResourceType,
    ) -> Box<dyn Iterator<Item = (&str, &str)> + '_> {
        fn of<T>(map: &BTreeMap<String, Kept<T>>) -> Box<dyn Iterator<Item = (&str, &str)> + '_> {
            let all = map.iter().map(|(name, kept)| (name.as_str(), kept.version.as_str()));
            Box::new(all.filter(|(_, version)| !version.is_empty()))
        }
        match resource_type {
            ResourceType::Cluster => of(&self.clusters),
            ResourceType::Endpoint => of(&self.endpoints),
            ResourceType::Listener => of(&self.listeners),
            ResourceType::Route => of(&self.routes),
        }
    }

    pub(super) fn has(&self, resource_type: ResourceType, name: &str) -> bool {
        match resource_type {
            ResourceType::Cluster => self.clusters.contains_key(name),
            ResourceType::Endpoint => self.endpoints.contains_key(name),
            ResourceType::Listener => self.listeners.contains_key(name),
            ResourceType::Route => self.routes.contains_key(name),
        }
    }

    /// There are clusters that aren't from our own control plane.
    pub(super) fn is_foreign(&self) -> bool {
        self.clusters.values().any(|kept| kept.value.control_version.is_none())
    }

    pub(super) fn has_entries(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Where listeners and routes lead. A name and port lead to one place: the first listener's, in the order of names.
    pub(super) fn ways(&self) -> Ways {
        let mut ways = Ways::new();
        let mut taken = BTreeSet::new();
        for kept in self.listeners.values() {
            let named = kept.value.route_name().and_then(|name| self.routes.get(name));
            for way in kept.value.ways(named.map(|kept| &kept.value)) {
                if taken.insert((way.alias.dns_name.clone(), way.alias.port)) {
                    ways.entry(way.cluster.clone()).or_default().push(way);
                }
            }
        }
        ways
    }

    /// The service that a cluster makes; `None`: there is none, or its endpoints have not come.
    pub(super) fn service(&self, name: &str, ways: &Ways) -> Option<ServiceState> {
        let spec = &self.clusters.get(name)?.value;
        let (endpoints, partial) = match &spec.endpoints {
            EndpointsFrom::Inline(endpoints) => (endpoints.clone(), false),
            EndpointsFrom::Resource(name) => {
                let load = &self.endpoints.get(name)?.value;
                (load.endpoints.clone(), load.partial)
            }
        };
        let mut service = spec.service.clone();
        let mut vips: BTreeMap<String, Ipv4Addr> = spec.vips.clone();
        if spec.control_version.is_none() {
            for way in ways.get(name).into_iter().flatten() {
                if let Some(vip) = way.vip {
                    vips.entry(way.alias.dns_name.clone()).or_insert(vip);
                }
                way.clone().add_to(&mut service);
            }
        }
        Some(ServiceState { service, endpoints, settled: !partial, vips })
    }
}
