//! Where a service's endpoints come from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vip::VipRange;

/// The highest weight that an endpoint can have.
pub const MAX_WEIGHT: u32 = 1000;

/// The source of a service's endpoints: exactly one of `static`, `dns`, `cloudMap` and `registered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Endpoints {
    /// The endpoints, written out. May be empty: the name then exists, and requests get a 503 that says why.
    Static(Vec<Endpoint>),

    /// The addresses that a DNS name resolves to, resolved again as its TTL runs out (after 1 s at the earliest, 300 s
    /// at the latest). While it can't be resolved, or the answer is empty, the last good ones stay.
    Dns(DnsSource),

    /// The instances of an AWS Cloud Map service. The control plane finds them; a proxy that runs alone on a mesh file has
    /// none.
    CloudMap(CloudMapSource),

    /// The tasks whose own proxies register them (`bowline-proxy run --register`) with the control plane; a proxy that runs
    /// alone on a mesh file has none.
    Registered(RegisteredSource),
}

impl Endpoints {
    /// The endpoints that are written in the file; none for the other sources.
    #[must_use]
    pub fn static_endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Static(list) => list,
            Self::Dns(_) | Self::CloudMap(_) | Self::Registered(_) => &[],
        }
    }

    /// Whether only the control plane can find them.
    #[must_use]
    pub const fn need_control(&self) -> bool {
        matches!(self, Self::CloudMap(_) | Self::Registered(_))
    }
}

/// One address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// `ip:port`, IPv4 (`10.0.0.7:9001`) or IPv6 (`[fd00::7]:9001`). Not a host name: that is what `dns` is for.
    /// Required, and unique in its service.
    #[schemars(with = "String", extend("format" = "ip-port", "x-expected" = "ip:port, e.g. \"10.0.0.7:9001\""))]
    pub address: SocketAddr,

    /// Its share of the traffic against the other endpoints of the service, 0 to 1000; 0 means no new traffic.
    /// Default 1.
    #[serde(default = "one")]
    #[schemars(range(max = 1000))]
    pub weight: u32,

    /// The availability zone it runs in, e.g. `eu-west-1a`. Default: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub zone: Option<String>,

    /// Its level, 0 to 127: endpoints of a higher number get what those of the lower ones can't carry. Default 0.
    #[serde(default, skip_serializing_if = "super::is_default")]
    #[schemars(range(max = 127))]
    pub priority: u32,

    /// Labels, e.g. `version: v1`, by which `loadBalancing.subset` chooses. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Endpoint {
    /// An endpoint of weight 1, in no zone.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, weight: 1, zone: None, priority: 0, metadata: BTreeMap::new() }
    }

    /// Why nobody can be called at this address, in words; `None` where somebody can. Addresses in `vips` stand for
    /// names.
    #[must_use]
    pub fn why_not(address: SocketAddr, vips: VipRange) -> Option<&'static str> {
        match address.ip() {
            _ if address.port() == 0 => Some("port 0 can't be called"),
            ip if ip.is_unspecified() => Some("it means every address, and none that can be called"),
            ip if ip.is_multicast() => Some("it is a multicast address"),
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some("it is the broadcast address"),
            IpAddr::V4(ip) if vips.contains(ip) => {
                Some("it lies in the VIP range, so that calls would come back to the proxy")
            }
            _ => None,
        }
    }
}

fn one() -> u32 {
    1
}

/// Endpoints from DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsSource {
    /// The name to resolve, as the system's resolver would: with its search domains, unless it ends in a dot. Required.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The port of every address found, 1 to 65535; an SRV record brings its own. Required unless `type` is SRV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// The record type. Default `A`.
    #[serde(rename = "type", default)]
    pub record_type: DnsRecordType,
}

/// The DNS record types that endpoints can come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DnsRecordType {
    /// IPv4 addresses.
    #[default]
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Names with ports, weights and priorities: the records of the lowest priority are used.
    Srv,
}

/// Endpoints from AWS Cloud Map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudMapSource {
    /// The Cloud Map namespace. Default: this mesh's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub namespace: Option<String>,

    /// The Cloud Map service. Default: the `discoveryName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub service: Option<String>,
}

/// Endpoints that register themselves. It has no keys yet: write `registered: {}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisteredSource {}
