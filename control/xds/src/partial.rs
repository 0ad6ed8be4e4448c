//! The messages of xDS with only those fields that we read.
//!
//! A proxy that decodes a whole `HttpConnectionManager` carries the code for half of Envoy's API: it doubled the program
//! and cost 1.5 MB of resident memory. Fields that are not here are passed over by the decoder, whatever is in them;
//! where it matters that something *is* there, the field is an [`Opaque`]. Names and numbers are those of the
//! messages in envoy-types, which a test compares them with.

pub(crate) mod cluster;
pub(crate) mod endpoint;
pub(crate) mod listener;
pub(crate) mod route;

use std::collections::BTreeMap;

use envoy_types::pb::google::protobuf::{Any, Struct};
use prost::{Message, Oneof};

/// A message that stands here, whatever is in it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Opaque {}

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) filter_metadata: BTreeMap<String, Struct>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) typed_filter_metadata: BTreeMap<String, Any>,
}

/// `envoy.config.core.v3.TransportSocket`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TransportSocket {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Address {
    #[prost(oneof = "AddressKind", tags = "1, 2, 3")]
    pub(crate) address: Option<AddressKind>,
}

/// What an address can be.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum AddressKind {
    #[prost(message, tag = "1")]
    SocketAddress(SocketAddress),
    #[prost(message, tag = "2")]
    Pipe(Pipe),
    #[prost(message, tag = "3")]
    EnvoyInternalAddress(Opaque),
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SocketAddress {
    #[prost(int32, tag = "1")]
    pub(crate) protocol: i32,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(oneof = "PortSpecifier", tags = "3, 4")]
    pub(crate) port_specifier: Option<PortSpecifier>,
}

/// How a port is said.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum PortSpecifier {
    #[prost(uint32, tag = "3")]
    PortValue(u32),
    #[prost(string, tag = "4")]
    NamedPort(String),
}

/// `envoy.config.core.v3.Pipe`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Pipe {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
}

/// What a message is called on the wire, where it stands in an `Any`.
macro_rules! named {
    ($message:ident, $package:literal) => {
        impl prost::Name for $message {
            const NAME: &'static str = stringify!($message);
            const PACKAGE: &'static str = $package;
        }
    };
}
pub(crate) use named;

#[cfg(test)]
mod tests;
