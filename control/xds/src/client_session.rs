//! The proxy's side: what it has asked for, what it has got, and the world that it makes.
//!
//! One session lives as long as the proxy, over as many streams as it takes: a new stream begins with what is held, and
//! only what differs is sent again. A resource that can't be taken is refused by name, keeps its last good version, and
//! takes no other with it.

mod held;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Wrapped,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::rpc::Status;

pub use self::held::{Held, HeldResource};
use self::store::Store;
use crate::decode;
use crate::encode::load as encode_load;
use crate::message::{METADATA, PARTIAL};
use crate::node::NodeInfo;
use crate::resource::ResourceType;
use crate::server_session::MORE;
use crate::world::{ServiceState, World};

/// gRPC's code for what is refused.
const INVALID_ARGUMENT: i32 = 3;
/// How much of all complaints is sent, in bytes.
const COMPLAINT_BYTES: usize = 4096;

/// What a proxy wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// All services of its namespace.
    Namespace,
    /// These, by `discoveryName`, and those that their routes and fallbacks lead to.
    Services(BTreeSet<String>),
}

/// A proxy's view of a control plane.
#[derive(Debug)]
pub struct ClientSession {
    node: NodeInfo,
    subscription: Subscription,
    store: Store,
    services: BTreeMap<String, Arc<ServiceState>>,
    rejected: BTreeMap<(ResourceType, String), String>,
    /// By type: a first full answer has come, on whatever stream.
    answered: [bool; 4],
    /// On this stream: what was asked for by name. `None`: nothing of that type yet.
    asked: [Option<BTreeSet<String>>; 4],
}

/// What came of a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What to send, in this order.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// The services that are not as they were: changed, new or gone.
    pub changed: BTreeSet<String>,
    /// What was refused.
    pub rejected: Vec<Rejected>,
    /// What was left out of resources that were taken, in words.
    pub ignored: Vec<String>,
}

/// A resource that couldn't be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {}", self.resource_type, self.name, self.why)
    }
}

impl ClientSession {
    /// For a proxy that has nothing yet.
    #[must_use]
    pub fn new(node: NodeInfo, subscription: Subscription) -> Self {
        ClientSession {
            node,
            subscription,
            store: Store::default(),
            services: BTreeMap::new(),
            rejected: BTreeMap::new(),
            answered: [false; 4],
            asked: [const { None }; 4],
        }
    }

    /// A new stream has opened: what to send first. What was under way on an older one is lost.
    pub fn connected(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.asked = [const { None }; 4];
        let clusters = self.named();
        let mut requests = Vec::new();
        // Nobody asked for is not everybody: no list would mean that.
        if self.subscription == Subscription::Namespace || !clusters.is_empty() {
            requests.push(self.first(ResourceType::Cluster, clusters));
            requests.extend(self.ask(ResourceType::Endpoint));
            requests.push(self.first(ResourceType::Listener, BTreeSet::new()));
            requests.extend(self.ask(ResourceType::Route));
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.to_node());
        }
        requests
    }

    /// A response has come.
    pub fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Step {
        let mut step = Step::default();
        let Some(resource_type) = ResourceType::of_url(&response.type_url) else {
            let why = format!("nobody asked for resources of type {:?}", response.type_url);
            step.requests.push(answer(response.type_url, response.nonce, Some(why)));
            return step;
        };
        let mut touched = BTreeSet::new();
        for wrapped in response.resources {
            let name = wrapped.name.clone();
            match self.take(resource_type, wrapped, &mut step.ignored) {
                Ok(()) => drop(self.rejected.remove(&(resource_type, name.clone()))),
                Err(why) => {
                    self.rejected.insert((resource_type, name.clone()), why.clone());
                    step.rejected.push(Rejected { resource_type, name: name.clone(), why });
                }
            }
            touched.insert(name);
        }
        for name in response.removed_resources {
            self.rejected.remove(&(resource_type, name.clone()));
            self.store.remove(resource_type, &name);
            touched.insert(name);
        }
        if !response.system_version_info.ends_with(MORE) {
            self.answered[resource_type.index()] = true;
        }
        step.changed = self.reckon(resource_type, &touched);
        // What is new is asked for before the old is acknowledged, so that nothing comes in between.
        step.requests.extend(self.ask_clusters(&mut step.changed));
        step.requests.extend(self.ask(ResourceType::Endpoint));
        step.requests.extend(self.ask(ResourceType::Route));
        let complaint = (!step.rejected.is_empty()).then(|| complaint(&step.rejected));
        step.requests.push(answer(response.type_url, response.nonce, complaint));
        step
    }

    /// The world as of now. A service whose endpoints have not come yet isn't in it.
    #[must_use]
    pub fn world(&self) -> World {
        World { namespace: self.node.namespace.clone(), services: self.services.clone() }
    }

    /// One service as of now.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<ServiceState>> {
        self.services.get(name)
    }

    /// A first full set has come from a control plane, or was restored: all that was asked for, and there is. True from
    /// then on, as long as no resource is missing that others name.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let nothing = matches!(&self.subscription, Subscription::Services(names) if names.is_empty());
        if nothing {
            return true;
        }
        let answered = |resource_type: ResourceType| self.answered[resource_type.index()];
        answered(ResourceType::Cluster)
            && self.has_all(ResourceType::Endpoint)
            && (!self.store.is_foreign()
                || (answered(ResourceType::Listener) && self.has_all(ResourceType::Route)))
    }

    /// What is refused at the moment.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        let rejected = self.rejected.iter();
        rejected
            .map(|((resource_type, name), why)| Rejected {
                resource_type: *resource_type,
                name: name.clone(),
                why: why.clone(),
            })
            .collect()
    }

    /// The version of the control plane, if it is ours.
    #[must_use]
    pub fn control_version(&self) -> Option<&str> {
        self.store.clusters.values().find_map(|kept| kept.value.control_version.as_deref())
    }

    /// Everything that is held, to be kept for the next start.
    #[must_use]
    pub fn held(&self) -> Held {
        self.store.held(&self.node.namespace)
    }

    /// Takes back what was held at an earlier time, before the first stream. What can't be read is told, and left out.
    pub fn restore(&mut self, held: Held) -> Vec<Rejected> {
        let rejected = self.store.restore(held, &self.node.namespace);
        if !self.store.clusters.is_empty() {
            // A control plane that finds them unchanged need not say a word about them.
            self.answered = [true; 4];
        }
        self.reckon_all();
        rejected
    }

    fn has_all(&self, resource_type: ResourceType) -> bool {
        let mut wanted = self.store.wanted(resource_type);
        let refused = |name: &str| self.rejected.contains_key(&(resource_type, name.to_owned()));
        wanted.all(|name| self.store.has(resource_type, name) || refused(name))
    }

    fn take(
        &mut self,
        resource_type: ResourceType,
        wrapped: Wrapped,
        ignored: &mut Vec<String>,
    ) -> Result<(), String> {
        let Wrapped { name, version, resource, metadata, .. } = wrapped;
        let mut any = resource.ok_or("it is empty")?;
        let store = &mut self.store;
        match resource_type {
            ResourceType::Cluster => {
                let spec = decode::cluster(&any, &name, &self.node.namespace)?;
                ignored.extend(spec.ignored.iter().map(|what| format!("{name}: {what}")));
                store.clusters.insert(name, store::Kept { version, any, value: spec });
            }
            ResourceType::Endpoint => {
                let mut endpoints = decode::load(&any, &name)?;
                let partial = metadata.is_some_and(|metadata| {
                    let fields = metadata.filter_metadata.get(METADATA).map(|ours| &ours.fields);
                    let value =
                        fields.and_then(|fields| fields.get(PARTIAL)).and_then(|value| value.kind.as_ref());
                    value == Some(&Kind::BoolValue(true))
                });
                if partial && let Some(known) = store.endpoints.get(&name) {
                    let new: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
                    let others =
                        known.value.endpoints.iter().filter(|endpoint| !new.contains(&endpoint.address));
                    endpoints.extend(others.cloned());
                    endpoints.sort_by_key(|endpoint| endpoint.address);
                    any.value = encode_load::encode(&name, &endpoints).0;
                }
                let value = store::Load { endpoints, partial };
                store.endpoints.insert(name, store::Kept { version, any, value });
            }
            ResourceType::Listener => {
                let value = decode::listener(&any, &name)?;
                store.listeners.insert(name, store::Kept { version, any, value });
            }
            ResourceType::Route => {
                let value = decode::routes(&any, &name)?;
                store.routes.insert(name, store::Kept { version, any, value });
            }
        }
        Ok(())
    }

    /// Makes services anew, after resources have changed; returns those that are not as they were.
    fn reckon(&mut self, resource_type: ResourceType, touched: &BTreeSet<String>) -> BTreeSet<String> {
        self.store.tidy();
        for named in [ResourceType::Endpoint, ResourceType::Route] {
            if self.rejected.keys().any(|(of, _)| *of == named) {
                let wanted: BTreeSet<&str> = self.store.wanted(named).collect();
                self.rejected.retain(|(of, name), _| *of != named || wanted.contains(name.as_str()));
            }
        }
        if self.store.has_entries() || self.store.is_foreign() {
            return self.reckon_all();
        }
        // Ours name their endpoints as they are named themselves.
        let mut changed = BTreeSet::new();
        if matches!(resource_type, ResourceType::Cluster | ResourceType::Endpoint) {
            for name in touched {
                let next = self.store.service(name, &BTreeMap::new());
                self.set(name, next, &mut changed);
            }
        }
        changed
    }

    fn reckon_all(&mut self) -> BTreeSet<String> {
        let ways = self.store.ways();
        let mut names: BTreeSet<String> = self.services.keys().cloned().collect();
        names.extend(self.store.clusters.keys().cloned());
        let mut changed = BTreeSet::new();
        for name in names {
            let next = self.store.service(&name, &ways);
            self.set(&name, next, &mut changed);
        }
        changed
    }

    fn set(&mut self, name: &str, next: Option<ServiceState>, changed: &mut BTreeSet<String>) {
        let before = self.services.get(name).map(|state| &**state);
        if before == next.as_ref() {
            return;
        }
        changed.insert(name.to_owned());
        match next {
            Some(state) => drop(self.services.insert(name.to_owned(), Arc::new(state))),
            None => drop(self.services.remove(name)),
        }
    }

    /// The first request of a type on a stream, with what is held of it.
    fn first(&mut self, resource_type: ResourceType, names: BTreeSet<String>) -> DeltaDiscoveryRequest {
        let held = self.store.versions(resource_type);
        let wildcard = names.is_empty();
        let versions = held.filter(|(name, _)| wildcard || names.contains(*name));
        let mut initial_resource_versions: HashMap<String, String> =
            versions.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
        // What was refused is asked for again, whatever it is by now: also if it is what is held.
        let refused = self
            .rejected
            .keys()
            .filter(|(of, name)| *of == resource_type && (wildcard || names.contains(name)));
        initial_resource_versions.extend(refused.map(|(_, name)| (name.clone(), String::new())));
        let request = DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: names.iter().cloned().collect(),
            initial_resource_versions,
            ..DeltaDiscoveryRequest::default()
        };
        self.asked[resource_type.index()] = Some(names);
        request
    }

    /// The services that are asked for by name.
    fn named(&self) -> BTreeSet<String> {
        let Subscription::Services(names) = &self.subscription else { return BTreeSet::new() };
        let mut all = names.clone();
        let mut new: Vec<String> = names.iter().cloned().collect();
        while let Some(kept) = new.pop().map(|name| self.store.clusters.get(&name)) {
            let led_to = kept.iter().flat_map(|kept| kept.value.service.leads_to());
            new.extend(led_to.filter(|name| all.insert((*name).to_owned())).map(str::to_owned));
        }
        all
    }

    /// Asks for the services that those asked for lead to, and lets go of those that none does any more.
    fn ask_clusters(&mut self, changed: &mut BTreeSet<String>) -> Option<DeltaDiscoveryRequest> {
        if self.subscription == Subscription::Namespace {
            return None;
        }
        let wanted = self.named();
        let asked = self.asked[ResourceType::Cluster.index()].as_ref().filter(|asked| **asked != wanted)?;
        let gone: BTreeSet<String> = asked.difference(&wanted).cloned().collect();
        let request = DeltaDiscoveryRequest {
            type_url: ResourceType::Cluster.type_url().to_owned(),
            resource_names_subscribe: wanted.difference(asked).cloned().collect(),
            resource_names_unsubscribe: gone.iter().cloned().collect(),
            ..DeltaDiscoveryRequest::default()
        };
        for name in &gone {
            self.store.remove(ResourceType::Cluster, name);
            self.rejected.remove(&(ResourceType::Cluster, name.clone()));
        }
        self.asked[ResourceType::Cluster.index()] = Some(wanted);
        changed.extend(self.reckon(ResourceType::Cluster, &gone));
        Some(request)
    }

    /// Asks for what others name, and for nothing else any more; `None` where that is asked for already.
    fn ask(&mut self, resource_type: ResourceType) -> Option<DeltaDiscoveryRequest> {
        let wanted: BTreeSet<String> = self.store.wanted(resource_type).map(str::to_owned).collect();
        let Some(asked) = &self.asked[resource_type.index()] else {
            return (!wanted.is_empty()).then(|| self.first(resource_type, wanted));
        };
        if *asked == wanted {
            return None;
        }
        let request = DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: wanted.difference(asked).cloned().collect(),
            resource_names_unsubscribe: asked.difference(&wanted).cloned().collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.asked[resource_type.index()] = Some(wanted);
        Some(request)
    }
}

/// Takes a response, or refuses it.
fn answer(type_url: String, nonce: String, complaint: Option<String>) -> DeltaDiscoveryRequest {
    let status = |message| Status { code: INVALID_ARGUMENT, message, details: Vec::new() };
    DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        error_detail: complaint.map(status),
        ..DeltaDiscoveryRequest::default()
    }
}

fn complaint(rejected: &[Rejected]) -> String {
    let mut text = String::new();
    for (index, one) in rejected.iter().enumerate() {
        let line = one.to_string();
        if index > 0 && text.len() + line.len() > COMPLAINT_BYTES {
            text.push_str(&format!("; and {} more", rejected.len() - index));
            break;
        }
        if index > 0 {
            text.push_str("; ");
        }
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests;
