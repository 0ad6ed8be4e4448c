//! The proxy's whole view of the mesh: immutable, made off the data path, swapped at once.
//!
//! What must outlive a swap (counters, ejections, the retry budget) is shared: a new snapshot takes it over from the
//! one before for every service and endpoint that stays.

mod checked;
mod entry;
mod hashing;
mod here;
mod policy;
mod published;
pub mod rules;
mod service;
mod shared;
mod shares;
mod variants;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bowline_api::model::{self, Mesh};
use bowline_core::Tick;

pub use checked::{Checked, LastCheck};
pub use entry::Entry;
pub use hashing::{Cookie, HashKey, Hashing, hash_address};
pub use here::Here;
pub use policy::Policy;
pub use published::Published;
pub use service::{Alias, Found, Origin, Service};
pub use shared::{Endpoint, Hedges, SharedEndpoint, SharedService};
pub use shares::{LevelShare, Shares, Spread};
pub use variants::{Labels, test_labels, variant_key};

use self::variants::Choice;

/// The mesh at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// 1 for the first mesh of the process, one more with each that follows.
    pub generation: u64,
    /// The namespace.
    pub namespace: String,
    /// What it was made from, for those who ask what is in force.
    pub mesh: Arc<Mesh>,
    /// All services, in the mesh file's order.
    pub services: Vec<Arc<Service>>,
    /// Services narrowed to endpoints with certain labels, where a route or a rule for test traffic leads to them.
    pub variants: Vec<Arc<Service>>,
    /// Services whose traffic an operator has sent straight through; they need not be in the mesh at the moment.
    pub bypassed: Arc<BTreeSet<String>>,
    /// `dnsName:port`, in lower case, to the index of its service.
    pub authorities: Arc<HashMap<String, usize>>,
    /// Why there is no mesh at all, in words; `None`: there is one.
    pub absent: Option<String>,
}

impl Snapshot {
    /// The snapshot of a mesh that has been checked. `vips` has an address for every dnsName, `found` the endpoints of
    /// the services that do not list them; services and endpoints that `previous` had too keep their shared state.
    pub fn new(
        mesh: Mesh,
        vips: &BTreeMap<String, Ipv4Addr>,
        found: &BTreeMap<String, Found>,
        previous: Option<&Snapshot>,
        now: Tick,
    ) -> Self {
        let bypassed = previous.map_or_else(Arc::default, |p| p.bypassed.clone());
        let services: Vec<_> = mesh
            .services
            .iter()
            .map(|service| {
                let name = &service.discovery_name;
                let before = previous.and_then(|p| p.services.iter().find(|s| s.name == *name));
                let (found, bypassed) = (found.get(name), bypassed.contains(name));
                let made = Service::new(service, bypassed, vips, found, before.map(AsRef::as_ref), now);
                Arc::new(made.with_rules(service, &mesh, before.map(AsRef::as_ref)))
            })
            .collect();
        let variants = variants(&mesh, &services, |_| None);
        let authorities = services
            .iter()
            .enumerate()
            .flat_map(|(index, service)| {
                service.aliases.iter().map(move |alias| (format!("{}:{}", alias.dns_name, alias.port), index))
            })
            .collect();
        Snapshot {
            generation: previous.map_or(1, |p| p.generation + 1),
            namespace: mesh.namespace.clone(),
            mesh: Arc::new(mesh),
            services,
            variants,
            bypassed,
            authorities: Arc::new(authorities),
            absent: None,
        }
    }

    /// No mesh at all, and why.
    pub fn absent(namespace: &str, why: String, now: Tick) -> Self {
        let mesh = Mesh { namespace: namespace.to_owned(), services: Vec::new() };
        let empty = Snapshot::new(mesh, &BTreeMap::new(), &BTreeMap::new(), None, now);
        Snapshot { absent: Some(why), ..empty }
    }

    /// The same mesh in which these services, named in `changed`, have got other endpoints. All others are taken
    /// over as they are.
    pub fn with_endpoints(
        previous: &Snapshot,
        changed: &BTreeSet<String>,
        vips: &BTreeMap<String, Ipv4Addr>,
        found: &BTreeMap<String, Found>,
        now: Tick,
    ) -> Self {
        Self::remade(previous, changed, previous.bypassed.clone(), vips, found, now)
    }

    /// The same mesh in which this service is bypassed, or no more.
    pub fn with_bypass(
        previous: &Snapshot,
        service: &str,
        on: bool,
        vips: &BTreeMap<String, Ipv4Addr>,
        found: &BTreeMap<String, Found>,
        now: Tick,
    ) -> Self {
        let mut bypassed = (*previous.bypassed).clone();
        match on {
            true => bypassed.insert(service.to_owned()),
            false => bypassed.remove(service),
        };
        let changed = BTreeSet::from([service.to_owned()]);
        Self::remade(previous, &changed, Arc::new(bypassed), vips, found, now)
    }

    fn remade(
        previous: &Snapshot,
        changed: &BTreeSet<String>,
        bypassed: Arc<BTreeSet<String>>,
        vips: &BTreeMap<String, Ipv4Addr>,
        found: &BTreeMap<String, Found>,
        now: Tick,
    ) -> Self {
        let next = |(service, before): (&model::Service, &Arc<Service>)| {
            let name = &before.name;
            match changed.contains(name) {
                true => {
                    let (bypassed, found) = (bypassed.contains(name), found.get(name));
                    let made = Service::new(service, bypassed, vips, found, Some(before), now);
                    Arc::new(made.with_rules(service, &previous.mesh, Some(before)))
                }
                false => before.clone(),
            }
        };
        // In the same order: the snapshot was made from the mesh.
        let services: Vec<_> = previous.mesh.services.iter().zip(&previous.services).map(next).collect();
        let kept = |key: &str| {
            let variant = previous.variants.iter().find(|variant| variant.key == key);
            variant.filter(|variant| !changed.contains(&variant.name)).cloned()
        };
        let variants = variants(&previous.mesh, &services, kept);
        Snapshot {
            generation: previous.generation + 1,
            namespace: previous.namespace.clone(),
            services,
            variants,
            authorities: previous.authorities.clone(),
            mesh: previous.mesh.clone(),
            absent: previous.absent.clone(),
            bypassed,
        }
    }

    /// The service with this alias.
    pub fn by_authority(&self, authority: &str) -> Option<&Arc<Service>> {
        self.authorities.get(authority).map(|index| &self.services[*index])
    }

    /// Why no service has this authority, in one line that names what the caller may have meant.
    pub fn why_unknown(&self, authority: &str) -> String {
        if let Some(why) = &self.absent {
            return format!("{authority}: {why}");
        }
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let ports: Vec<_> = self
            .services
            .iter()
            .flat_map(|service| &service.aliases)
            .filter(|alias| alias.dns_name == host)
            .map(|alias| alias.port.to_string())
            .collect();
        if !ports.is_empty() {
            return format!(
                "{authority} is no alias of namespace {}; {host} is there with port {}",
                self.namespace,
                ports.join(", ")
            );
        }
        match bowline_api::nearest(authority, self.authorities.keys().map(String::as_str)) {
            Some(nearest) => {
                format!("{authority} is no alias of namespace {}; did you mean {nearest}?", self.namespace)
            }
            None => format!("{authority} is no alias of namespace {}", self.namespace),
        }
    }

    /// Whether an authority that no service has is of another world: neither under the namespace, nor with a host that
    /// the mesh knows with another port.
    pub fn is_outside(&self, authority: &str) -> bool {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let namespace = self.namespace.to_ascii_lowercase();
        let under =
            host.strip_suffix(namespace.as_str()).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
        let known =
            self.services.iter().flat_map(|service| &service.aliases).any(|alias| alias.dns_name == host);
        !under && !known
    }

    /// The same with these services beside its own, for whoever looks at all of them.
    pub fn beside(&self, more: Vec<Arc<Service>>) -> Snapshot {
        Snapshot {
            generation: self.generation,
            namespace: self.namespace.clone(),
            mesh: self.mesh.clone(),
            services: self.services.iter().cloned().chain(more).collect(),
            variants: self.variants.clone(),
            bypassed: self.bypassed.clone(),
            authorities: self.authorities.clone(),
            absent: self.absent.clone(),
        }
    }

    /// The address that stands for a name, which is in lower case.
    pub fn vip_of(&self, dns_name: &str) -> Option<Ipv4Addr> {
        let mut aliases = self.services.iter().flat_map(|service| &service.aliases);
        aliases.find(|alias| alias.dns_name == dns_name).map(|alias| alias.vip)
    }

    /// Where VIP listeners are wanted.
    pub fn vip_listeners(&self) -> impl Iterator<Item = (SocketAddr, &str)> {
        self.services
            .iter()
            .flat_map(|s| &s.aliases)
            .map(|alias| (SocketAddr::from((alias.vip, alias.port)), alias.dns_name.as_str()))
    }
}

/// The variants of these services that the mesh calls for. `kept` has those that can stay as they are.
fn variants(
    mesh: &Mesh,
    services: &[Arc<Service>],
    kept: impl Fn(&str) -> Option<Arc<Service>>,
) -> Vec<Arc<Service>> {
    let wanted = variants::wanted(mesh);
    let mut all = Vec::new();
    // In the same order.
    for (model, service) in mesh.services.iter().zip(services) {
        for labels in wanted.get(service.name.as_str()).into_iter().flatten() {
            let key = variant_key(&service.name, labels);
            let lb = &model.load_balancing;
            let made = || Arc::new(service.narrowed(&key, lb, &Choice::with(model, labels.clone())));
            all.push(kept(&key).unwrap_or_else(made));
        }
    }
    all
}

#[cfg(test)]
mod tests;
