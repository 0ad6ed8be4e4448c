//! What a proxy holds, in a form that can be written down: for a start while no control plane is there.

use serde::{Deserialize, Serialize};

use super::Rejected;
use super::store::{Kept, Load, Store};
use crate::decode;
use crate::resource::{ContentHash, ResourceType};
use envoy_types::pb::google::protobuf::Any;

/// The form that is written.
const FORMAT: u32 = 1;

/// Everything that a proxy holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The form it is written in.
    pub format: u32,
    /// The namespace it is of.
    pub namespace: String,
    /// The resources.
    pub resources: Vec<HeldResource>,
}

/// One resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldResource {
    /// The type's name on the wire.
    pub type_url: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Some endpoints may be missing from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The encoded message, in base64.
    pub value: String,
    /// Of all the others: a disk may give back something else than it was given.
    pub checksum: String,
}

impl HeldResource {
    fn new<T>(resource_type: ResourceType, name: &str, kept: &Kept<T>, partial: bool) -> Self {
        let mut held = HeldResource {
            type_url: resource_type.type_url().to_owned(),
            name: name.to_owned(),
            version: kept.version.clone(),
            partial,
            value: base64(&kept.any.value),
            checksum: String::new(),
        };
        held.checksum = held.sum();
        held
    }

    fn sum(&self) -> String {
        let texts = [&self.type_url, &self.name, &self.version, &self.value];
        let hash =
            texts.iter().fold(ContentHash::new(), |hash, text| hash.with(text.as_bytes()).with(&[0xff]));
        format!("{:016x}", hash.with(&[self.partial.into()]).finish())
    }
}

impl Store {
    pub(super) fn held(&self, namespace: &str) -> Held {
        use ResourceType::{Cluster, Endpoint, Listener, Route};
        let mut resources = Vec::new();
        resources
            .extend(self.clusters.iter().map(|(name, kept)| HeldResource::new(Cluster, name, kept, false)));
        let lists = self.endpoints.iter();
        resources
            .extend(lists.map(|(name, kept)| HeldResource::new(Endpoint, name, kept, kept.value.partial)));
        resources
            .extend(self.listeners.iter().map(|(name, kept)| HeldResource::new(Listener, name, kept, false)));
        resources.extend(self.routes.iter().map(|(name, kept)| HeldResource::new(Route, name, kept, false)));
        Held { format: FORMAT, namespace: namespace.to_owned(), resources }
    }

    /// Takes back what can be read.
    pub(super) fn restore(&mut self, held: Held, namespace: &str) -> Vec<Rejected> {
        let general = if held.format != FORMAT {
            Some(format!("it is written in form {}, and this version reads {FORMAT}", held.format))
        } else if held.namespace != namespace {
            Some(format!("it is of namespace {:?}", held.namespace))
        } else {
            None
        };
        let mut rejected = Vec::new();
        for resource in held.resources {
            let resource_type = ResourceType::of_url(&resource.type_url);
            let name = resource.name.clone();
            let taken = match (&general, resource_type) {
                (Some(why), _) => Err(why.clone()),
                (None, None) => Err(format!("{:?} is a type that nobody asks for", resource.type_url)),
                (None, Some(resource_type)) => self.take_back(resource_type, resource, namespace),
            };
            if let Err(why) = taken {
                let resource_type = resource_type.unwrap_or(ResourceType::Cluster);
                rejected.push(Rejected { resource_type, name, why });
            }
        }
        self.tidy();
        rejected
    }

    fn take_back(&mut self, of: ResourceType, held: HeldResource, namespace: &str) -> Result<(), String> {
        if held.sum() != held.checksum {
            return Err("it is not as it was written".to_owned());
        }
        let value = from_base64(&held.value).ok_or("it is no base64")?;
        let any = Any { type_url: held.type_url, value };
        let (name, version) = (held.name, held.version);
        match of {
            ResourceType::Cluster => {
                let value = decode::cluster(&any, &name, namespace)?;
                self.clusters.insert(name, Kept { version, any, value });
            }
            ResourceType::Endpoint => {
                let value = Load { endpoints: decode::load(&any, &name)?, partial: held.partial };
                self.endpoints.insert(name, Kept { version, any, value });
            }
            ResourceType::Listener => {
                let value = decode::listener(&any, &name)?;
                self.listeners.insert(name, Kept { version, any, value });
            }
            ResourceType::Route => {
                let value = decode::routes(&any, &name)?;
                self.routes.insert(name, Kept { version, any, value });
            }
        }
        Ok(())
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let padding = digit > chunk.len();
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

/// The reverse; `None` for what no encoder writes.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.chunks(4) {
        let mut bits = 0;
        for digit in chunk {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let missing = 4 - chunk.len();
        let [_, first, second, third] = (bits << (6 * missing)).to_be_bytes();
        bytes.extend_from_slice(&[first, second, third][..3 - missing]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&base64(&all)), Some(all));
        for wrong in ["Zg", "Zg=", "Z===", "Zm9v=", "Zm9*", "====", "Zm=v"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }
}
