//! One xDS resource, encoded once and shared by everybody who gets it.

use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

/// The types of resources that are served, in the order in which they are pushed: what is named comes before what
/// names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// How a service is called.
    Cluster,
    /// Its endpoints.
    Endpoint,
    /// Where calls come in.
    Listener,
    /// Which service they are for.
    Route,
}

impl ResourceType {
    /// All of them, in the order of pushes.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    /// What it is called on the wire.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type of that name on the wire; `None` for all that aren't served.
    #[must_use]
    pub fn of_url(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.type_url() == type_url)
    }

    /// In words: `cluster`, `endpoint`, `listener` or `route`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Listener => "listener",
            Self::Route => "route",
        }
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that is a resource.
pub(crate) trait IsResource: Message + Name {
    /// Its type.
    const TYPE: ResourceType;
}

impl IsResource for Cluster {
    const TYPE: ResourceType = ResourceType::Cluster;
}
impl IsResource for ClusterLoadAssignment {
    const TYPE: ResourceType = ResourceType::Endpoint;
}
impl IsResource for Listener {
    const TYPE: ResourceType = ResourceType::Listener;
}
impl IsResource for RouteConfiguration {
    const TYPE: ResourceType = ResourceType::Route;
}

/// A resource as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its name, unique in its type.
    pub name: Arc<str>,
    /// Its version: a hash of the content, in hexadecimal, the same from whatever control plane it comes.
    pub version: Arc<str>,
    /// The same as a number; never 0.
    pub hash: u64,
    /// The encoded message.
    pub any: Any,
    /// It lists endpoints, and some may be missing.
    pub partial: bool,
}

impl Resource {
    /// A resource whose version is a hash of its bytes. Only for messages that are always encoded alike: those with no
    /// map of more than one entry.
    pub(crate) fn new<M: IsResource>(name: Arc<str>, message: &M) -> Self {
        let value = message.encode_to_vec();
        let hash = ContentHash::new().with(&value);
        Self::with_hash::<M>(name, value, hash, false)
    }

    /// A resource whose version is given.
    pub(crate) fn with_hash<M: IsResource>(
        name: Arc<str>,
        value: Vec<u8>,
        hash: ContentHash,
        partial: bool,
    ) -> Self {
        let hash = hash.finish();
        let any = Any { type_url: M::TYPE.type_url().to_owned(), value };
        let version = format!("{hash:016x}").into();
        Resource { resource_type: M::TYPE, name, version, hash, any, partial }
    }
}

/// A version as a number; what is no version of ours becomes 0, which none of ours is.
pub(crate) fn version_number(version: &str) -> u64 {
    if version.len() == 16 { u64::from_str_radix(version, 16).unwrap_or(0) } else { 0 }
}

/// A hash of content: FNV-1a with 64 bits, and a last mixing step as its high bits move slowly. Frozen, as all control
/// planes must give a resource the same version.
#[derive(Clone, Copy, Debug)]
pub struct ContentHash(u64);

impl Default for ContentHash {
    fn default() -> Self {
        Self::new()
    }
}

impl ContentHash {
    /// Of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// With these bytes behind the others.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    /// The number; never 0.
    #[must_use]
    pub const fn finish(self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
        if hash == 0 { 1 } else { hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_those_of_the_messages() {
        assert_eq!(Cluster::type_url(), ResourceType::Cluster.type_url());
        assert_eq!(ClusterLoadAssignment::type_url(), ResourceType::Endpoint.type_url());
        assert_eq!(Listener::type_url(), ResourceType::Listener.type_url());
        assert_eq!(RouteConfiguration::type_url(), ResourceType::Route.type_url());
        for (index, one) in ResourceType::ALL.into_iter().enumerate() {
            assert_eq!((ResourceType::of_url(one.type_url()), one.index()), (Some(one), index));
        }
        assert_eq!(ResourceType::of_url("type.googleapis.com/envoy.config.Secret"), None);
    }

    #[test]
    fn the_hash_is_frozen() {
        let hash = |text: &str| ContentHash::new().with(text.as_bytes()).finish();
        assert_eq!(hash("a"), ContentHash(0xaf63_dc4c_8601_ec8c).finish(), "FNV-1a of \"a\"");
        assert_ne!(hash("a"), hash("b"));
        let cluster = Cluster { name: "a".into(), ..Cluster::default() };
        let resource = Resource::new("a".into(), &cluster);
        assert_eq!(version_number(&resource.version), resource.hash);
        assert_eq!(version_number("7"), 0);
    }
}
