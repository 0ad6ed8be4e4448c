//! What a service with a hash policy needs for each request, worked out once a snapshot: what to hash, and the table.

use std::net::IpAddr;

use bowline_api::model::{BalancingPolicy, HashCookie, HashOn, LoadBalancing};
use bowline_core::balance::{BoundedLoad, HashTable, Maglev, Policy, Ring};
use bowline_core::hash::xxh64;
use http::HeaderName;

use super::Endpoint;

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The address of the client.
    ClientAddress,
    /// The value of this header.
    Header(HeaderName),
    /// The value of this cookie, which is set where there is none.
    Cookie(Cookie),
    /// The value of this query parameter.
    Query(String),
    /// The path.
    Path,
}

/// The hash of an address, the same however it is written.
pub fn hash_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => xxh64(&v4.octets(), 0),
        IpAddr::V6(v6) => xxh64(&v6.octets(), 0),
    }
}

/// A cookie that keeps a caller where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// What follows the value where it is set.
    pub attributes: String,
}

impl HashKey {
    /// As the mesh file says. `None`: a header's name is none, which is refused when the file is checked.
    pub fn new(on: &HashOn) -> Option<Self> {
        Some(match on {
            HashOn::ClientAddress => HashKey::ClientAddress,
            HashOn::Header(name) => HashKey::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
            HashOn::Cookie(cookie) => HashKey::Cookie(Cookie::new(cookie)),
            HashOn::Query(name) => HashKey::Query(name.clone()),
            HashOn::Path => HashKey::Path,
        })
    }

    /// The key of a connection of which nothing is known but who has opened it.
    pub fn of_connection(&self, client: IpAddr) -> Option<u64> {
        (*self == HashKey::ClientAddress).then(|| hash_address(client))
    }

    /// For a person.
    pub fn describe(&self) -> String {
        match self {
            HashKey::ClientAddress => "the client's address".to_owned(),
            HashKey::Header(name) => format!("header {name}"),
            HashKey::Cookie(cookie) => format!("cookie {}", cookie.name),
            HashKey::Query(name) => format!("query parameter {name}"),
            HashKey::Path => "the path".to_owned(),
        }
    }
}

impl Cookie {
    fn new(cookie: &HashCookie) -> Self {
        let HashCookie { name, ttl_seconds, path } = cookie;
        let age = if *ttl_seconds > 0 { format!("; Max-Age={ttl_seconds}") } else { String::new() };
        Cookie { name: name.clone(), attributes: format!("; Path={path}{age}; HttpOnly; SameSite=Lax") }
    }
}

/// How a service finds the endpoint of a key.
#[derive(Debug)]
pub struct Hashing {
    /// What is hashed.
    pub key: HashKey,
    /// How full an endpoint may be; `None`: as full as its keys make it.
    pub bound: Option<BoundedLoad>,
    /// By level of priority, best first: the level, and the table of its endpoints by their index in the service.
    pub tables: Box<[(u32, HashTable)]>,
}

impl Hashing {
    /// `None`: the policy is none that hashes, or nothing is said of what to hash.
    pub(super) fn new(lb: &LoadBalancing, endpoints: &[Endpoint]) -> Option<Self> {
        let ring = match lb.policy {
            BalancingPolicy::RingHash => true,
            BalancingPolicy::Maglev => false,
            _ => return None,
        };
        let key = HashKey::new(lb.hash.as_ref()?)?;
        let weights = zone_weights(lb, endpoints);
        let mut levels: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
        levels.sort_unstable();
        levels.dedup();
        let table = |level: u32| {
            let weight = |(n, endpoint): (usize, &Endpoint)| {
                let weight = if endpoint.priority == level { weights[n] } else { 0 };
                (endpoint.shared.addr.to_string(), weight)
            };
            let weighted: Vec<_> = endpoints.iter().enumerate().map(weight).collect();
            let table = if ring {
                HashTable::Ring(Ring::new(&weighted))
            } else {
                HashTable::Maglev(Maglev::new(&weighted))
            };
            (level, table)
        };
        Some(Hashing {
            key,
            bound: (lb.bounded_load_percent > 0).then(|| BoundedLoad::new(lb.bounded_load_percent)),
            tables: levels.into_iter().map(table).collect(),
        })
    }
}

/// The weights with those of the zones in them: a key's endpoint must be the same one in all proxies, so their state has
/// no say in it.
fn zone_weights(lb: &LoadBalancing, endpoints: &[Endpoint]) -> Vec<u32> {
    let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
    if lb.zone_weights.is_empty() {
        return weights;
    }
    let zones: Vec<(&String, f64)> = lb.zone_weights.iter().map(|(zone, w)| (zone, f64::from(*w))).collect();
    let group = |n: usize| {
        let zone = endpoints[n].zone.as_ref();
        zones.iter().position(|(name, _)| Some(*name) == zone).unwrap_or(usize::MAX)
    };
    let shares: Vec<f64> = zones.iter().map(|(_, weight)| *weight).collect();
    let sum: f64 = shares.iter().sum();
    let shares: Vec<f64> = shares.iter().map(|share| if sum > 0.0 { share / sum } else { 0.0 }).collect();
    let mut scaled = Vec::new();
    bowline_core::balance::priority::scale_weights(&weights, group, |_| true, &shares, &mut scaled);
    scaled
}

/// The policy that picks where no key does.
pub(super) fn plain(policy: BalancingPolicy) -> Policy {
    match policy {
        BalancingPolicy::PeakEwma => Policy::PeakEwma,
        BalancingPolicy::LeastRequest => Policy::LeastRequest,
        BalancingPolicy::RoundRobin => Policy::RoundRobin,
        BalancingPolicy::Random => Policy::Random,
        BalancingPolicy::RingHash => Policy::RingHash,
        BalancingPolicy::Maglev => Policy::Maglev,
    }
}
