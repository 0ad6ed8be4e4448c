//! Which mesh is imported, and what its namespace is called.

use std::collections::BTreeSet;

use super::super::args::Namespace;
use super::super::listing::{Listing, Place};
use super::super::names::{discovery_name, is_dns_name};
use super::find::Item;

/// The resources of one mesh: the only one, or the one that was asked for.
pub(crate) fn one_mesh<'a>(
    items: Vec<Item<'a>>,
    asked: Option<&str>,
    listing: &mut Listing,
) -> Option<Vec<Item<'a>>> {
    let meshes: BTreeSet<String> = items.iter().filter_map(|item| item.mesh.clone()).collect();
    let names = || meshes.iter().cloned().collect::<Vec<_>>().join(", ");
    let Some(first) = items.first() else {
        listing.refuse(Place::file(&"bowline".into()), "the files have nothing of App Mesh in them");
        return None;
    };
    match asked {
        None if meshes.len() > 1 => {
            let message = format!("there are several meshes, {}: choose one with --mesh", names());
            listing.refuse(first.resource.place(), message);
            None
        }
        Some(asked) if !meshes.contains(asked) && !meshes.is_empty() => {
            let message = format!("there is no mesh {asked}, but {}", names());
            listing.refuse(first.resource.place(), message);
            None
        }
        None => Some(items),
        Some(asked) => {
            let mut chosen = Vec::new();
            for item in items {
                match item.mesh.as_deref().filter(|mesh| *mesh != asked) {
                    Some(other) => {
                        listing.note(item.resource.place(), format!("is in mesh {other}: left out"));
                    }
                    None => chosen.push(item),
                }
            }
            Some(chosen)
        }
    }
}

/// What was said, else what the services' names have in common behind their first part, else the mesh's name.
pub(crate) fn namespace<'a>(
    services: impl Iterator<Item = &'a str>,
    items: &[Item<'_>],
    said: &[Namespace],
) -> String {
    if let Some(namespace) = said.iter().rfind(|namespace| namespace.id.is_none()) {
        return namespace.name.clone();
    }
    let tails = services.map(|name| name.split_once('.').map_or("", |(_, tail)| tail.trim_end_matches('.')));
    let common = tails.map(str::to_ascii_lowercase).reduce(|a, b| {
        let same = a.rsplit('.').zip(b.rsplit('.')).take_while(|(a, b)| a == b).map(|(a, _)| a);
        let mut labels: Vec<&str> = same.collect();
        labels.reverse();
        labels.join(".")
    });
    let mesh = items.iter().find_map(|item| item.mesh.as_deref()).unwrap_or("mesh");
    common.filter(|common| is_dns_name(common)).unwrap_or_else(|| {
        let name: String = discovery_name(mesh).trim_start_matches('-').chars().take(63).collect();
        if is_dns_name(&name) { name } else { "mesh".to_owned() }
    })
}
