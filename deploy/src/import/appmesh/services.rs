//! Virtual services, and the nodes behind them, as services of the mesh file.

use std::collections::BTreeSet;

use super::super::draft::{Draft, Element, Entry};
use super::super::listing::Listing;
use super::super::names::{discovery_name, free_name, is_dns_name};
use super::super::value::Value;
use super::find::Item;
use super::node::{Listener, Node};
use super::rule::{Rule, Target, longest, timeout_of};

/// A virtual service on one of its ports.
#[derive(Debug)]
pub(crate) struct Reached {
    /// What clients dial.
    pub(crate) dns_name: String,
    /// The port.
    pub(crate) port: u16,
    /// `http`, `http2`, `grpc` or `tcp`.
    pub(crate) protocol: String,
    /// The service's `discoveryName`.
    pub(crate) name: String,
    /// Its routes; empty: all goes to its endpoints.
    pub(crate) routes: Vec<Element>,
}

/// The services that are made.
pub(crate) struct Services<'a> {
    nodes: &'a [Node<'a>],
    routers: &'a [&'a Item<'a>],
    /// In the order in which they are asked.
    rules: &'a [Rule<'a>],
    names: BTreeSet<String>,
    made: Vec<Element>,
    /// The nodes that routes lead to, with port and `discoveryName`.
    targets: Vec<(&'a str, u16, String)>,
    reached: Vec<Reached>,
    used_nodes: BTreeSet<&'a str>,
    used_routers: BTreeSet<&'a str>,
}

impl<'a> Services<'a> {
    /// None yet.
    pub(crate) fn new(nodes: &'a [Node<'a>], routers: &'a [&'a Item<'a>], rules: &'a [Rule<'a>]) -> Self {
        Self {
            nodes,
            routers,
            rules,
            names: BTreeSet::new(),
            made: Vec::new(),
            targets: Vec::new(),
            reached: Vec::new(),
            used_nodes: BTreeSet::new(),
            used_routers: BTreeSet::new(),
        }
    }

    /// A virtual service: one of ours for each port that it has.
    pub(crate) fn add(&mut self, item: &'a Item<'a>, listing: &mut Listing) {
        let resource = &item.resource;
        if !is_dns_name(item.name.trim_end_matches('.')) {
            let message = format!("{:?} is no name that clients could dial: left out", item.name);
            return resource.list(resource.value, listing, message);
        }
        let provider = resource.value.get("provider");
        let node = provider.and_then(|provider| provider.at(&["virtualNode", "virtualNodeName"]));
        let router = provider.and_then(|provider| provider.at(&["virtualRouter", "virtualRouterName"]));
        match (node.and_then(Value::text), router.and_then(Value::text)) {
            (Some(name), _) => {
                let Some(node) = self.nodes.iter().find(|node| node.name == name) else {
                    let message =
                        format!("virtual node {name} is not in these files: the service is left out");
                    return listing.list(resource.place(), message);
                };
                self.used_nodes.insert(node.name);
                if node.listeners.is_empty() {
                    let message = format!("virtual node {name} has no listener: the service is left out");
                    listing.list(resource.place(), message);
                }
                for listener in &node.listeners {
                    self.direct(item, node, listener, listing);
                }
            }
            (None, Some(name)) => {
                let Some(router) = self.routers.iter().find(|router| router.name == name) else {
                    let message =
                        format!("virtual router {name} is not in these files: the service is left out");
                    return listing.list(resource.place(), message);
                };
                self.used_routers.insert(&router.name);
                self.routed(item, router, listing);
            }
            (None, None) => {
                listing.list(resource.place(), "has no provider that could be worked out: left out");
            }
        }
    }

    /// A service's first keys; `None` if its alias is taken.
    fn begin(
        &mut self,
        item: &Item<'_>,
        port: u16,
        protocol: &str,
        listing: &mut Listing,
    ) -> Option<(String, Draft)> {
        let dns_name = item.name.trim_end_matches('.').to_ascii_lowercase();
        if self.reached.iter().any(|other| other.dns_name == dns_name && other.port == port) {
            listing.list(
                item.resource.place(),
                format!("{dns_name}:{port} is another service's already: left out"),
            );
            return None;
        }
        let label = discovery_name(dns_name.split('.').next().unwrap_or_default());
        let with_port = discovery_name(&format!("{}-{port}", label.chars().take(58).collect::<String>()));
        let name = free_name(&[label, with_port, discovery_name(&dns_name)], &mut self.names);
        let alias = Draft::of([("dnsName", dns_name.as_str().into()), ("port", port.into())]);
        let (name_of, protocol_of) = (name.clone(), protocol.to_owned());
        self.reached.push(Reached {
            dns_name,
            port,
            protocol: protocol_of,
            name: name_of,
            routes: Vec::new(),
        });
        let keys = Draft::of([
            ("discoveryName", name.as_str().into()),
            ("appProtocol", protocol.into()),
            ("clientAliases", Draft::list([alias])),
        ]);
        Some((name, keys))
    }

    fn direct(
        &mut self,
        item: &'a Item<'a>,
        node: &'a Node<'a>,
        listener: &Listener<'_>,
        listing: &mut Listing,
    ) {
        let Some((name, mut keys)) = self.begin(item, listener.port, listener.protocol, listing) else {
            return;
        };
        keys.push(node.endpoints(listener, &name, listing));
        keys.push_filled(timeout_of(listener));
        node.policies(listener, listing).into_iter().for_each(|entry| keys.push(entry));
        let above = vec![format!("{}, virtual node {}", origin(item), node.name)];
        self.made.push(Element { above, value: keys });
    }

    fn routed(&mut self, item: &'a Item<'a>, router: &'a Item<'a>, listing: &mut Listing) {
        let rules: Vec<&'a Rule<'a>> =
            self.rules.iter().filter(|rule| rule.item.parent.as_deref() == Some(&router.name)).collect();
        let mut ports: Vec<u16> = Vec::new();
        for listener in router.resource.value.get("listeners").into_iter().flat_map(Value::elements) {
            // The protocol is that of the nodes.
            listener.at(&["portMapping", "protocol"]);
            ports.extend(listener.at(&["portMapping", "port"]).and_then(Value::port));
        }
        if ports.is_empty() || rules.is_empty() {
            let message = format!(
                "virtual router {} has no listener or no route that could be imported: the service is left out",
                router.name
            );
            return listing.list(item.resource.place(), message);
        }
        for rule in rules.iter().filter(|rule| rule.port.is_some_and(|port| !ports.contains(&port))) {
            let resource = &rule.item.resource;
            resource.list(
                resource.value,
                listing,
                "its virtual router has no such port: the whole route is left out",
            );
        }
        for port in ports {
            let here: Vec<&'a Rule<'a>> =
                rules.iter().copied().filter(|rule| rule.port.is_none_or(|of| of == port)).collect();
            self.routed_port(item, router, port, &here, listing);
        }
    }

    /// The node and listener of a route's target; none are listed.
    fn target(
        &mut self,
        rule: &'a Rule<'a>,
        target: &Target<'a>,
        port: u16,
        listing: &mut Listing,
    ) -> Option<(&'a Node<'a>, &'a Listener<'a>)> {
        let nodes: &'a [Node<'a>] = self.nodes;
        let Some(node) = nodes.iter().find(|node| node.name == target.node) else {
            let message =
                format!("virtual node {} is not in these files: the target is left out", target.node);
            listing.list(rule.item.resource.place_of(target.value), message);
            return None;
        };
        self.used_nodes.insert(node.name);
        let listener = node.listener_for(target.port, port);
        if listener.is_none() {
            let message = format!("virtual node {} has no such listener: the target is left out", node.name);
            listing.list(rule.item.resource.place_of(target.value), message);
        }
        listener.map(|listener| (node, listener))
    }

    fn routed_port(
        &mut self,
        item: &'a Item<'a>,
        router: &'a Item<'a>,
        port: u16,
        rules: &[&'a Rule<'a>],
        listing: &mut Listing,
    ) {
        // What no route takes goes to the service's own endpoints: those of the route that takes everything.
        let fallback = rules.iter().find(|rule| rule.takes_all()).or(rules.last()).copied();
        let heaviest = fallback.and_then(|rule| Some((rule, rule.heaviest()?)));
        let found =
            heaviest.and_then(|(rule, target)| Some((rule, self.target(rule, target, port, listing)?)));
        let Some((rule, (node, listener))) = found else {
            let message =
                format!("no route of virtual router {} leads from port {port} to a node", router.name);
            return listing.list(item.resource.place(), message);
        };
        let Some((name, mut keys)) = self.begin(item, port, listener.protocol, listing) else { return };
        keys.push(node.endpoints(listener, &name, listing));
        let mut above = vec![format!("{}, virtual router {}, port {port}", origin(item), router.name)];
        let trivial = rules.len() == 1 && rule.takes_all() && rule.targets.len() == 1;
        let mut routes = Vec::new();
        if trivial {
            above.push(format!("its only route leads to virtual node {}", node.name));
            keys.push_filled(rule.timeout(listener, listing));
        } else {
            let by = rule.item.resource.place().in_file();
            above.push(format!("without its routes everything goes to virtual node {}, by {by}", node.name));
            routes = self.routes(rules, port, listing);
            if let Some(reached) = self.reached.last_mut() {
                reached.routes.clone_from(&routes);
            }
            keys.push_filled(self.without_routes(rules, port, listener.protocol));
        }
        // What only some requests may suffer is not done to all of them.
        let same = rules.iter().all(|other| other.retries == rule.retries)
            && rules.iter().any(|rule| rule.takes_all());
        match &rule.retries {
            Some(retries) if same => keys.push_filled(retries.entry.clone()),
            _ if rules.iter().all(|rule| rule.retries.is_none()) => {}
            _ => above
                .push("retries differ by route; without its routes what is safe is tried again".to_owned()),
        }
        node.policies(listener, listing).into_iter().for_each(|entry| keys.push(entry));
        keys.push_filled(Entry::new("routes", Draft::List(routes)).from(router.resource.place()));
        self.made.push(Element { above, value: keys });
    }

    /// The times of a service whose routes are not asked.
    fn without_routes(&self, rules: &[&'a Rule<'a>], port: u16, protocol: &str) -> Entry {
        let pairs = rules.iter().filter_map(|rule| {
            let target = rule.heaviest()?;
            let node = self.nodes.iter().find(|node| node.name == target.node)?;
            Some((*rule, node.listener_for(target.port, port)?))
        });
        longest(&pairs.collect::<Vec<_>>(), protocol)
    }

    fn routes(&mut self, rules: &[&'a Rule<'a>], port: u16, listing: &mut Listing) -> Vec<Element> {
        let mut routes = Vec::new();
        for rule in rules {
            let mut to = Vec::new();
            let mut first: Option<&'a Listener<'a>> = None;
            for target in &rule.targets {
                let Some((node, listener)) = self.target(rule, target, port, listing) else { continue };
                first = first.or(Some(listener));
                let name = self.name_of_target(node, listener);
                to.push(Draft::of([("service", name.into()), ("weight", target.weight.into())]));
            }
            let Some(listener) = first else {
                listing.list(rule.item.resource.place(), "leads to no node: left out");
                continue;
            };
            let matches = Draft::Map(rule.matches.keys.clone());
            let mut route = Draft::of([("match", matches), ("to", Draft::list(to))]);
            let mut timeout = rule.timeout(listener, listing);
            timeout.above.clear();
            route.push_filled(timeout);
            if let Some(retries) = &rule.retries {
                let mut entry = retries.entry.clone();
                entry.above.clear();
                route.push_filled(entry);
            }
            let mut above = vec![origin(rule.item)];
            above.extend(rule.matches.comment.clone());
            routes.push(Element { above, value: route });
        }
        if !routes.is_empty() && !rules.iter().any(|rule| rule.takes_all()) {
            let none = Draft::of([("respond", Draft::of([("status", Draft::from(404_u16))]))]);
            let above = vec!["App Mesh answered so where no route fitted".to_owned()];
            routes.push(Element { above, value: none });
        }
        routes
    }

    /// The service that stands for a node in routes.
    fn name_of_target(&mut self, node: &Node<'a>, listener: &Listener<'a>) -> String {
        let same = |(name, port, _): &&(&str, u16, String)| *name == node.name && *port == listener.port;
        if let Some((_, _, name)) = self.targets.iter().find(same) {
            return name.clone();
        }
        let short = discovery_name(node.name);
        let stem: String = short.chars().take(58).collect();
        let candidates = [short, format!("{stem}-node"), format!("{stem}-{}", listener.port)];
        let name = free_name(&candidates, &mut self.names);
        self.targets.push((node.name, listener.port, name.clone()));
        name
    }

    /// The virtual services, port by port.
    pub(crate) fn reached(&self) -> &[Reached] {
        &self.reached
    }

    /// A name that nothing else has, for a gateway; with the port where it has several.
    pub(crate) fn name_of_gateway(&mut self, gateway: &str, port: Option<u16>) -> String {
        let stem: String = discovery_name(gateway).chars().take(50).collect();
        let stem = port.map_or(stem.clone(), |port| format!("{stem}-{port}"));
        free_name(&[stem.clone(), format!("{stem}-gateway")], &mut self.names)
    }

    /// One more service.
    pub(crate) fn push(&mut self, service: Element) {
        self.made.push(service);
    }

    /// All services: after the virtual ones the nodes that routes lead to. What nothing leads to is listed.
    pub(crate) fn finish(mut self, listing: &mut Listing) -> Vec<Element> {
        for (name, port, called) in std::mem::take(&mut self.targets) {
            let found = self.nodes.iter().find(|node| node.name == name);
            let Some((node, listener)) = found.and_then(|node| Some((node, node.listener(Some(port))?)))
            else {
                continue;
            };
            let mut keys = Draft::of([
                ("discoveryName", called.as_str().into()),
                ("appProtocol", listener.protocol.into()),
            ]);
            keys.push(node.endpoints(listener, &called, listing));
            keys.push_filled(timeout_of(listener));
            node.policies(listener, listing).into_iter().for_each(|entry| keys.push(entry));
            let above =
                format!("{}: virtual node {}, for routes", node.resource.place().in_file(), node.name);
            self.made.push(Element { above: vec![above], value: keys });
        }
        for node in self.nodes.iter().filter(|node| !self.used_nodes.contains(node.name)) {
            if node.listeners.is_empty() {
                // Where to find it is of no use where it can't be called.
                if let Some(discovery) = node.resource.value.get("serviceDiscovery") {
                    discovery.dealt_with();
                    let message = "nobody can call it, so that nobody needs to find it";
                    listing.note(node.resource.place_of(discovery), message);
                }
                listing
                    .note(node.resource.place(), "only calls others: it needs the sidecar, and nothing here");
            } else {
                let message = "no virtual service or route leads to it: left out";
                node.resource.list(node.resource.value, listing, message);
            }
        }
        for router in self.routers.iter().filter(|router| !self.used_routers.contains(router.name.as_str())) {
            let message = "no virtual service leads to it: left out";
            router.resource.list(router.resource.value, listing, message);
        }
        let known = |rule: &&Rule<'_>| {
            let router = rule.item.parent.as_deref();
            router.is_some_and(|router| self.used_routers.contains(router))
        };
        for rule in self.rules.iter().filter(|rule| !known(rule)) {
            let message = "no virtual service leads to its router: left out";
            rule.item.resource.list(rule.item.resource.value, listing, message);
        }
        self.made
    }
}

/// Where a service or route came from.
pub(crate) fn origin(item: &Item<'_>) -> String {
    let place = item.resource.place();
    // In a template the resource is called by its logical id.
    let called = format!("{} {}", item.kind.as_str(), item.name);
    let id = if *place.resource == *called { String::new() } else { format!("{}, ", place.resource) };
    format!("{}: {id}{called}", place.in_file())
}
