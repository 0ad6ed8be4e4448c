//! Learns from etcd what all control processes have registered.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::sleep;
use tonic::Status;

use super::client::{after_prefix, say};
use super::messages::{DELETE, Event, KeyValue};
use super::{Entry, Link};
use crate::lease::Key;
use crate::store::board::Told;

/// Watches for ever, from after this revision.
pub(super) async fn follow(link: Arc<Link>, mut revision: i64) {
    let mut backoff = Link::backoff();
    loop {
        let (before, broken) = (revision, link.watch(&mut revision).await);
        if revision != before {
            backoff.succeeded();
        }
        link.shared.told(|board, now| board.disturbed(now));
        match broken {
            Broken::Lost(status) => tracing::debug!("the watch of etcd is resumed: {}", say(&status)),
            // What was missed can't be had any more, so all is read anew.
            Broken::Cancelled(why) => {
                tracing::info!("etcd has ended the watch, and is read anew: {why}");
                match link.list().await {
                    Ok(now) => revision = now,
                    Err(status) => tracing::debug!("etcd can't be read: {}", say(&status)),
                }
            }
        }
        sleep(backoff.failed(fastrand::f64())).await;
    }
}

/// Why a watch has ended.
enum Broken {
    /// The connection is gone; it can be resumed.
    Lost(Status),
    /// Etcd has ended it, and says why.
    Cancelled(String),
}

impl Link {
    /// Reads all registrations; gives the revision that this was.
    pub(super) async fn list(&self) -> Result<i64, Status> {
        let prefix = self.keys.registrations.as_bytes();
        let (found, revision) = self.client.list(prefix, &after_prefix(prefix)).await?;
        let list: BTreeMap<Key, Told> = found
            .iter()
            .filter_map(|kv| self.read(kv))
            .filter_map(|(key, told)| Some((key, told?)))
            .collect();
        self.shared.told(|board, now| board.listed(list, now));
        Ok(revision)
    }

    /// Follows changes from after `revision`, which is moved on, until something breaks.
    async fn watch(&self, revision: &mut i64) -> Broken {
        let prefix = self.keys.registrations.as_bytes();
        let opened = self.client.watch(prefix, &after_prefix(prefix), *revision + 1).await;
        let mut watching = match opened {
            Ok(watching) => watching,
            Err(status) => return Broken::Lost(status),
        };
        loop {
            let response = match watching.next().await {
                Ok(response) => response,
                Err(status) => return Broken::Lost(status),
            };
            if response.canceled || response.compact_revision != 0 {
                let compacted = response.compact_revision != 0;
                let why = if compacted { "its past was compacted" } else { &response.cancel_reason };
                return Broken::Cancelled(why.to_owned());
            }
            if !response.events.is_empty() {
                self.shared.told(|board, now| {
                    for event in &response.events {
                        match self.changed(event) {
                            Some((key, Some(told))) => board.put_seen(key, told),
                            Some((key, None)) if event.kind == DELETE => board.deletion_seen(&key, now),
                            Some((key, None)) => board.withdrawal_seen(&key),
                            None => {}
                        }
                    }
                });
            }
            // The first response tells of the present, though what lies before is still to come.
            if !response.created
                && !response.fragment
                && let Some(header) = response.header
            {
                *revision = header.revision.max(*revision);
            }
        }
    }

    fn changed(&self, event: &Event) -> Option<(Key, Option<Told>)> {
        let kv = event.kv.as_ref()?;
        if event.kind == DELETE { Some((self.keys.parse(&kv.key)?, None)) } else { self.read(kv) }
    }

    /// A registration, or the mark of a withdrawal. `None`: nothing that this version understands.
    fn read(&self, kv: &KeyValue) -> Option<(Key, Option<Told>)> {
        let key = self.keys.parse(&kv.key)?;
        match serde_json::from_slice(&kv.value) {
            Ok(Entry::Withdrawn {}) => Some((key, None)),
            Ok(Entry::Registered(registration)) if registration.key() == key => {
                Some((key, Some(Told { endpoint: registration.endpoint, lease: kv.lease })))
            }
            _ => {
                tracing::warn!(service = key.service, address = %key.address, "an entry in etcd is not understood");
                None
            }
        }
    }
}
