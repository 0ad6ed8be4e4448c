//! Services narrowed to the endpoints that have certain labels: by `loadBalancing.subset`, for a route's target, and for
//! test traffic.
//!
//! A variant is a service of its own to the balancer, and the same one to everything that counts or limits.

use std::collections::{BTreeMap, BTreeSet};

use bowline_api::Mesh;
use bowline_api::model;
use bowline_core::balance::SubsetIndex;

use super::Endpoint;

/// Labels that endpoints have, or must have.
pub type Labels = BTreeMap<String, String>;

/// The label of endpoints that are there for test traffic alone, where an alias has `testTrafficRules`.
const TEST: (&str, &str) = ("deployment", "test");

/// What a service is called that has been narrowed to the endpoints with these labels: `server{version=v2}`; without
/// labels it is the service's name. No two narrowings have the same one.
pub fn variant_key(service: &str, labels: &Labels) -> String {
    if labels.is_empty() {
        return service.to_owned();
    }
    let mut key = format!("{service}{{");
    for (n, (name, value)) in labels.iter().enumerate() {
        if n > 0 {
            key.push(',');
        }
        escape(&mut key, name);
        key.push('=');
        escape(&mut key, value);
    }
    key.push('}');
    key
}

fn escape(to: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '\\' | ',' | '=' | '{' | '}') {
            to.push('\\');
        }
        to.push(c);
    }
}

/// The labels of the endpoints that test traffic goes to; `None` where no alias of the service has rules for that.
pub fn test_labels(service: &model::Service) -> Option<Labels> {
    let has_rules = service.client_aliases.iter().any(|alias| alias.test_traffic_rules.is_some());
    has_rules.then(|| {
        let mut labels = service.load_balancing.subset.clone();
        labels.insert(TEST.0.to_owned(), TEST.1.to_owned());
        labels
    })
}

/// The variants that are called for in the mesh, by service.
pub(super) fn wanted(mesh: &Mesh) -> BTreeMap<&str, BTreeSet<Labels>> {
    let mut wanted: BTreeMap<&str, BTreeSet<Labels>> = BTreeMap::new();
    for service in &mesh.services {
        for target in service.routes.iter().flat_map(|route| &route.to) {
            if !target.subset.is_empty() {
                wanted.entry(&target.service).or_default().insert(target.subset.clone());
            }
        }
        if let Some(labels) = test_labels(service) {
            wanted.entry(&service.discovery_name).or_default().insert(labels);
        }
    }
    wanted
}

/// Which endpoints a service, or a variant of it, has.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// They have all of these labels.
    pub(super) labels: Labels,
    /// They are not those for test traffic.
    pub(super) without_test: bool,
}

impl Choice {
    /// What the service itself has.
    pub(super) fn of(service: &model::Service) -> Self {
        Self::with(service, service.load_balancing.subset.clone())
    }

    /// What the variant with these labels has. Endpoints for test traffic are in it only where the labels say so.
    pub(super) fn with(service: &model::Service, labels: Labels) -> Self {
        let without_test = test_labels(service).is_some() && !labels.contains_key(TEST.0);
        Choice { labels, without_test }
    }

    /// Parts the endpoints.
    pub(super) fn part(&self, all: Vec<Endpoint>) -> Chosen {
        if self.labels.is_empty() && !self.without_test {
            return Chosen { endpoints: all, ..Chosen::default() };
        }
        let index = SubsetIndex::new(
            all.iter().map(|e| e.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        );
        let having = index.select(self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let is_test = |endpoint: &Endpoint| endpoint.metadata.get(TEST.0).is_some_and(|v| v == TEST.1);
        let mut chosen = Chosen::default();
        for (n, endpoint) in all.into_iter().enumerate() {
            let fits = u32::try_from(n).is_ok_and(|n| having.binary_search(&n).is_ok());
            let left_out = !fits || (self.without_test && is_test(&endpoint));
            if left_out { &mut chosen.left_out } else { &mut chosen.endpoints }.push(endpoint);
        }
        if chosen.endpoints.is_empty() && !chosen.left_out.is_empty() {
            chosen.why_none = Some(self.why_none(&index));
        }
        chosen
    }

    /// Which label no endpoint has, and what there is in its place.
    fn why_none(&self, index: &SubsetIndex) -> String {
        if self.labels.is_empty() {
            return "all of its endpoints are for test traffic".to_owned();
        }
        let asked: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let mut there = Vec::new();
        for (name, value) in &self.labels {
            let values: Vec<_> = index.values(name).collect();
            if values.iter().any(|(known, _)| known == value) {
                continue;
            }
            there.push(match values.is_empty() {
                true => format!("none has a label {name}"),
                false => {
                    let listed: Vec<_> = values.iter().map(|(value, n)| format!("{value} ({n})")).collect();
                    format!("{name} is {}", listed.join(", "))
                }
            });
        }
        let there =
            if there.is_empty() { "each is there, but not together".to_owned() } else { there.join("; ") };
        format!("none of its {} endpoints has {}: {there}", index.len(), asked.join(", "))
    }
}

/// The endpoints of a service, parted.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Those that it has.
    pub(super) endpoints: Vec<Endpoint>,
    /// Those that it would have if it were not narrowed.
    pub(super) left_out: Vec<Endpoint>,
    /// Why it has none, where that is because it is narrowed.
    pub(super) why_none: Option<String>,
}

#[cfg(test)]
mod tests;
