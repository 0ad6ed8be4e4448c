//! Virtual gateways: each is a service that an edge proxy is told to be, and its gateway routes are that one's routes.

use std::cmp::Reverse;

use super::super::draft::{Draft, Element, Entry};
use super::super::listing::Listing;
use super::super::value::{Resource, Value};
use super::combine::{self, Apart, Change, Path};
use super::find::Item;
use super::matches;
use super::node::{beside_listeners, port_and_protocol, tls_of};
use super::services::{Reached, Services, origin};

/// The kinds of gateway routes.
const KINDS: [&str; 3] = ["httpRoute", "http2Route", "grpcRoute"];

/// A gateway route.
#[derive(Debug)]
pub(crate) struct GatewayRule<'a> {
    item: &'a Item<'a>,
    /// The keys of `match`.
    keys: Vec<Entry>,
    /// The higher, the earlier it comes among routes of one priority: the host, then as for other routes.
    weight: (u8, (u8, usize, usize)),
    comments: Vec<String>,
    /// The gateway's port that it is for; `None`: all.
    port: Option<u16>,
    /// The virtual service.
    target: &'a str,
    /// The virtual service's port; `None`: its only one.
    target_port: Option<u16>,
    /// Whether the host becomes the virtual service's name.
    new_host: bool,
    change: Change,
    priority: u64,
}

impl<'a> GatewayRule<'a> {
    /// Reads a gateway route; `None` where it can't be imported, which is listed.
    pub(crate) fn read(item: &'a Item<'a>, listing: &mut Listing) -> Option<Self> {
        let resource = &item.resource;
        let found = KINDS.iter().find_map(|kind| Some((*kind, resource.value.get(kind)?)));
        let Some((kind, route)) = found else {
            resource.list(
                resource.value,
                listing,
                "has no http, http2 or grpc route that could be worked out",
            );
            return None;
        };
        let target = route.at(&["action", "target"]);
        let service = target.and_then(|target| target.at(&["virtualService", "virtualServiceName"]));
        let Some(service) = service.and_then(Value::text) else {
            let message = "leads to no virtual service that could be worked out: the whole route is left out";
            resource.list(resource.value, listing, message);
            return None;
        };
        let written = route.get("match");
        let mut matches = match written {
            Some(written) => matches::read(written, resource, listing)?,
            None => matches::Matches::default(),
        };
        let mut comments: Vec<String> = matches.comment.take().into_iter().collect();
        let host = written.and_then(|written| written.get("hostname"));
        let (hosts, rank) = match host {
            Some(host) => hosts(host, resource, &mut comments, listing)?,
            None => (Vec::new(), 0),
        };
        if !hosts.is_empty() {
            matches.keys.push(Entry::new("hosts", Draft::list(hosts.into_iter().map(Draft::from))));
        }
        let rewrite = route.at(&["action", "rewrite"]);
        let new_host = rewrite.and_then(|rewrite| rewrite.at(&["hostname", "defaultTargetHostname"]));
        Some(Self {
            item,
            weight: (rank, matches.weight),
            comments,
            port: written.and_then(|written| written.get("port")).and_then(Value::port),
            target: service.trim_end_matches('.'),
            target_port: target.and_then(|target| target.get("port")).and_then(Value::port),
            new_host: new_host.and_then(Value::text) != Some("DISABLED"),
            // The path of a gRPC call says what is called.
            change: if kind == "grpcRoute" {
                Change::Keep
            } else {
                change(rewrite, &Path::of(&matches.keys))
            },
            // Without a priority it comes after those that have one.
            priority: resource.value.get("priority").and_then(Value::number).unwrap_or(u64::MAX),
            keys: matches.keys,
        })
    }

    /// In the order in which App Mesh asked them.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (self.priority, Reverse(self.weight))
    }

    /// The service that it leads to; none is listed.
    fn reached<'s>(&self, services: &'s Services<'a>, listing: &mut Listing) -> Option<&'s Reached> {
        let name = self.target.to_ascii_lowercase();
        let ports: Vec<&Reached> =
            services.reached().iter().filter(|reached| reached.dns_name == name).collect();
        let found = match (self.target_port, ports.as_slice()) {
            (Some(port), all) => all.iter().copied().find(|reached| reached.port == port),
            (None, [only]) => Some(*only),
            (None, _) => None,
        };
        let message = match found {
            Some(reached) if reached.protocol == "tcp" => {
                "speaks TCP, which an edge proxy can't send on by route".to_owned()
            }
            Some(reached) => return Some(reached),
            None if ports.is_empty() => "is not in these files, or left out".to_owned(),
            None => {
                let ports: Vec<String> = ports.iter().map(|reached| reached.port.to_string()).collect();
                format!("has the ports {}, of which none is said", ports.join(", "))
            }
        };
        let message = format!("virtual service {} {message}: the whole route is left out", self.target);
        self.item.resource.list(self.item.resource.value, listing, message);
        None
    }

    /// Its routes at the edge: one, or one for each route that the virtual service has.
    fn routes(&self, services: &Services<'a>, listing: &mut Listing) -> Option<Vec<Element>> {
        let reached = self.reached(services, listing)?;
        let direct = Element {
            above: Vec::new(),
            value: Draft::of([
                ("match", Draft::map()),
                ("to", Draft::list([Draft::of([("service", reached.name.as_str().into())])])),
            ]),
        };
        let behind = if reached.routes.is_empty() { std::slice::from_ref(&direct) } else { &reached.routes };
        let mut routes = Vec::new();
        for route in behind {
            match self.with(route, &reached.dns_name) {
                Ok(route) => routes.push(route),
                Err(Apart::Never) => {}
                Err(Apart::Unsayable(why)) => {
                    let message = format!("{why}: the whole route is left out");
                    self.item.resource.list(self.item.resource.value, listing, message);
                    return None;
                }
            }
        }
        Some(routes)
    }

    /// Itself and a route of the virtual service in one.
    fn with(&self, route: &Element, dns_name: &str) -> Result<Element, Apart> {
        let keys = combine::map(&route.value);
        let inner = combine::get(keys, "match").map_or(&[][..], |entry| combine::map(&entry.value));
        let (path, change) = combine::paths(&Path::of(&self.keys), &self.change, &Path::of(inner))?;
        let matches = combine::matches(&self.keys, inner, &path)?;
        let mut made = Draft::of([("match", Draft::Map(matches))]);
        let rest = || keys.iter().filter(|entry| entry.key != "match").cloned();
        rest().for_each(|entry| made.push(entry));
        if rest().all(|entry| entry.key != "respond") {
            let host = self.new_host.then(|| Entry::new("host", dns_name));
            let rewrite = change.entry().into_iter().chain(host).collect();
            made.push_filled(Entry::new("rewrite", Draft::Map(rewrite)));
        }
        let mut above = vec![origin(self.item)];
        above.extend(self.comments.iter().chain(&route.above).cloned());
        Ok(Element { above, value: made })
    }
}

/// The hosts of a route, and how exact they are; `None` where they can't be said, which is listed.
fn hosts(
    written: &Value,
    resource: &Resource<'_>,
    comments: &mut Vec<String>,
    listing: &mut Listing,
) -> Option<(Vec<String>, u8)> {
    let text = |key: &str| written.get(key).and_then(Value::text);
    if let Some(exact) = text("exact") {
        return Some((vec![exact.to_owned()], 2));
    }
    let Some(suffix) = text("suffix") else {
        resource.list(resource.value, listing, "its host can't be worked out: the whole route is left out");
        return None;
    };
    if let Some(below) = suffix.strip_prefix("*.").or_else(|| suffix.strip_prefix('.')) {
        return Some((vec![format!("*.{below}")], 1));
    }
    let more =
        format!("App Mesh's suffix {suffix} also took hosts such as my{suffix}; ours takes whole labels");
    listing.list(resource.place_of(written), more.as_str());
    comments.push(more);
    Some((vec![suffix.to_owned(), format!("*.{suffix}")], 1))
}

/// What becomes of the path. A prefix was taken away where nothing else was said.
fn change(rewrite: Option<&Value>, path: &Path) -> Change {
    let said = |keys: &[&str]| rewrite.and_then(|rewrite| rewrite.at(keys)).and_then(Value::text);
    if let Some(path) = said(&["path", "exact"]) {
        return Change::Whole(path.to_owned());
    }
    if let Some(prefix) = said(&["prefix", "value"]) {
        return Change::Prefix(prefix.trim_end_matches('/').to_owned());
    }
    let off = said(&["prefix", "defaultPrefix"]) == Some("DISABLED");
    match path {
        Path::Prefix(prefix) if !prefix.is_empty() && !off => Change::Prefix(String::new()),
        _ => Change::Keep,
    }
}

/// A virtual gateway: a service for each port that it has.
pub(crate) fn add<'a>(
    item: &'a Item<'a>,
    rules: &[GatewayRule<'a>],
    services: &mut Services<'a>,
    listing: &mut Listing,
) {
    let ports = ports(item, listing);
    let rules: Vec<&GatewayRule<'a>> =
        rules.iter().filter(|rule| rule.item.parent.as_deref() == Some(&item.name)).collect();
    for rule in rules.iter().filter(|rule| rule.port.is_some_and(|port| !ports.contains(&port))) {
        let resource = &rule.item.resource;
        resource.list(
            resource.value,
            listing,
            "its virtual gateway has no such port: the whole route is left out",
        );
    }
    for port in &ports {
        let mut routes = Vec::new();
        for rule in rules.iter().filter(|rule| rule.port.is_none_or(|of| of == *port)) {
            routes.extend(rule.routes(services, listing).unwrap_or_default());
        }
        if routes.is_empty() {
            let message = format!("no gateway route leads from port {port} into the mesh: left out");
            listing.list(item.resource.place(), message);
            continue;
        }
        let only = if ports.len() == 1 { None } else { Some(*port) };
        let name = services.name_of_gateway(&item.name, only);
        let above = vec![
            format!("{}, port {port}", origin(item)),
            format!("an edge proxy takes its place: bowline-proxy run --ingress {name}=0.0.0.0:{port}"),
        ];
        let mut value = Draft::of([
            ("discoveryName", name.as_str().into()),
            ("endpoints", Draft::of([("static", Draft::list([]))])),
        ]);
        value.push(Entry::new("routes", Draft::List(routes)));
        services.push(Element { above, value });
    }
}

/// Gateway routes whose gateway is not there.
pub(crate) fn without_one<'a>(
    rules: &[GatewayRule<'a>],
    gateways: impl Iterator<Item = &'a Item<'a>>,
    listing: &mut Listing,
) {
    let names: Vec<&str> = gateways.map(|item| item.name.as_str()).collect();
    for rule in rules {
        if !rule.item.parent.as_deref().is_some_and(|parent| names.contains(&parent)) {
            let resource = &rule.item.resource;
            resource.list(resource.value, listing, "its virtual gateway is not in these files: left out");
        }
    }
}

/// A gateway's ports. What of it has no place in a mesh file is said.
fn ports(item: &Item<'_>, listing: &mut Listing) -> Vec<u16> {
    let resource = &item.resource;
    beside_listeners(resource.value, resource, listing);
    let mut ports = Vec::new();
    for value in resource.value.get("listeners").into_iter().flat_map(Value::elements) {
        let Some((port, protocol)) = port_and_protocol(value, resource, listing) else { continue };
        if protocol == "tcp" {
            resource.list(value, listing, "speaks TCP, which an edge proxy can't send on by route: left out");
            continue;
        }
        ports.push(port);
        tls_of(value, resource, listing);
        if let Some(pool) = value.get("connectionPool") {
            resource.list(
                pool,
                listing,
                "not made: an edge proxy bounds what it sends on by each service's limits",
            );
        }
        if let Some(check) = value.get("healthCheck") {
            check.dealt_with();
            let message = "load balancers ask for a route of its own that responds (docs/ingress.md)";
            listing.note(resource.place_of(check), message);
        }
    }
    ports
}
