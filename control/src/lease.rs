//! Registered endpoints and their leases: pure, the time passed in.
//!
//! Whoever registers an endpoint holds it: a stream, told by its [`Holder`]. Its heartbeats renew the lease. A stream that
//! ends without a word may be a task that has died, or a network that hiccups: the lease decides. The same task on a new
//! stream is a new holder, and whatever the old stream says from then on counts for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bowline_api::model::Endpoint;
use serde::{Deserialize, Serialize};

/// How long a registration lives without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(15);
/// Most registrations that one control process holds.
pub const MAX_ALL: usize = 10_000;
/// Most of them from one address.
pub const MAX_PER_PEER: usize = 1_000;

/// A time since some fixed moment, which is the caller's.
pub type Moment = Duration;

/// Which registration: there is one for an address of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its `discoveryName`.
    pub service: String,
    /// Where the endpoint listens.
    pub address: SocketAddr,
}

/// What a task says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// The service that it is an endpoint of.
    pub service: String,
    /// Its address, weight, zone and labels.
    pub endpoint: Endpoint,
    /// The proxy that registered it.
    #[serde(default)]
    pub node: String,
    /// That proxy's version.
    #[serde(default)]
    pub version: String,
}

impl Registration {
    /// Which one it is.
    pub fn key(&self) -> Key {
        Key { service: self.service.clone(), address: self.endpoint.address }
    }
}

/// A stream that holds a registration; no two are the same while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub u64);

/// One registration more would be too many: which limit that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`MAX_ALL`].
    All,
    /// [`MAX_PER_PEER`].
    Peer,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Full::All => write!(f, "{MAX_ALL} endpoints are registered here, and that is the most"),
            Full::Peer => {
                write!(f, "{MAX_PER_PEER} endpoints are registered from this address, and that is the most")
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Lease {
    registration: Registration,
    holder: Holder,
    peer: Option<IpAddr>,
    expires: Moment,
}

/// All registrations whose streams end here.
#[derive(Debug, Default)]
pub struct Leases {
    held: BTreeMap<Key, Lease>,
    by_expiry: BTreeSet<(Moment, Key)>,
    by_peer: BTreeMap<Option<IpAddr>, usize>,
}

impl Leases {
    /// Takes a registration up, or takes it over from its last holder. True: it says something new.
    ///
    /// # Errors
    /// There are too many.
    pub fn announce(
        &mut self,
        holder: Holder,
        peer: Option<IpAddr>,
        registration: Registration,
        now: Moment,
    ) -> Result<bool, Full> {
        let key = registration.key();
        let before = self.held.get(&key);
        // Taking over is no growth, unless the peer is another one.
        if before.is_none() && self.held.len() >= MAX_ALL {
            return Err(Full::All);
        }
        let of_peer = self.by_peer.get(&peer).copied().unwrap_or(0);
        if before.is_none_or(|lease| lease.peer != peer) && of_peer >= MAX_PER_PEER {
            return Err(Full::Peer);
        }
        let new = before.is_none_or(|lease| lease.registration != registration);
        self.remove(&key);
        let expires = now + LEASE;
        self.by_expiry.insert((expires, key.clone()));
        *self.by_peer.entry(peer).or_default() += 1;
        self.held.insert(key, Lease { registration, holder, peer, expires });
        Ok(new)
    }

    /// A heartbeat. False: the lease has run out, or belongs to another holder.
    pub fn renew(&mut self, holder: Holder, key: &Key, now: Moment) -> bool {
        let Some(lease) = self.held.get_mut(key).filter(|lease| lease.holder == holder) else {
            return false;
        };
        let expired = (std::mem::replace(&mut lease.expires, now + LEASE), key.clone());
        self.by_expiry.remove(&expired);
        self.by_expiry.insert((now + LEASE, expired.1));
        true
    }

    /// Whether somebody else has taken the registration over.
    pub fn is_taken_over(&self, holder: Holder, key: &Key) -> bool {
        self.held.get(key).is_some_and(|lease| lease.holder != holder)
    }

    /// The task says that it goes. False: the registration is gone already, or belongs to another holder.
    pub fn withdraw(&mut self, holder: Holder, key: &Key) -> bool {
        let held = self.held.get(key).is_some_and(|lease| lease.holder == holder);
        held && self.remove(key)
    }

    /// Drops a registration whoever holds it. False: there is none.
    pub fn remove(&mut self, key: &Key) -> bool {
        let Some(lease) = self.held.remove(key) else { return false };
        self.by_expiry.remove(&(lease.expires, key.clone()));
        if let Some(count) = self.by_peer.get_mut(&lease.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&lease.peer);
            }
        }
        true
    }

    /// Drops those whose lease has run out, and says which.
    pub fn expire(&mut self, now: Moment) -> Vec<Key> {
        let mut expired = Vec::new();
        while let Some((_, key)) = self.by_expiry.first().filter(|(at, _)| *at <= now).cloned() {
            self.remove(&key);
            expired.push(key);
        }
        expired
    }

    /// When the next lease runs out.
    pub fn next_expiry(&self) -> Option<Moment> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    /// A registration.
    pub fn get(&self, key: &Key) -> Option<&Registration> {
        self.held.get(key).map(|lease| &lease.registration)
    }

    /// All of a service, by address.
    pub fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a Key, &'a Registration)> {
        range(&self.held, service).map(|(key, lease)| (key, &lease.registration))
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.held.keys()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// The part of a map that is about a service.
pub(crate) fn range<'a, T>(
    map: &'a BTreeMap<Key, T>,
    service: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a T)> {
    // The lowest of all addresses.
    let first = Key { service: service.to_owned(), address: SocketAddr::from(([0, 0, 0, 0], 0)) };
    map.range(first..).take_while(move |(key, _)| key.service == service)
}

#[cfg(test)]
mod tests;
