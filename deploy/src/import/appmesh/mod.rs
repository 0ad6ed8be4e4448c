//! From App Mesh.

mod combine;
mod find;
mod gateway;
mod matches;
mod namespace;
mod node;
mod retry;
mod rule;
mod services;
mod units;

use self::find::{Item, Kind, find};
use self::gateway::GatewayRule;
use self::node::Node;
use self::rule::Rule;
use self::services::Services;
use super::args::AppMeshArgs;
use super::draft::{Draft, Entry};
use super::input::Input;
use super::listing::{Listing, Place};
use super::made::Made;
use super::value::Value;

/// Makes the mesh file; `None` where something is refused.
pub(crate) fn import(inputs: &[Input], args: &AppMeshArgs, listing: &mut Listing) -> Option<Made> {
    let items = find(inputs, listing);
    let items = namespace::one_mesh(items, args.mesh.as_deref(), listing)?;
    let of = |kind: Kind| items.iter().filter(move |item| item.kind == kind);
    if of(Kind::Service).next().is_none() {
        for input in inputs {
            listing.refuse(
                Place::file(&input.file),
                "there is no virtual service in it, so there is nothing to call",
            );
        }
        return None;
    }
    for item in &items {
        about(item, listing);
    }
    let nodes: Vec<Node<'_>> = of(Kind::Node).map(|item| Node::read(item, listing)).collect();
    let routers: Vec<&Item<'_>> = of(Kind::Router).collect();
    let mut rules: Vec<Rule<'_>> = of(Kind::Route).filter_map(|item| Rule::read(item, listing)).collect();
    rules.sort_by_key(Rule::order);
    let called: Vec<&Item<'_>> = of(Kind::Service).collect();
    let names = called.iter().map(|item| item.name.as_str());
    let namespace = namespace::namespace(names, &items, &args.common.namespace);
    let mut services = Services::new(&nodes, &routers, &rules);
    for item in called {
        services.add(item, listing);
    }
    let mut gateway_rules: Vec<GatewayRule<'_>> =
        of(Kind::GatewayRoute).filter_map(|item| GatewayRule::read(item, listing)).collect();
    gateway_rules.sort_by_key(GatewayRule::order);
    of(Kind::Gateway).for_each(|item| gateway::add(item, &gateway_rules, &mut services, listing));
    gateway::without_one(&gateway_rules, of(Kind::Gateway), listing);
    let services = services.finish(listing);
    for item in &items {
        item.resource.list_rest(listing);
    }
    let count = services.len();
    let mut mesh = Draft::of([("namespace", namespace.into())]);
    mesh.push(Entry::new("services", Draft::List(services)));
    Some(Made { head: differences(), mesh, services: count })
}

/// What has no place in a mesh file, whatever is in it.
fn about(item: &Item<'_>, listing: &mut Listing) {
    let resource = &item.resource;
    let spec = resource.value;
    match item.kind {
        Kind::Mesh => {
            if let Some(filter) = spec.get("egressFilter") {
                let drops = filter.get("type").and_then(Value::text) == Some("DROP_ALL");
                let message =
                    "sidecars let calls through that are not for the mesh: bound them by security groups";
                if drops {
                    resource.list(filter, listing, message);
                }
            }
            if let Some(discovery) = spec.get("serviceDiscovery") {
                let message = "is said for each service (endpoints: { dns: { type: AAAA } })";
                resource.list(discovery, listing, message);
            }
        }
        Kind::Node | Kind::Service | Kind::Router | Kind::Route | Kind::Gateway | Kind::GatewayRoute => {}
    }
}

/// What differs from App Mesh for every service, for the top of the file.
fn differences() -> Vec<String> {
    let lines = [
        "What stands for what: a virtual service is a service with an alias (one for each port of its router or node); a \
         virtual node gives it endpoints, limits and checks; a virtual router gives it routes, whose targets are services \
         without an alias.",
        "",
        "What is different from App Mesh, for every service:",
        "* Timeouts: App Mesh ended each request after 15 s, its whole response included, where nothing else was set. Here \
         that bound holds to the response's headers (responseHeadersSeconds), so that streams and downloads may last. With \
         timeout: { perRequestTimeoutSeconds: 15 } it is as before. A connection opens within 1 s (connectSeconds).",
        "* Retries, where a route has no policy: 2, but POST, PATCH and gRPC are only tried again where the server can't have \
         seen them, and 503 is not.",
        "* Balancing: the better of two endpoints by latency and load (peakEwma), in place of round robin (loadBalancing: \
         { policy: roundRobin }).",
        "* Outlier detection is on also where no node asks for it: 5 failures in a row take an endpoint out for 30 to 300 s, at \
         most half of them at a time (outlierDetection: { consecutiveFailures: 0 } turns it off).",
        "* DNS: every address of an answer is an endpoint, and the record's TTL is kept to.",
    ];
    lines.into_iter().map(str::to_owned).collect()
}
