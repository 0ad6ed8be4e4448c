//! The store of several control processes: registrations and VIPs in etcd.
//!
//! Each process has one lease, under which it puts what its streams hold (`keeper`), and watches what all have put
//! (`watcher`). Registrations here expire by the heartbeats of their streams, and are then deleted; those of a process
//! that has died go with its lease. A task that withdraws is first marked so, which tells the others from a lease that has
//! run out: that may be because etcd was away, and is no proof of anything then.

mod client;
mod keeper;
mod messages;
mod watcher;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_api::vip::VipRange;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;

use self::client::{Client, say};
use self::messages::{Compare, MOD_REVISION, Op, PutRequest, RequestOp, TxnRequest, Value};
use super::vips::{Record, Vips, all_on_record};
use super::{Shared, Tasks, unix_seconds};
use crate::backoff::Backoff;
use crate::lease::{Key, Registration};

/// How long etcd may take at the start.
const START: Duration = Duration::from_secs(10);
/// Others may write the record of VIPs at the same time: so often it is tried again.
const TRIES: usize = 50;
/// How old `lastSeen` may be on record.
const SEEN_EVERY: u64 = 3600;

/// Where etcd is: `etcd://HOST:PORT[,HOST:PORT]/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    members: Vec<String>,
    prefix: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "expected memory, or etcd://HOST:PORT[,HOST:PORT]/PREFIX";
        let rest = text.strip_prefix("etcd://").ok_or_else(|| format!("{text:?} is no store: {wanted}"))?;
        let (members, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let members: Vec<String> = members.split(',').map(str::to_owned).collect();
        let has_port = |member: &String| {
            let port = member.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
        };
        if let Some(wrong) = members.iter().find(|member| !has_port(member)) {
            return Err(format!("{wrong:?} in {text:?} is no HOST:PORT: {wanted}"));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() {
            return Err(format!("{text:?} has no prefix, which keeps one mesh apart from others: {wanted}"));
        }
        Ok(Place { members, prefix: prefix.to_owned() })
    }
}

/// The keys in etcd.
#[derive(Clone, Debug)]
struct Keys {
    registrations: String,
    vips: Vec<u8>,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        Keys {
            registrations: format!("/{prefix}/registrations/"),
            vips: format!("/{prefix}/vips").into_bytes(),
        }
    }

    fn of(&self, key: &Key) -> Vec<u8> {
        format!("{}{}/{}", self.registrations, key.service, key.address).into_bytes()
    }

    fn parse(&self, key: &[u8]) -> Option<Key> {
        let (service, address) =
            std::str::from_utf8(key).ok()?.strip_prefix(&self.registrations)?.rsplit_once('/')?;
        Some(Key { service: service.to_owned(), address: address.parse().ok()? })
    }
}

/// What stands under the key of a registration.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Entry {
    /// The task serves.
    Registered(Registration),
    /// It has withdrawn; the key is about to be deleted.
    Withdrawn {},
}

/// What the tasks share.
#[derive(Debug)]
struct Link {
    client: Client,
    keys: Keys,
    shared: Arc<Shared>,
}

impl Link {
    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(200), Duration::from_secs(2))
    }
}

/// Registrations and VIPs in etcd.
#[derive(Debug)]
pub struct Etcd {
    pub(super) shared: Arc<Shared>,
    link: Arc<Link>,
    vips: AsyncMutex<Vips>,
    /// The record as it was seen last.
    seen: Mutex<Record>,
    _tasks: Tasks,
}

impl Etcd {
    /// Learns what stands there, and goes on to watch it.
    pub(super) async fn open(place: Place) -> Result<Self, String> {
        let shared = Shared::new();
        let link = Arc::new(Link {
            client: Client::new(&place.members)?,
            keys: Keys::new(&place.prefix),
            shared: shared.clone(),
        });
        let at = place.members.join(", ");
        let mut backoff = Link::backoff();
        let learn = async {
            loop {
                match link.list().await {
                    Ok(revision) => return revision,
                    Err(status) => {
                        tracing::warn!(etcd = at, "etcd does not answer yet: {}", say(&status));
                        tokio::time::sleep(backoff.failed(fastrand::f64())).await;
                    }
                }
            }
        };
        let revision = tokio::time::timeout(START, learn)
            .await
            .map_err(|_| format!("etcd at {at} has not answered within {} s", START.as_secs()))?;
        let mut tasks = Tasks::default();
        tasks.spawn(shared.clone().keep_time());
        tasks.spawn(watcher::follow(link.clone(), revision));
        tasks.spawn(keeper::keep(link.clone()));
        Ok(Etcd { shared, link, vips: AsyncMutex::default(), seen: Mutex::default(), _tasks: tasks })
    }

    pub(super) async fn vips(
        &self,
        range: VipRange,
        names: &BTreeMap<String, Option<Ipv4Addr>>,
    ) -> Result<BTreeMap<String, Ipv4Addr>, String> {
        // One after the other in this process.
        let mut vips = self.vips.lock().await;
        let given = match self.allocate(&vips, range, names).await? {
            Ok(given) => given,
            Err(away) => {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                all_on_record(range, names, &seen).ok_or_else(|| {
                    format!("etcd is needed to give new names their addresses, and does not answer: {away}")
                })?
            }
        };
        vips.took(names);
        Ok(given)
    }

    /// The outer error is about the names, the inner one says why etcd can't be asked.
    async fn allocate(
        &self,
        vips: &Vips,
        range: VipRange,
        names: &BTreeMap<String, Option<Ipv4Addr>>,
    ) -> Result<Result<BTreeMap<String, Ipv4Addr>, String>, String> {
        let (client, key) = (&self.link.client, &self.link.keys.vips);
        for _ in 0..TRIES {
            let found = match client.get(key).await {
                Ok(found) => found,
                Err(status) => return Ok(Err(say(&status))),
            };
            let revision = found.as_ref().map_or(0, |kv| kv.mod_revision);
            let record: Record = match &found {
                Some(kv) => serde_json::from_slice(&kv.value)
                    .map_err(|error| format!("the record of VIPs in etcd is damaged: {error}"))?,
                None => Record::default(),
            };
            let given =
                vips.allocate(range, names, &record, unix_seconds()).map_err(|error| error.to_string())?;
            let written = if is_as_good(&record, &given.record) {
                Ok(true)
            } else {
                let value = serde_json::to_vec(&given.record).map_err(|error| error.to_string())?;
                let put = PutRequest { key: key.clone(), value, lease: 0 };
                let compare = Compare {
                    target: MOD_REVISION,
                    key: key.clone(),
                    // 0: there is none yet.
                    value: Some(Value::ModRevision(revision)),
                };
                let success = vec![RequestOp { op: Some(Op::Put(put)) }];
                client.transact(TxnRequest { compare: vec![compare], success }).await
            };
            match written {
                Ok(true) => {
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = given.record;
                    return Ok(Ok(given.vips));
                }
                // Somebody else was faster: their record holds.
                Ok(false) => {}
                Err(status) => return Ok(Err(say(&status))),
            }
        }
        Ok(Err("others have written the record of VIPs each time".to_owned()))
    }
}

/// Whether the record says what the new one says, but for the seconds.
fn is_as_good(record: &Record, new: &Record) -> bool {
    record.len() == new.len()
        && new.iter().all(|(name, new)| {
            record.get(name).is_some_and(|old| {
                old.vip == new.vip && new.last_seen.saturating_sub(old.last_seen) < SEEN_EVERY
            })
        })
}

#[cfg(test)]
mod tests;
