//! One Service Connect service as a service of the mesh file.

use std::collections::BTreeMap;

use super::super::args::EndpointSource;
use super::super::draft::{Draft, Element, Entry};
use super::super::listing::Listing;
use super::super::names::{is_discovery_name, is_dns_name};
use super::super::timeouts::{self, Bounds};
use super::super::value::Value;
use super::find::Configuration;
use super::tasks::Tasks;

/// What a service is made from, beside itself.
pub(crate) struct Context<'a> {
    /// The mesh file's namespace.
    pub(crate) namespace: &'a str,
    /// The task definitions.
    pub(crate) tasks: &'a Tasks,
    /// Where endpoints shall come from.
    pub(crate) endpoints: EndpointSource,
}

/// Who has an alias already: `dnsName` in small letters and port, to `discoveryName`.
pub(crate) type Aliases = BTreeMap<(String, u16), String>;

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its `discoveryName`.
    pub(crate) name: String,
    /// Its keys.
    pub(crate) keys: Draft,
    /// The same with comments.
    pub(crate) element: Element,
    /// Its aliases.
    pub(crate) aliases: Vec<(String, u16)>,
}

/// Makes it; `None` where it has no usable name, which is listed.
pub(crate) fn make(
    configuration: &Configuration<'_>,
    written: &Value,
    context: &Context<'_>,
    taken: &Aliases,
    listing: &mut Listing,
) -> Option<Service> {
    let resource = &configuration.resource;
    let port_name = written.get("portName").and_then(Value::text);
    let name = written.get("discoveryName").and_then(Value::text).or(port_name);
    let Some(name) = name.filter(|name| is_discovery_name(name)) else {
        let message = match name {
            Some(name) => {
                format!("{name:?} can't be a service's name (1 to 64 of a-z, 0-9, _ and -): left out")
            }
            None => "has neither discoveryName nor portName that could be worked out: left out".to_owned(),
        };
        resource.list(written, listing, message);
        return None;
    };
    let mapping = port_name.and_then(|port| context.tasks.mapping(configuration.task, port));
    let port = mapping.and_then(|mapping| mapping.port);
    let mut keys = Draft::of([("discoveryName", name.into())]);
    if let Some(port_name) = port_name {
        keys.push_filled(Entry::new("portName", port_name));
    }
    let protocol = match mapping.filter(|mapping| !mapping.unclear) {
        None => {
            let at = written.get("portName").unwrap_or(written);
            let message = format!(
                "the port mapping {:?} is not in these files, or not clear: appProtocol is left out, and detected for \
                 each connection; give the task definition too",
                port_name.unwrap_or(name)
            );
            listing.list(resource.place_of(at), message);
            None
        }
        Some(mapping) => {
            let protocol = mapping.protocol.as_deref().unwrap_or("tcp");
            let mut entry = Entry::new("appProtocol", protocol);
            if mapping.protocol.is_none() {
                entry = entry.above(
                    "TCP, as the port mapping has no appProtocol. Without this line the protocol is detected, and HTTP \
                     gets its balancing, retries and timeouts.",
                );
            }
            keys.push(entry);
            Some(protocol)
        }
    };
    let aliases = aliases(configuration, written, name, context.namespace, taken, listing);
    let dialled = aliases.dialled;
    keys.push(Entry::new("clientAliases", Draft::List(aliases.drafts)));
    if let Some(written) = written.get("ingressPortOverride") {
        match written.port() {
            Some(port) => {
                keys.push(Entry::new("ingressPortOverride", port).from(resource.place_of(written)));
            }
            None if written.text().is_some() => resource.list(written, listing, "is no port: left out"),
            None => {}
        }
    }
    keys.push(endpoints(name, port, context));
    timeout(configuration, written, protocol, &mut keys, listing);
    if let Some(tls) = written.get("tls") {
        let copy = copied(tls);
        if copy.is_empty() {
            listing.list(
                resource.place_of(tls),
                "TLS between proxies: nothing of it can be worked out, so it is left out",
            );
        }
        keys.push_filled(Entry::new("tls", copy).from(resource.place_of(tls)));
    }
    let mut from = resource.place_of(written).in_file();
    if !resource.name.is_empty() {
        from = format!("{from}: {}", resource.name);
    }
    if let Some(port) = port {
        from = format!("{from}, container port {port}");
    }
    let element = Element { above: vec![from], value: keys.clone() };
    Some(Service { name: name.to_owned(), keys, element, aliases: dialled })
}

/// The header that marks test traffic. What else stands there is listed with all that nobody has read.
fn test_traffic(rules: &Value) -> Option<Draft> {
    let header = rules.get("header")?;
    let mut copy = Draft::map();
    if let Some(name) = header.get("name").and_then(Value::text) {
        copy.push(Entry::new("name", name));
    }
    if let Some(exact) = header.at(&["value", "exact"]).and_then(Value::text) {
        copy.push(Entry::new("value", Draft::of([("exact", exact.into())])));
    }
    Some(Draft::of([("header", copy)]))
}

#[derive(Default)]
struct Drafts {
    drafts: Vec<Element>,
    dialled: Vec<(String, u16)>,
}

fn aliases(
    configuration: &Configuration<'_>,
    written: &Value,
    name: &str,
    namespace: &str,
    taken: &Aliases,
    listing: &mut Listing,
) -> Drafts {
    let resource = &configuration.resource;
    let mut made = Drafts::default();
    let all: Vec<&Value> = written.get("clientAliases").into_iter().flat_map(Value::elements).collect();
    if all.is_empty() {
        let message = "has no clientAliases: nobody can dial it until you give it one";
        listing.list(resource.place_of(written), message);
    }
    for alias in all {
        let dns_name = match alias.get("dnsName") {
            None => Some(format!("{name}.{namespace}")),
            Some(dns_name) => dns_name.text().map(|text| text.trim_end_matches('.').to_owned()),
        };
        let (Some(dns_name), Some(port)) =
            (dns_name.filter(|name| is_dns_name(name)), alias.get("port").and_then(Value::port))
        else {
            listing
                .list(resource.place_of(alias), "its dnsName or port can't be used: the alias is left out");
            continue;
        };
        let dialled = (dns_name.to_ascii_lowercase(), port);
        let owner = taken.get(&dialled).map(String::as_str).filter(|owner| *owner != name);
        if let Some(owner) = owner.or_else(|| made.dialled.contains(&dialled).then_some(name)) {
            let message = format!("{dns_name}:{port} is {owner}'s already: the alias is left out");
            resource.list(alias, listing, message);
            continue;
        }
        let mut draft = Draft::of([("dnsName", dns_name.into()), ("port", port.into())]);
        if let Some(rules) = alias.get("testTrafficRules") {
            match test_traffic(rules) {
                Some(copy) => {
                    draft.push(Entry::new("testTrafficRules", copy).from(resource.place_of(rules)));
                }
                None => resource.list(rules, listing, "has no header that could be worked out: left out"),
            }
        }
        made.drafts.push(Element { above: Vec::new(), value: draft });
        made.dialled.push(dialled);
    }
    made
}

fn endpoints(name: &str, port: Option<u16>, context: &Context<'_>) -> Entry {
    match context.endpoints {
        EndpointSource::Registered => {
            let port = port.map_or("PORT".to_owned(), |port| port.to_string());
            Entry::new("endpoints", Draft::of([("registered", Draft::map())]))
                .above(format!("sidecars of its tasks run with --register {name}={port}"))
        }
        EndpointSource::CloudMap => {
            let source = Draft::of([("namespace", context.namespace.into()), ("service", name.into())]);
            Entry::new("endpoints", Draft::of([("cloudMap", source)]))
        }
    }
}

fn timeout(
    configuration: &Configuration<'_>,
    written: &Value,
    protocol: Option<&str>,
    keys: &mut Draft,
    listing: &mut Listing,
) {
    let resource = &configuration.resource;
    let timeout = written.get("timeout");
    let mut bound = |key: &str| {
        let value = timeout?.get(key)?;
        let seconds = value.number().filter(|seconds| *seconds <= timeouts::MAX_SECONDS);
        if seconds.is_none() && value.text().is_some() {
            resource.list(value, listing, "is no number of seconds up to a year: left out");
        }
        seconds.map(|seconds| seconds * 1000)
    };
    let mut bounds =
        Bounds { idle: bound("idleTimeoutSeconds"), per_request: bound("perRequestTimeoutSeconds") };
    if protocol == Some("tcp")
        && bounds.per_request.take().is_some()
        && let Some(value) = timeout.and_then(|timeout| timeout.get("perRequestTimeoutSeconds"))
    {
        resource.list(value, listing, "connections of TCP services have no requests: left out");
    }
    let (draft, comment) = timeouts::draft(bounds, protocol, "Service Connect");
    let mut entry = Entry::new("timeout", draft);
    entry.above.extend(comment);
    keys.push_filled(entry);
}

/// A value with our spelling of its keys: CloudFormation's begin with a capital.
fn copied(value: &Value) -> Draft {
    if value.is_list() {
        return Draft::list(value.elements().map(copied));
    }
    if value.is_map() {
        let keys: Vec<String> = value.entries().map(|(key, _)| key.to_owned()).collect();
        let entries = keys.iter().filter_map(|key| {
            let mut chars = key.chars();
            let first = chars.next()?.to_ascii_lowercase();
            let small: String = std::iter::once(first).chain(chars).collect();
            let copy = copied(value.get(key)?);
            (!copy.is_empty()).then(|| Entry::new(&small, copy))
        });
        return Draft::Map(entries.collect());
    }
    // What can't be worked out is listed with the rest.
    value.text().map_or_else(Draft::map, Draft::from)
}

/// What differs from Service Connect for every service, for the top of the file.
pub(crate) fn differences(endpoints: EndpointSource) -> Vec<String> {
    let mut lines = vec![
        "What is different from Service Connect, for every service:".to_owned(),
        "* Names are live: a client that was started before its server sees it.".to_owned(),
        "* Timeouts: Service Connect ended each request after 15 s, its whole response included. Here that bound holds to \
         the response's headers (responseHeadersSeconds), so that streams and downloads may last. With timeout: \
         { perRequestTimeoutSeconds: 15 } it is as before. Idle connections are closed after 300 s (TCP: 3600 s), as before."
            .to_owned(),
        "* Retries: 2, as before. But POST, PATCH and gRPC are only tried again where the server can't have seen them, and \
         503 is not, which Service Connect repeats whatever the method. As before: retry: { on: [connectFailure, \
         refusedStream, reset, unavailable, status: [503]] }."
            .to_owned(),
        "* Balancing: the better of two endpoints by latency and load (peakEwma), in place of round robin (loadBalancing: \
         { policy: roundRobin })."
            .to_owned(),
        "* Outlier detection: 5 failures in a row take an endpoint out for 30 to 300 s, as before; at most half of them at a \
         time."
            .to_owned(),
    ];
    lines.push(match endpoints {
        EndpointSource::Registered => {
            "* Endpoints: each task's sidecar registers it with the control plane (--register NAME=PORT). To take the \
             instances that ECS has put into Cloud Map meanwhile, import with --endpoints cloud-map."
                .to_owned()
        }
        EndpointSource::CloudMap => {
            "* Endpoints: the instances that ECS has put into Cloud Map, which it does only as long as the service uses \
             Service Connect or service discovery."
                .to_owned()
        }
    });
    lines
}
