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
mod shares;
mod variants;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bowline_api::model::{self, AppProtocol, Endpoints, Mesh};
use bowline_core::Tick;
use bowline_core::budget::RetryBudget;
use bowline_core::health::Health;
use bowline_core::outlier::{EndpointHealth, Outlier};

pub use checked::{Checked, LastCheck};
pub use entry::Entry;
pub use hashing::{Cookie, HashKey, Hashing, hash_address};
pub use here::Here;
pub use policy::Policy;
pub use published::Published;
pub use shares::{LevelShare, Shares, Spread};
pub use variants::{Labels, test_labels, variant_key};

use self::rules::{RouteCounts, Rules};
use self::shares::Groups;
use self::variants::{Choice, Chosen};
use crate::access::Access;
use crate::guard::{BreakerPlace, EndpointBreakers, Guards};
use crate::limiter::Limiter;
use crate::telemetry::dns::DnsStatus;
use crate::telemetry::exemplars::Exemplars;
use crate::telemetry::metrics::{ByReason, EndpointCounters, PerWorker, ServiceCounters};

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

/// One service with everything that a request to it needs.
#[derive(Debug)]
pub struct Service {
    /// Its `discoveryName`.
    pub name: String,
    /// The same, and for a variant with its labels: see [`variant_key`].
    pub key: String,
    /// What it speaks; `None`: the same as the app.
    pub protocol: Option<AppProtocol>,
    /// What apps dial.
    pub aliases: Vec<Alias>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Endpoints that it has not, because it is narrowed to those with certain labels.
    pub left_out: Vec<Endpoint>,
    /// Why it has no endpoint, where that is because it is narrowed.
    why_none: Option<String>,
    /// How requests to it are handled.
    pub policy: Policy,
    /// What its routes say; `None`: it has none.
    pub rules: Option<Arc<Rules>>,
    /// What it asks of those who call, where their requests come in. An operator's bypass doesn't open the door.
    pub access: Option<Arc<Access>>,
    /// What it leads to where it is an ingress.
    pub entry: Arc<Entry>,
    /// How a key finds its endpoint, with a policy that hashes.
    pub hashing: Option<Hashing>,
    /// Levels and zones, where they have a say.
    groups: Option<Groups>,
    /// An operator wants this proxy out of the way: [`Service::policy`] has nothing in it, and a connection to its VIP
    /// is passed on byte by byte.
    pub bypassed: bool,
    /// Who is ejected.
    pub outlier: Outlier,
    /// What a request has to pass; `None`: nothing.
    pub guards: Option<Arc<Guards>>,
    /// Whose endpoints may be asked, where they have breakers.
    pub endpoint_breakers: Option<Arc<EndpointBreakers>>,
    /// How many retries it may bear.
    pub budget: Arc<RetryBudget>,
    /// What outlives this snapshot.
    pub shared: Arc<SharedService>,
    /// Where its endpoints are known from.
    pub origin: Origin,
}

/// Where a service's endpoints are known from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The mesh file lists them.
    MeshFile,
    /// A DNS name, and how its look-ups go.
    Dns(Arc<DnsStatus>),
    /// The control plane.
    Control,
    /// They come from the control plane, and this proxy runs without one.
    Nowhere,
}

/// The endpoints that a service has now, where they are not in the mesh file.
#[derive(Clone, Debug)]
pub struct Found {
    /// The endpoints.
    pub endpoints: Arc<[model::Endpoint]>,
    /// Where they are known from.
    pub origin: Origin,
}

/// A name and port that apps dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// In lower case.
    pub dns_name: String,
    /// The port.
    pub port: u16,
    /// The address that stands for the name.
    pub vip: Ipv4Addr,
}

/// One endpoint in a snapshot.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What outlives this snapshot.
    pub shared: Arc<SharedEndpoint>,
    /// Its share of the traffic; 0: no new requests.
    pub weight: u32,
    /// Its zone.
    pub zone: Option<String>,
    /// Its level; the lowest number is used first.
    pub priority: u32,
    /// Its labels.
    pub metadata: Arc<Labels>,
}

/// What all workers and all snapshots share of a service.
#[derive(Debug, Default)]
pub struct SharedService {
    /// Its name.
    pub name: String,
    /// What the workers count.
    pub counters: PerWorker<ServiceCounters>,
    /// Attempts without an answer, by what went wrong.
    pub attempt_failures: ByReason,
    /// Retries by what had gone wrong.
    pub retries: ByReason,
    /// Failed attempts that were not tried again, by why not.
    pub retries_refused: ByReason,
    /// Requests answered by the proxy itself, by reason.
    pub local_responses: ByReason,
    /// Callers who were turned away, by why.
    pub access_refused: ByReason,
    /// Active health checks by what came of them: ok, failed or timeout.
    pub health_checks: ByReason,
    /// Of its latencies, those whose traces can be looked up.
    pub exemplars: Exemplars,
    /// How much of it may be in use at a time, and who waits.
    pub limiter: Arc<Limiter>,
    /// What is counted of its routes.
    pub routes: RouteCounts,
    /// Another number after each change of a breaker of its endpoints.
    pub breaker_epoch: Arc<AtomicU64>,
    /// Second attempts that were sent beside a slow first one, and how many of them answered first.
    pub hedges: Hedges,
}

/// What all workers and all snapshots share of an endpoint.
#[derive(Debug)]
pub struct SharedEndpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Failures in a row, ejection.
    pub health: Arc<EndpointHealth>,
    /// What active health checks say.
    pub checked: Checked,
    /// What the workers count.
    pub counters: PerWorker<EndpointCounters>,
    /// Times it was ejected.
    pub ejections: AtomicU64,
    /// Its circuit breaker, if it has one.
    pub breaker: BreakerPlace,
}

/// Counts of hedging.
#[derive(Debug, Default)]
pub struct Hedges {
    /// Second attempts.
    pub sent: AtomicU64,
    /// Those whose answer came first.
    pub won: AtomicU64,
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

impl Service {
    /// The app behind this proxy, as a service with one endpoint: nothing of it is timed, ejected, or tried again but what
    /// has not reached it, or was cut off by a connection that had been idle.
    pub fn of_app(addr: SocketAddr, protocol: Option<AppProtocol>, now: Tick) -> Self {
        let endpoint = model::Endpoint {
            address: addr,
            weight: 1,
            zone: None,
            priority: 0,
            metadata: BTreeMap::default(),
        };
        let endpoints = Endpoints::Static(vec![endpoint]);
        let mut model = model::Service::new(format!("inbound:{}", addr.port()), endpoints);
        model.app_protocol = protocol;
        let mut service = Service::new(&model, false, &BTreeMap::new(), None, None, now);
        service.policy = Policy::of_app(&model);
        service.outlier = Outlier::new(service.policy.outlier, now, std::iter::empty());
        service
    }

    fn new(
        model: &model::Service,
        bypassed: bool,
        vips: &BTreeMap<String, Ipv4Addr>,
        found: Option<&Found>,
        before: Option<&Service>,
        now: Tick,
    ) -> Self {
        let policy = if bypassed { Policy::bypassed(model) } else { Policy::new(model) };
        let shared = before.map_or_else(
            || Arc::new(SharedService { name: model.discovery_name.clone(), ..SharedService::default() }),
            |before| before.shared.clone(),
        );
        shared.limiter.set(model.limits.as_ref().filter(|_| !bypassed));
        let known: HashMap<SocketAddr, &Arc<SharedEndpoint>> =
            before.iter().flat_map(|b| b.all_endpoints()).map(|e| (e.shared.addr, &e.shared)).collect();
        let newcomer = |address| {
            let new = SharedEndpoint::new(address);
            // Where the service itself is new, nobody else is there to carry a share.
            if before.is_some_and(|before| before.all_endpoints().next().is_some()) {
                new.checked.begin(now);
            }
            new
        };
        let all: Vec<_> = found
            .map_or(model.endpoints.static_endpoints(), |found| &*found.endpoints)
            .iter()
            .map(|endpoint| {
                let known = known.get(&endpoint.address).copied();
                Endpoint {
                    shared: known.map_or_else(|| newcomer(endpoint.address), Arc::clone),
                    weight: endpoint.weight,
                    zone: endpoint.zone.clone(),
                    priority: endpoint.priority,
                    metadata: Arc::new(endpoint.metadata.clone()),
                }
            })
            .collect();
        let choice = if bypassed { Choice::default() } else { Choice::of(model) };
        let Chosen { endpoints, left_out, why_none } = choice.part(all);
        let groups = Groups::new(&policy.spread, &endpoints);
        let hashing = if bypassed { None } else { Hashing::new(&model.load_balancing, &endpoints) };
        let health = || endpoints.iter().map(|endpoint| (endpoint.weight, &endpoint.shared.health));
        let outlier = match before {
            Some(before) => before.outlier.next(policy.outlier, now, health()),
            None => Outlier::new(policy.outlier, now, health()),
        };
        let guards = match bypassed {
            true => None,
            false => Guards::new(model, before.and_then(|before| before.guards.as_deref()), now),
        };
        let per_endpoint = model.circuit_breaker.as_ref().and_then(|breaker| breaker.per_endpoint.as_ref());
        let endpoint_breakers = per_endpoint.filter(|_| !bypassed).map(|model| {
            // Those that it hasn't now may be those of a variant.
            let all = endpoints.iter().chain(&left_out).map(|endpoint| &endpoint.shared.breaker);
            EndpointBreakers::new(model, all, &shared.breaker_epoch, now)
        });
        let budget = match before {
            Some(before) if before.policy.budget == policy.budget => before.budget.clone(),
            _ => Arc::new(RetryBudget::new(policy.budget)),
        };
        let aliases = model
            .client_aliases
            .iter()
            .filter_map(|alias| {
                let vip = *vips.get(&alias.dns_name)?;
                Some(Alias { dns_name: alias.dns_name.clone(), port: alias.port, vip })
            })
            .collect();
        Service {
            name: model.discovery_name.clone(),
            key: model.discovery_name.clone(),
            protocol: model.app_protocol,
            aliases,
            endpoints,
            left_out,
            why_none,
            hashing,
            groups,
            policy,
            rules: None,
            access: model
                .access
                .as_ref()
                .map(|access| Access::new(access, before.and_then(|before| before.access.as_ref()))),
            entry: Arc::default(),
            bypassed,
            outlier,
            guards,
            endpoint_breakers,
            budget,
            shared,
            origin: match (found, &model.endpoints) {
                (Some(found), _) => found.origin.clone(),
                (None, Endpoints::Static(_)) => Origin::MeshFile,
                (None, _) => Origin::Nowhere,
            },
        }
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

impl Service {
    /// The same with other endpoints: all that it counts, limits or knows of them is common to both.
    fn narrowed(&self, key: &str, lb: &model::LoadBalancing, choice: &Choice) -> Self {
        let Chosen { endpoints, left_out, why_none } = choice.part(self.all_endpoints().cloned().collect());
        let health = || endpoints.iter().map(|endpoint| (endpoint.weight, &endpoint.shared.health));
        let outlier = self.outlier.beside(self.policy.outlier, health());
        let endpoint_breakers = self
            .endpoint_breakers
            .as_ref()
            .map(|breakers| breakers.of(endpoints.iter().map(|endpoint| &endpoint.shared.breaker)));
        Service {
            name: self.name.clone(),
            key: key.to_owned(),
            protocol: self.protocol,
            aliases: Vec::new(),
            hashing: Hashing::new(lb, &endpoints).filter(|_| !self.bypassed),
            groups: Groups::new(&self.policy.spread, &endpoints),
            endpoints,
            left_out,
            why_none,
            policy: self.policy.clone(),
            // Whoever has come here by a route takes no other.
            rules: None,
            access: self.access.clone(),
            entry: Arc::default(),
            bypassed: self.bypassed,
            outlier,
            guards: self.guards.clone(),
            endpoint_breakers,
            budget: self.budget.clone(),
            shared: self.shared.clone(),
            origin: self.origin.clone(),
        }
    }

    /// The same with what its routes say, unless it is bypassed.
    fn with_rules(self, model: &model::Service, mesh: &Mesh, before: Option<&Service>) -> Self {
        let before = before.and_then(|before| before.rules.as_deref());
        let rules = match self.bypassed {
            true => None,
            false => Rules::of(model, &mesh.services, &self.shared.routes, before),
        };
        Service { rules, entry: Arc::new(Entry::new(model, mesh)), ..self }
    }

    /// Its endpoints, and those that it has not because it is narrowed.
    pub fn all_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().chain(&self.left_out)
    }

    /// Why there is nobody to send a request to, in words.
    #[cold]
    pub fn why_no_endpoint(&self) -> String {
        if let Some(why) = &self.why_none {
            return why.clone();
        }
        if !self.endpoints.is_empty() {
            return self.why_none_is_active();
        }
        let because = match &self.origin {
            Origin::Dns(dns) => format!(": {dns}"),
            Origin::Control => ": the control plane knows none at the moment".to_owned(),
            Origin::Nowhere => {
                ": they come from the control plane, and this proxy runs without one".to_owned()
            }
            Origin::MeshFile => String::new(),
        };
        format!("it has no endpoint to send the request to{because}")
    }

    fn why_none_is_active(&self) -> String {
        let n = self.endpoints.len();
        let weighted = || self.endpoints.iter().filter(|endpoint| endpoint.weight > 0);
        let is_bad = |endpoint: &&Endpoint| endpoint.shared.checked.health() == Health::Unhealthy;
        let bad = weighted().filter(is_bad).map(|endpoint| endpoint.shared.checked.last().why);
        let bad: Vec<_> = if self.policy.spread.checked { bad.collect() } else { Vec::new() };
        match (weighted().count(), bad.len(), bad.first()) {
            (0, ..) => format!("its endpoints, {n} of them, have weight 0"),
            (weighted, bad, Some(why)) if weighted == bad => {
                format!("none of its {n} endpoints is well by its health check: the first says {why}")
            }
            _ if !self.policy.spread.zone_weights.is_empty() => {
                format!("none of its {n} endpoints is in a zone that has a weight (zoneWeights), and well")
            }
            _ => format!(
                "none of its {n} endpoints may be picked: they are ejected or unhealthy, and panicPercent is 0"
            ),
        }
    }
}

impl SharedEndpoint {
    /// One that nothing is known of.
    pub fn new(addr: SocketAddr) -> Arc<Self> {
        Arc::new(SharedEndpoint {
            addr,
            health: Arc::default(),
            checked: Checked::default(),
            counters: PerWorker::default(),
            ejections: AtomicU64::new(0),
            breaker: BreakerPlace::default(),
        })
    }
}

#[cfg(test)]
mod tests;
