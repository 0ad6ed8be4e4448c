//! One service of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bowline_api::model::{self, AppProtocol, Endpoints, Mesh};
use bowline_core::Tick;
use bowline_core::budget::RetryBudget;
use bowline_core::health::Health;
use bowline_core::outlier::Outlier;

use super::rules::Rules;
use super::shares::Groups;
use super::variants::{Choice, Chosen};
use super::{Endpoint, Entry, Hashing, Policy, SharedEndpoint, SharedService};
use crate::access::Access;
use crate::guard::{EndpointBreakers, Guards};
use crate::telemetry::dns::DnsStatus;

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
    pub(super) groups: Option<Groups>,
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

    pub(super) fn new(
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

    /// The same with other endpoints: all that it counts, limits or knows of them is common to both.
    pub(super) fn narrowed(&self, key: &str, lb: &model::LoadBalancing, choice: &Choice) -> Self {
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
    pub(super) fn with_rules(self, model: &model::Service, mesh: &Mesh, before: Option<&Service>) -> Self {
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
