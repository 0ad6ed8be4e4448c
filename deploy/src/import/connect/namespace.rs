//! Which namespace the mesh file is for. It has one, and Service Connect's files may name several, or an ARN that does
//! not tell the name.

use std::collections::BTreeSet;

use super::super::args::Namespace;
use super::super::listing::Listing;
use super::super::names::is_dns_name;
use super::find::Configuration;

/// The namespace, and the configurations that are in it. Others are listed.
pub(crate) fn choose<'a>(
    configurations: Vec<Configuration<'a>>,
    said: &[Namespace],
    listing: &mut Listing,
) -> Option<(String, Vec<Configuration<'a>>)> {
    let asked = said.iter().find(|namespace| namespace.id.is_none()).map(|namespace| namespace.name.as_str());
    let called = |written: &str| {
        let ends = |id: &str| written == id || written.rsplit('/').next() == Some(id);
        let known = said.iter().find(|namespace| namespace.id.as_deref().is_some_and(ends));
        match known {
            Some(namespace) => Some(namespace.name.clone()),
            None => is_name(written).then(|| written.to_owned()),
        }
    };
    let names: Vec<Option<String>> =
        configurations.iter().map(|configuration| configuration.namespace.and_then(called)).collect();
    // Those without a name are taken to be what was asked for, unless they are several.
    let nameless: BTreeSet<Option<&str>> = configurations
        .iter()
        .zip(&names)
        .filter(|(_, name)| name.is_none())
        .map(|(configuration, _)| configuration.namespace)
        .collect();
    let distinct: BTreeSet<&String> = names.iter().flatten().collect();
    let chosen = asked.map(str::to_owned).or_else(|| {
        let only = distinct.iter().next().filter(|_| distinct.len() == 1)?;
        Some((*only).clone())
    });
    let place = configurations.first()?.resource.place();
    let Some(chosen) = chosen else {
        let message = if distinct.is_empty() {
            let by_arn = nameless.iter().flatten().next();
            let why = by_arn.map_or("the files name no namespace".to_owned(), |arn| {
                format!("the namespace is only named as {arn}")
            });
            format!("{why}: say --namespace NAME (aws servicediscovery list-namespaces shows names)")
        } else {
            let names: Vec<&str> = distinct.iter().map(|name| name.as_str()).collect();
            format!(
                "a mesh file is for one namespace, and here are {}: choose with --namespace",
                names.join(", ")
            )
        };
        listing.refuse(place, message);
        return None;
    };
    let arns: Vec<&str> = nameless.iter().flatten().copied().collect();
    if arns.len() > 1 || (!arns.is_empty() && distinct.contains(&chosen)) {
        let message = format!(
            "it can't be known which of these is {chosen}: say what each is called, with --namespace ns-...=NAME: {}",
            arns.join(", ")
        );
        listing.refuse(place, message);
        return None;
    }
    let mut inside = Vec::new();
    for (configuration, name) in configurations.into_iter().zip(names) {
        match name.filter(|name| *name != chosen) {
            Some(other) => {
                let message =
                    format!("is in namespace {other}: make another mesh file, with --namespace {other}");
                listing.list(configuration.resource.place(), message);
            }
            None => inside.push(configuration),
        }
    }
    if inside.is_empty() {
        listing.refuse(place, format!("no service is in namespace {chosen}"));
        return None;
    }
    Some((chosen, inside))
}

/// Whether it is a name, and not an ARN or the id of a namespace.
fn is_name(written: &str) -> bool {
    let is_id =
        written.strip_prefix("ns-").is_some_and(|rest| rest.len() >= 12 && !rest.contains(['.', '-']));
    is_dns_name(written) && !is_id
}
