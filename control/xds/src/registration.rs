//! How a proxy tells the control plane that its own task serves: `bowline.v1.Registration/Register`, a gRPC stream in
//! both directions.
//!
//! The first message of a stream is [`Announce`]. [`Heartbeat`] keeps the lease, [`Withdraw`] ends it at once; a stream
//! that breaks leaves it to run out. A second `Announce` on the same stream takes the place of the first, e.g. with
//! another weight. The control plane answers the first `Announce`, and whenever the lease has changed.

use std::collections::BTreeMap;

/// The name of the gRPC service.
pub const SERVICE: &str = "bowline.v1.Registration";
/// The path of its one method.
pub const REGISTER_PATH: &str = "/bowline.v1.Registration/Register";

/// What a proxy says.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegisterRequest {
    /// One of the three.
    #[prost(oneof = "Say", tags = "1, 2, 3")]
    pub say: Option<Say>,
}

/// The things that a proxy can say.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Say {
    /// The task serves.
    #[prost(message, tag = "1")]
    Announce(Announce),
    /// It still does.
    #[prost(message, tag = "2")]
    Heartbeat(Heartbeat),
    /// It won't any more.
    #[prost(message, tag = "3")]
    Withdraw(Withdraw),
}

/// A task that serves.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Announce {
    /// The namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The service's `discoveryName`.
    #[prost(string, tag = "2")]
    pub service: String,
    /// Where it can be called: `ip:port`. An unspecified IP (`0.0.0.0`, `[::]`) means the address that the stream comes
    /// from.
    #[prost(string, tag = "3")]
    pub address: String,
    /// Its share of the traffic, 0 to 1000; 0 = none for now. Always written: unset reads as 0.
    #[prost(uint32, tag = "4")]
    pub weight: u32,
    /// The availability zone; empty: unknown.
    #[prost(string, tag = "5")]
    pub zone: String,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "6")]
    pub metadata: BTreeMap<String, String>,
    /// Who registers: the same for all streams of one task, so that a new stream takes over from a broken one.
    #[prost(string, tag = "7")]
    pub node_id: String,
    /// The version of the proxy.
    #[prost(string, tag = "8")]
    pub version: String,
}

/// The task still serves.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Heartbeat {}

/// The task won't serve any more.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Withdraw {}

/// What the control plane answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegisterResponse {
    /// How long the registration lives without a heartbeat, in seconds. A heartbeat every third of it is enough.
    #[prost(uint32, tag = "1")]
    pub lease_seconds: u32,
    /// The address as it was registered: `ip:port`.
    #[prost(string, tag = "2")]
    pub address: String,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_numbers_on_the_wire_are_the_contract() {
        let announce = Announce { service: "s".into(), weight: 1, ..Announce::default() };
        let bytes = RegisterRequest { say: Some(Say::Announce(announce.clone())) }.encode_to_vec();
        assert_eq!(bytes, [0x0a, 5, 0x12, 1, b's', 0x20, 1]);
        let read = RegisterRequest::decode(&bytes[..]).unwrap();
        assert_eq!(read.say, Some(Say::Announce(announce)));
        assert_eq!(RegisterRequest { say: Some(Say::Heartbeat(Heartbeat {})) }.encode_to_vec(), [0x12, 0]);
        assert_eq!(RegisterRequest { say: Some(Say::Withdraw(Withdraw {})) }.encode_to_vec(), [0x1a, 0]);
        let response = RegisterResponse { lease_seconds: 15, address: "a".into() };
        assert_eq!(response.encode_to_vec(), [0x08, 15, 0x12, 1, b'a']);
    }

    #[test]
    fn what_a_newer_proxy_says_reads_as_nothing() {
        let newer = [0x22, 0];
        assert_eq!(RegisterRequest::decode(&newer[..]).unwrap().say, None);
    }
}
