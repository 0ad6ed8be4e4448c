//! Mesh files, made in a test's own words.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

/// The port of every alias unless a test says otherwise. VIPs differ from proxy to proxy, so they can all have the same.
pub const PORT: u16 = 21500;

/// The namespace of the tests.
pub const NAMESPACE: &str = "mesh.test";

/// `name.mesh.test:21500`.
#[must_use]
pub fn authority(service: &str) -> String {
    format!("{service}.{NAMESPACE}:{PORT}")
}

/// `http://name.mesh.test:21500` and the path.
#[must_use]
pub fn url(service: &str, path: &str) -> String {
    format!("http://{}{path}", authority(service))
}

/// What can be an endpoint: an address, or a backend.
pub trait Endpoint {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
}

impl Endpoint for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}

impl<T: Endpoint> Endpoint for &T {
    fn address(&self) -> SocketAddr {
        (**self).address()
    }
}

/// One service of a mesh file.
#[derive(Clone, Debug)]
pub struct Service(Map<String, Value>);

/// A service `name` with the alias `name.mesh.test:21500` and no endpoint yet.
#[must_use]
pub fn service(name: &str) -> Service {
    let mut map = Map::new();
    map.insert("discoveryName".into(), name.into());
    map.insert("clientAliases".into(), json!([{ "dnsName": format!("{name}.{NAMESPACE}"), "port": PORT }]));
    map.insert("endpoints".into(), json!({ "static": [] }));
    Service(map)
}

impl Service {
    /// One more endpoint.
    #[must_use]
    pub fn at(self, endpoint: impl Endpoint) -> Self {
        self.weighted(endpoint, 1)
    }

    /// One more endpoint with this weight.
    #[must_use]
    pub fn weighted(mut self, endpoint: impl Endpoint, weight: u32) -> Self {
        if let Some(list) = self.0["endpoints"]["static"].as_array_mut() {
            list.push(json!({ "address": endpoint.address().to_string(), "weight": weight }));
        }
        self
    }

    /// One more endpoint, with other keys such as `zone`.
    #[must_use]
    pub fn at_with(mut self, endpoint: impl Endpoint, mut more: Value) -> Self {
        more["address"] = json!(endpoint.address().to_string());
        if let Some(list) = self.0["endpoints"]["static"].as_array_mut() {
            list.push(more);
        }
        self
    }

    /// Several endpoints.
    #[must_use]
    pub fn at_all<E: Endpoint>(self, endpoints: impl IntoIterator<Item = E>) -> Self {
        endpoints.into_iter().fold(self, Service::at)
    }

    /// Any other key of the service.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.into(), value);
        self
    }

    /// These limits.
    #[must_use]
    pub fn limits(self, connections: u32, pending: u32, requests: u32) -> Self {
        let limits =
            json!({ "maxConnections": connections, "maxPendingRequests": pending, "maxRequests": requests });
        self.with("limits", limits)
    }

    /// Its only alias.
    #[must_use]
    pub fn alias(self, dns_name: &str, port: u16) -> Self {
        self.with("clientAliases", json!([{ "dnsName": dns_name, "port": port }]))
    }

    /// The endpoints speak HTTP/2 with prior knowledge.
    #[must_use]
    pub fn http2(self) -> Self {
        self.with("appProtocol", json!("http2"))
    }

    /// Retries that don't keep a test waiting; other keys of `retry` may be added.
    #[must_use]
    pub fn retry(self, more: Value) -> Self {
        let mut retry = json!({ "backoff": { "baseMilliseconds": 1, "maxMilliseconds": 2 } });
        if let (Some(retry), Value::Object(more)) = (retry.as_object_mut(), more) {
            retry.extend(more);
        }
        self.with("retry", retry)
    }

    /// Never ejects anything: for tests in which every endpoint must be tried.
    #[must_use]
    pub fn no_ejections(self) -> Self {
        self.with("outlierDetection", json!({ "consecutiveFailures": 0 }))
    }
}

/// A mesh file.
#[derive(Clone, Debug, Default)]
pub struct Mesh(Vec<Service>);

impl Mesh {
    /// Of these services.
    #[must_use]
    pub fn of(services: impl IntoIterator<Item = Service>) -> Self {
        Mesh(services.into_iter().collect())
    }

    /// As it is written: JSON, which is YAML too.
    #[must_use]
    pub fn text(&self) -> String {
        let services: Vec<_> = self.0.iter().map(|service| Value::Object(service.0.clone())).collect();
        let file = json!({ "namespace": NAMESPACE, "services": services });
        serde_json::to_string_pretty(&file).expect("JSON of JSON")
    }
}

impl From<Service> for Mesh {
    fn from(service: Service) -> Self {
        Mesh(vec![service])
    }
}
