//! Virtual nodes: where endpoints are, and how they are treated.

use std::net::{IpAddr, SocketAddr};

use super::super::draft::{Draft, Entry};
use super::super::listing::Listing;
use super::super::timeouts::Bounds;
use super::super::value::{Resource, Value};
use super::find::Item;
use super::units::{bounds, milliseconds};

/// The most that `limits` takes: what App Mesh leaves without a limit gets this one.
const NO_LIMIT: u64 = 1_000_000;

const NO_TLS: &str = "not yet: this version does not do TLS between proxies";

/// A virtual node.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its `spec`.
    pub(crate) resource: &'a Resource<'a>,
    /// The ports that it can be called on.
    pub(crate) listeners: Vec<Listener<'a>>,
}

/// A port that a node can be called on.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    /// The port.
    pub(crate) port: u16,
    /// `http`, `http2`, `grpc` or `tcp`.
    pub(crate) protocol: &'a str,
    /// Its own timeouts.
    pub(crate) bounds: Bounds,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// Reads one, and says what of it has no place in a mesh file.
    pub(crate) fn read(item: &'a Item<'a>, listing: &mut Listing) -> Self {
        let resource = &item.resource;
        let spec = resource.value;
        let mut listeners = Vec::new();
        for value in spec.get("listeners").into_iter().flat_map(Value::elements) {
            let Some((port, protocol)) = port_and_protocol(value, resource, listing) else { continue };
            tls_of(value, resource, listing);
            let timeouts = value.get("timeout").and_then(|timeout| timeout.get(protocol));
            let bounds = bounds(timeouts, resource, listing);
            listeners.push(Listener { port, protocol, bounds, value });
        }
        beside_listeners(spec, resource, listing);
        if let Some(backends) = spec.get("backends") {
            backends_of(backends, resource, listing);
        }
        Self { name: &item.name, resource, listeners }
    }

    /// The listener on that port; if none is asked for, the only one.
    pub(crate) fn listener(&self, port: Option<u16>) -> Option<&Listener<'a>> {
        match (port, self.listeners.as_slice()) {
            (Some(port), all) => all.iter().find(|listener| listener.port == port),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The listener that a route leads to: on the target's port, else the only one, else the one on the router's port.
    pub(crate) fn listener_for(&self, target: Option<u16>, router: u16) -> Option<&Listener<'a>> {
        match target {
            Some(port) => self.listener(Some(port)),
            None => self.listener(None).or_else(|| self.listener(Some(router))),
        }
    }

    /// Where the endpoints are. `name`: the service that tasks would register for.
    pub(crate) fn endpoints(&self, listener: &Listener<'_>, name: &str, listing: &mut Listing) -> Entry {
        let discovery = self.resource.value.get("serviceDiscovery");
        let port = listener.port;
        if let Some(dns) = discovery.and_then(|discovery| discovery.get("dns"))
            && let Some(source) = self.dns(dns, port, listing)
        {
            return Entry::new("endpoints", source);
        }
        if let Some(cloud_map) = discovery.and_then(|discovery| discovery.get("awsCloudMap"))
            && let Some(source) = self.cloud_map(cloud_map, port, listing)
        {
            return Entry::new("endpoints", source)
                .above(format!("the port is each instance's AWS_INSTANCE_PORT, where App Mesh took {port}"));
        }
        Entry::new("endpoints", Draft::of([("registered", Draft::map())]))
            .above(format!("sidecars of its tasks run with --register {name}={port}"))
    }

    fn dns(&self, dns: &Value, port: u16, listing: &mut Listing) -> Option<Draft> {
        let host = dns.get("hostname")?.text()?;
        // Every address that is answered is an endpoint, whatever App Mesh was told to take it for.
        dns.get("responseType");
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = SocketAddr::new(address, port).to_string();
            return Some(Draft::of([("static", Draft::list([Draft::of([("address", address.into())])]))]));
        }
        let mut source = Draft::of([("name", host.into()), ("port", port.into())]);
        if let Some(preference) = dns.get("ipPreference")
            && let Some(text) = preference.text()
        {
            let six = text.starts_with("IPv6");
            if six {
                source.push(Entry::new("type", "AAAA"));
            }
            if text.ends_with("PREFERRED") {
                let family = if six { "IPv6" } else { "IPv4" };
                let message = format!("{text}: only {family} addresses are asked for");
                listing.list(self.resource.place_of(preference), message);
            }
        }
        Some(Draft::of([("dns", source)]))
    }

    fn cloud_map(&self, cloud_map: &Value, port: u16, listing: &mut Listing) -> Option<Draft> {
        let namespace = cloud_map.get("namespaceName")?.text()?;
        let service = cloud_map.get("serviceName")?.text()?;
        let message = format!(
            "instances need the attribute AWS_INSTANCE_PORT, where App Mesh took the listener's port {port}: ECS writes \
             it if the service's serviceRegistries name a containerPort"
        );
        listing.list(self.resource.place_of(cloud_map), message);
        if let Some(preference) = cloud_map.get("ipPreference")
            && !preference.text().is_some_and(|text| text.starts_with("IPv4"))
        {
            self.resource.list(preference, listing, "an instance's IPv4 address is taken where it has one");
        }
        Some(Draft::of([(
            "cloudMap",
            Draft::of([("namespace", namespace.into()), ("service", service.into())]),
        )]))
    }

    /// How endpoints are treated: the keys of a service behind its timeouts and retries.
    pub(crate) fn policies(&self, listener: &Listener<'_>, listing: &mut Listing) -> Vec<Entry> {
        let policies = [
            self.subset(),
            listener.value.get("outlierDetection").map(|written| self.outliers(written, listing)),
            listener.value.get("connectionPool").and_then(|written| self.limits(written, listener, listing)),
            listener.value.get("healthCheck").and_then(|written| self.health(written, listener, listing)),
        ];
        policies.into_iter().flatten().filter(|entry| !entry.value.is_empty()).collect()
    }

    /// Cloud Map's attributes that instances must have.
    fn subset(&self) -> Option<Entry> {
        let attributes = self.resource.value.at(&["serviceDiscovery", "awsCloudMap", "attributes"])?;
        let mut subset = Draft::map();
        for attribute in attributes.elements() {
            let pair =
                attribute.get("key").and_then(Value::text).zip(attribute.get("value").and_then(Value::text));
            if let Some((key, value)) = pair {
                subset.push(Entry::new(key, value));
            }
        }
        let place = self.resource.place_of(attributes);
        let subset = Draft::Map(vec![Entry::new("subset", subset).from(place)]);
        Some(Entry::new("loadBalancing", subset))
    }

    fn outliers(&self, written: &Value, listing: &mut Listing) -> Entry {
        let mut draft = Draft::map();
        if let Some(failures) = written.get("maxServerErrors").and_then(Value::number) {
            draft.push(Entry::new("consecutiveFailures", failures.min(1000)));
        }
        if let Some(base) = written.get("baseEjectionDuration")
            && let Some(span) = milliseconds(base, self.resource, listing)
        {
            let fit = span.clamp(100, 86_400_000);
            if fit != span {
                listing.list(self.resource.place_of(base), "an ejection lasts 0.1 s to a day");
            }
            draft.push(Entry::new("baseEjectionSeconds", Draft::seconds(fit)));
            // Not less than the base, and 300 s by default.
            if fit > 300_000 {
                draft.push(Entry::new("maxEjectionSeconds", Draft::seconds(fit)));
            }
        }
        if let Some(percent) = written.get("maxEjectionPercent").and_then(Value::number) {
            draft.push(Entry::new("maxEjectionPercent", percent.min(100)));
        }
        if let Some(interval) = written.get("interval") {
            interval.dealt_with();
            listing.note(
                self.resource.place_of(interval),
                "failures are looked at as they come, not at intervals",
            );
        }
        Entry::new("outlierDetection", draft)
    }

    fn limits(&self, written: &Value, listener: &Listener<'_>, listing: &mut Listing) -> Option<Entry> {
        let pool = written.get(listener.protocol)?;
        let limit = |key: &'static str| {
            let given = pool.get(key).and_then(Value::number);
            (key, given.unwrap_or(NO_LIMIT).clamp(1, NO_LIMIT))
        };
        let limits = [limit("maxConnections"), limit("maxPendingRequests"), limit("maxRequests")];
        listing.list(
            self.resource.place_of(written),
            "counted at each client, for the whole service; App Mesh counted at each task: choose limits anew",
        );
        // Connections of TCP services have no requests.
        let count = if listener.protocol == "tcp" { 1 } else { limits.len() };
        let limits = limits.into_iter().take(count).map(|(key, limit)| Entry::new(key, limit)).collect();
        let mut entry =
            Entry::new("limits", Draft::Map(limits)).above("of each client, for the whole service");
        if count > 1 {
            entry = entry.above(format!("{NO_LIMIT}: App Mesh had no limit"));
        }
        Some(entry)
    }

    fn health(&self, written: &Value, listener: &Listener<'_>, listing: &mut Listing) -> Option<Entry> {
        let protocol = written.get("protocol").and_then(Value::text).and_then(protocol_of)?;
        let path = written.get("path").and_then(Value::text);
        let way = match protocol {
            "tcp" => ("tcp", Draft::map()),
            "grpc" => ("grpc", Draft::map()),
            _ => {
                let path = path.filter(|path| path.starts_with('/')).unwrap_or("/");
                ("http", Draft::of([("path", path.into())]))
            }
        };
        if let Some(port) = written.get("port")
            && port.port() != Some(listener.port)
        {
            self.resource.list(port, listing, "health is asked for at the endpoint's own port");
        }
        let mut draft = Draft::of([way]);
        let number = |key: &str| written.get(key).and_then(Value::number);
        let interval = number("intervalMillis").map(|span| span.clamp(100, 3_600_000));
        if let Some(interval) = interval {
            draft.push(Entry::new("intervalSeconds", Draft::seconds(interval)));
        }
        if let Some(timeout) = number("timeoutMillis") {
            let most = interval.unwrap_or(30_000);
            if timeout > most {
                let at = written.get("timeoutMillis").unwrap_or(written);
                listing.list(self.resource.place_of(at), "a check may not take longer than the interval");
            }
            draft.push(Entry::new("timeoutSeconds", Draft::seconds(timeout.clamp(100, most))));
        }
        for key in ["healthyThreshold", "unhealthyThreshold"] {
            if let Some(threshold) = number(key) {
                draft.push(Entry::new(key, threshold.clamp(1, 100)));
            }
        }
        Some(Entry::new("healthCheck", draft).from(self.resource.place_of(written)))
    }
}

/// A listener's port and protocol; what can't be used is listed.
pub(crate) fn port_and_protocol(
    listener: &Value,
    resource: &Resource<'_>,
    listing: &mut Listing,
) -> Option<(u16, &'static str)> {
    let port = listener.at(&["portMapping", "port"]).and_then(Value::port);
    let protocol = listener.at(&["portMapping", "protocol"]).and_then(Value::text);
    let both = port.zip(protocol.and_then(protocol_of));
    if both.is_none() {
        resource.list(listener, listing, "its port or protocol can't be used: the listener is left out");
    }
    both
}

/// Says what becomes of a listener's TLS.
pub(crate) fn tls_of(listener: &Value, resource: &Resource<'_>, listing: &mut Listing) {
    let Some(tls) = listener.get("tls") else { return };
    if tls.get("mode").and_then(Value::text) == Some("DISABLED") {
        tls.dealt_with();
        listing.note(resource.place_of(tls), "is switched off, as it is here");
    } else {
        resource.list(tls, listing, NO_TLS);
    }
}

/// Says what of a node or gateway has no place in a mesh file.
pub(crate) fn beside_listeners(spec: &Value, resource: &Resource<'_>, listing: &mut Listing) {
    if let Some(defaults) = spec.get("backendDefaults") {
        resource.list(defaults, listing, NO_TLS);
    }
    if let Some(logging) = spec.get("logging") {
        let message = "access logs are no part of a mesh file: they are set where a proxy is started";
        resource.list(logging, listing, message);
    }
}

/// Services that a node may call.
fn backends_of(backends: &Value, resource: &Resource<'_>, listing: &mut Listing) {
    let mut names = Vec::new();
    for backend in backends.elements() {
        let Some(service) = backend.get("virtualService") else { continue };
        names.extend(service.get("virtualServiceName").and_then(Value::text).map(str::to_owned));
        if let Some(policy) = service.get("clientPolicy") {
            resource.list(policy, listing, NO_TLS);
        }
    }
    let message = format!(
        "it may call every service of the namespace, not only {}: bowline-proxy run --services narrows that",
        names.join(", ")
    );
    listing.note(resource.place_of(backends), message);
}

/// In our words, which are the same.
pub(crate) fn protocol_of(text: &str) -> Option<&'static str> {
    ["http", "http2", "grpc", "tcp"].into_iter().find(|known| known.eq_ignore_ascii_case(text))
}
