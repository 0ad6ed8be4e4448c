//! Our own messages inside standard resources.

use prost::{Message, Name};

/// The key of our metadata in xDS resources and their wrappers.
pub const METADATA: &str = "bowline";
/// In the metadata of a delta response's wrapper: `{"bowline": {"partial": true}}` says that some endpoints may be missing.
pub const PARTIAL: &str = "partial";

/// A service, whole: the `typed_filter_metadata` named [`METADATA`] of a `Cluster` for our own proxies.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Service {
    /// The JSON of [`bowline_api::Service`], with the endpoints as they are written in the mesh file.
    #[prost(bytes = "vec", tag = "1")]
    pub model: Vec<u8>,
    /// The VIPs of its names.
    #[prost(message, repeated, tag = "2")]
    pub vips: Vec<Vip>,
    /// The namespace it is in.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// The version of the control plane.
    #[prost(string, tag = "4")]
    pub control_version: String,
}

/// The VIP of a name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Vip {
    /// The name, in lower case.
    #[prost(string, tag = "1")]
    pub dns_name: String,
    /// The address, IPv4.
    #[prost(string, tag = "2")]
    pub address: String,
}

impl Name for Service {
    const NAME: &'static str = "Service";
    const PACKAGE: &'static str = "bowline.v1";

    fn type_url() -> String {
        "type.googleapis.com/bowline.v1.Service".to_owned()
    }
}
