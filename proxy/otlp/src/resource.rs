//! Who sends all this.

use bytes::Bytes;

use crate::env::Settings;
use crate::wire::{self, Value};

/// The name of the service when nobody has given one, as the specification wants it for a program of this name.
const UNKNOWN_SERVICE: &str = "unknown_service:bowline-proxy";

/// What identifies the sender: attributes, each once, in the order in which they were first set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Vec<(String, String)>);

impl Resource {
    /// What was detected, overridden by `OTEL_RESOURCE_ATTRIBUTES`, and the service's name by `OTEL_SERVICE_NAME`.
    /// `telemetry.sdk.…` says that this crate has made the data, and `version` of what; nobody can override that.
    pub fn new(
        settings: &Settings,
        detected: impl IntoIterator<Item = (String, String)>,
        version: &str,
    ) -> Self {
        let mut resource = Resource(vec![("service.name".to_owned(), UNKNOWN_SERVICE.to_owned())]);
        for (key, value) in detected {
            resource.set(&key, value);
        }
        for (key, value) in &settings.resource_attributes {
            resource.set(key, value.clone());
        }
        if let Some(name) = &settings.service_name {
            resource.set("service.name", name.clone());
        }
        for (key, value) in [
            ("telemetry.sdk.name", "bowline"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", version),
        ] {
            resource.set(key, value.to_owned());
        }
        resource
    }

    fn set(&mut self, key: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// The value of an attribute.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All attributes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The `Resource` message, once for all requests.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        for (key, value) in self.iter() {
            wire::key_value(&mut out, 1, key, Value::Str(value));
        }
        out.into()
    }
}

#[cfg(test)]
mod tests;
