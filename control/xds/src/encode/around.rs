//! What of the other services counts for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowline_api::Service;

use crate::kind::ClientKind;
use crate::world::{ServiceState, World};

/// The labels by which parts of a service are asked for.
pub(crate) type Labels = BTreeSet<String>;

/// For each service the labels that any service's routes name, of those that name some.
pub(crate) type Asked<'a> = BTreeMap<&'a str, BTreeSet<Labels>>;

/// A service by the name that leads to it.
type LedTo = (String, Arc<ServiceState>);

/// What of the other services counts for one.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// Those that it leads to, in the order in which it names them.
    led_to: Vec<LedTo>,
    /// Which parts of it are asked for.
    pub(crate) parts: BTreeSet<Labels>,
}

impl PartialEq for Around {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&LedTo, &LedTo)| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1);
        self.parts == other.parts
            && self.led_to.len() == other.led_to.len()
            && self.led_to.iter().zip(&other.led_to).all(same)
    }
}

/// The labels that routes name. Our own proxies find them by themselves, and gRPC knows none.
pub(crate) fn asked(kind: ClientKind, world: &World) -> Asked<'_> {
    let mut asked = Asked::new();
    if kind != ClientKind::Envoy {
        return asked;
    }
    for state in world.services.values() {
        let own = &state.service.load_balancing.subset;
        let own = (!own.is_empty()).then_some((state.service.discovery_name.as_str(), own));
        let targets = state.service.routes.iter().flat_map(|route| &route.to);
        let targets = targets.filter(|to| !to.subset.is_empty()).map(|to| (to.service.as_str(), &to.subset));
        for (name, subset) in targets.chain(own) {
            asked.entry(name).or_default().insert(subset.keys().cloned().collect());
        }
    }
    asked
}

impl Around {
    /// Around a service.
    pub(crate) fn of(kind: ClientKind, service: &Service, world: &World, asked: &Asked<'_>) -> Self {
        if kind == ClientKind::Bowline {
            return Self::default();
        }
        let known = |name: &str| Some((name.to_owned(), world.services.get(name)?.clone()));
        let others = service.leads_to().filter(|name| *name != service.discovery_name);
        Around {
            led_to: others.filter_map(known).collect(),
            parts: asked.get(service.discovery_name.as_str()).cloned().unwrap_or_default(),
        }
    }

    /// A service that this one leads to.
    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.led_to.iter().find(|(known, _)| known == name).map(|(_, state)| &state.service)
    }

    /// All services that this one leads to.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.led_to.iter().map(|(_, state)| &state.service)
    }
}
