//! From ECS Service Connect.

mod find;
mod namespace;
mod service;
mod tasks;

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry as Known};

use self::find::Found;
use super::args::ServiceConnectArgs;
use super::draft::{Draft, Element, Entry};
use super::input::Input;
use super::listing::{Listing, Place};
use super::made::Made;
use super::not_yet;

/// Makes the mesh file; `None` where something is refused.
pub(crate) fn import(inputs: &[Input], args: &ServiceConnectArgs, listing: &mut Listing) -> Option<Made> {
    let Found { configurations, tasks } = find::find(inputs, listing);
    if configurations.is_empty() {
        for input in inputs {
            listing.refuse(Place::file(&input.file), "there is no Service Connect configuration in it");
        }
        return None;
    }
    let (namespace, configurations) = namespace::choose(configurations, &args.common.namespace, listing)?;
    let mut services: Vec<Element> = Vec::new();
    let mut names: BTreeMap<String, (Draft, Place)> = BTreeMap::new();
    let mut aliases = service::Aliases::new();
    let mut clients = BTreeSet::new();
    for configuration in &configurations {
        let context = service::Context { namespace: &namespace, tasks: &tasks, endpoints: args.endpoints };
        if configuration.services().next().is_none() && !configuration.resource.name.is_empty() {
            clients.insert(configuration.resource.name.to_string());
        }
        for written in configuration.services() {
            let Some(made) = service::make(configuration, written, &context, &aliases, listing) else {
                continue;
            };
            let place = configuration.resource.place_of(written);
            match names.entry(made.name) {
                Known::Vacant(free) => {
                    aliases.extend(made.aliases.into_iter().map(|alias| (alias, free.key().clone())));
                    free.insert((made.keys, place));
                    services.push(made.element);
                }
                // The same service can be in several files.
                Known::Occupied(taken) if taken.get().0.to_json() == made.keys.to_json() => {
                    listing.note(
                        place,
                        format!("{} is the same as in {}", taken.key(), taken.get().1.in_file()),
                    );
                }
                Known::Occupied(taken) => {
                    let message = format!(
                        "another service {} stands in {}, and that one is taken: names are unique in a namespace",
                        taken.key(),
                        taken.get().1.in_file()
                    );
                    listing.list(place, message);
                }
            }
        }
        configuration.resource.list_rest(listing);
    }
    if !not_yet::is_built("LoadBalancing", "zoneAware") {
        let message =
            "Service Connect prefers endpoints of the caller's zone, which this version does not do yet";
        listing.note(Place::file(&inputs[0].file), message);
    }
    let mut mesh = Draft::of([("namespace", namespace.into())]);
    let count = services.len();
    mesh.push(Entry::new("services", Draft::List(services)));
    let mut head = service::differences(args.endpoints);
    if !clients.is_empty() {
        let clients: Vec<String> = clients.into_iter().collect();
        head.push(String::new());
        head.push(format!("Clients only, which need the sidecar and nothing here: {}.", clients.join(", ")));
    }
    Some(Made { head, mesh, services: count })
}
