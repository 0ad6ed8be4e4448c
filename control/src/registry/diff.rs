//! What another mesh file would change: for `bowline diff`, and for the log when a file is taken up.

use bowline_api::Mesh;
use bowline_api::control_admin::{ChangedKey, ChangedService, Diff, RemovedService};
use bowline_api::model::Endpoints;
use bowline_xds::world::World;
use serde_json::Value;

/// What `next` would change against the world as it is.
pub fn diff(world: &World, next: &Mesh) -> Diff {
    let mut diff = Diff::default();
    for service in &next.services {
        let Some(now) = world.services.get(&service.discovery_name) else {
            diff.added.push(service.discovery_name.clone());
            continue;
        };
        let mut keys = Vec::new();
        // What can be read from a file can be written as JSON.
        let (from, to) = (serde_json::to_value(&now.service), serde_json::to_value(service));
        compare("", &from.unwrap_or_default(), &to.unwrap_or_default(), &mut keys);
        if !keys.is_empty() {
            let none = matches!(&service.endpoints, Endpoints::Static(list) if list.is_empty());
            let empties = none && !now.endpoints.is_empty();
            diff.changed.push(ChangedService { service: service.discovery_name.clone(), keys, empties });
        }
    }
    diff.removed = world
        .services
        .iter()
        .filter(|(name, _)| next.service(name).is_none())
        .map(|(name, state)| RemovedService { service: name.clone(), endpoints: state.endpoints.len() })
        .collect();
    diff
}

fn compare(path: &str, from: &Value, to: &Value, changed: &mut Vec<ChangedKey>) {
    if from == to {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (from, to) {
        let only_in_b = b.keys().filter(|key| !a.contains_key(*key));
        for key in a.keys().chain(only_in_b) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            compare(&path, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), changed);
        }
        return;
    }
    changed.push(ChangedKey { key: path.to_owned(), from: from.clone(), to: to.clone() });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bowline_api::Service;
    use bowline_api::model::{Endpoint, Seconds};
    use bowline_xds::world::ServiceState;

    use super::*;

    fn service(name: &str, addresses: &[&str]) -> Service {
        let list = addresses.iter().map(|a| Endpoint::new(a.parse().unwrap())).collect();
        Service::new(name, Endpoints::Static(list))
    }

    #[test]
    fn it_names_what_differs_and_what_would_be_empty() {
        let states =
            [service("same", &["10.0.0.1:80"]), service("edited", &["10.0.0.1:80"]), service("gone", &[])];
        let services: BTreeMap<_, _> = states
            .into_iter()
            .map(|service| {
                let endpoints = service.endpoints.static_endpoints().to_vec();
                let state = ServiceState { endpoints, service, settled: true, vips: BTreeMap::new() };
                (state.service.discovery_name.clone(), Arc::new(state))
            })
            .collect();
        let world = World { namespace: "hello-world.com".into(), services };
        let mut edited = service("edited", &[]);
        edited.timeout.connect_seconds = Seconds::new(2);
        let next = Mesh {
            namespace: "hello-world.com".into(),
            services: vec![service("same", &["10.0.0.1:80"]), edited, service("new", &[])],
        };
        let diff = diff(&world, &next);
        assert_eq!(diff.added, ["new"]);
        assert_eq!(diff.removed, [RemovedService { service: "gone".into(), endpoints: 0 }]);
        assert_eq!(diff.changed.len(), 1);
        let keys: Vec<_> = diff.changed[0].keys.iter().map(|key| key.key.as_str()).collect();
        assert_eq!(keys, ["endpoints.static", "timeout.connectSeconds"]);
        assert!(diff.changed[0].empties);
    }
}
