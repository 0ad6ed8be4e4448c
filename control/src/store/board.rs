//! Which endpoints are registered: what streams hold here, and what other control processes have told etcd. Pure, the time
//! passed in.
//!
//! What is held here counts at once and whatever etcd does. What others have told stays while etcd is away, and what has
//! gone from it meanwhile gets one lease to come back, because the leases of living tasks have run out there too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bowline_api::model::Endpoint;

use crate::lease::{Full, Holder, Key, LEASE, Leases, Moment, Registration, range};

/// A lease in etcd.
pub(super) type LeaseId = i64;

/// How many of its own leases it remembers: those of processes that have lost etcd this often within one lease.
const REMEMBERED: usize = 16;

/// A registration as etcd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) endpoint: Endpoint,
    /// The lease of the control process that has put it there.
    pub(super) lease: LeaseId,
}

/// What has changed since it was asked for last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Services whose endpoints may have changed.
    pub(crate) services: BTreeSet<String>,
    /// All services: the lists have become complete.
    pub(crate) all: bool,
    /// What is wrong, or that nothing is any more.
    pub(crate) trouble: Option<Option<String>>,
}

/// The registrations that are known, and what is to be done about them.
#[derive(Debug, Default)]
pub(super) struct Board {
    held: Leases,
    told: BTreeMap<Key, Told>,
    /// The leases of this process in etcd, the present one last.
    mine: Vec<LeaseId>,
    /// Held here, and not known to be in etcd under the present lease.
    unsaved: BTreeSet<Key>,
    /// In etcd under a lease of this process, and not held here any more.
    doomed: BTreeSet<Key>,
    /// Gone from etcd while it was away, or soon after.
    lingering: BTreeSet<Key>,
    /// Until then what goes from etcd lingers; `None` while etcd is away.
    lingers_until: Option<Moment>,
    away: bool,
    /// Known to be gone although the lists are not settled yet: clients that keep what they know must be told.
    gone: BTreeMap<Key, Endpoint>,
    settled: bool,
    news: News,
}

impl Board {
    /// Knows nothing, since time zero.
    pub(super) fn new() -> Self {
        Board { lingers_until: Some(Moment::ZERO), ..Board::default() }
    }

    // What streams say.

    pub(super) fn announce(
        &mut self,
        holder: Holder,
        peer: Option<IpAddr>,
        registration: Registration,
        now: Moment,
    ) -> Result<(), Full> {
        let key = registration.key();
        let takes_over = self.held.get(&key).is_none();
        if self.held.announce(holder, peer, registration, now)? || takes_over {
            self.news.services.insert(key.service.clone());
            self.unsaved.insert(key.clone());
        }
        self.review(&key);
        Ok(())
    }

    /// False: the holder holds it no more.
    pub(super) fn renew(&mut self, holder: Holder, key: &Key, now: Moment) -> bool {
        self.held.renew(holder, key, now)
    }

    pub(super) fn is_taken_over(&self, holder: Holder, key: &Key) -> bool {
        self.held.is_taken_over(holder, key)
    }

    pub(super) fn withdraw(&mut self, holder: Holder, key: &Key) -> bool {
        let endpoint = self.held.get(key).map(|held| held.endpoint.clone());
        let gone = self.held.withdraw(holder, key);
        if gone {
            self.note_gone(key, endpoint);
            self.no_longer_held(key);
        }
        gone
    }

    /// While a list is not settled, whoever gets it keeps what is not in it: what is known to be gone stays in it, with
    /// weight 0.
    fn note_gone(&mut self, key: &Key, endpoint: Option<Endpoint>) {
        if let Some(endpoint) = endpoint.filter(|_| !self.settled) {
            self.gone.insert(key.clone(), Endpoint { weight: 0, ..endpoint });
        }
    }

    fn no_longer_held(&mut self, key: &Key) {
        self.unsaved.remove(key);
        self.news.services.insert(key.service.clone());
        self.review(key);
    }

    /// Whether what etcd has under this key is ours to delete.
    fn review(&mut self, key: &Key) {
        let ours = self.told.get(key).is_some_and(|told| self.mine.contains(&told.lease));
        if ours && self.held.get(key).is_none() {
            self.doomed.insert(key.clone());
        } else {
            self.doomed.remove(key);
        }
    }

    // What the clock says.

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Moment) {
        for key in self.held.expire(now) {
            self.no_longer_held(&key);
        }
        if !self.settled && now >= LEASE {
            self.settled = true;
            self.gone.clear();
            self.news.all = true;
        }
        if !self.away && self.lingers_until.is_some_and(|until| until <= now) {
            for key in std::mem::take(&mut self.lingering) {
                self.told.remove(&key);
                self.news.services.insert(key.service.clone());
            }
        }
    }

    /// When something falls due next.
    pub(super) fn next_due(&self) -> Option<Moment> {
        let lingering = if self.lingering.is_empty() { None } else { self.lingers_until };
        let settles = (!self.settled).then_some(LEASE);
        [self.held.next_expiry(), lingering, settles].into_iter().flatten().min()
    }

    // What etcd says.

    /// A registration stands there.
    pub(super) fn put_seen(&mut self, key: Key, told: Told) {
        // Somebody else holds it now, unless ours is on its way and will come later.
        if !self.mine.contains(&told.lease) && !self.unsaved.contains(&key) {
            self.held.remove(&key);
        }
        self.lingering.remove(&key);
        if self.told.get(&key).is_none_or(|before| before.endpoint != told.endpoint) {
            self.news.services.insert(key.service.clone());
        }
        let again = key.clone();
        self.told.insert(key, told);
        self.review(&again);
    }

    /// A task has withdrawn.
    pub(super) fn withdrawal_seen(&mut self, key: &Key) {
        self.lingering.remove(key);
        let told = self.told.remove(key);
        self.note_gone(key, told.map(|told| told.endpoint));
        self.doomed.remove(key);
        // It has been announced again here since.
        if self.held.get(key).is_some() {
            self.unsaved.insert(key.clone());
        }
        self.news.services.insert(key.service.clone());
    }

    /// A key is gone: its lease has run out, or somebody has deleted it.
    pub(super) fn deletion_seen(&mut self, key: &Key, now: Moment) {
        let doomed = self.doomed.remove(key);
        if self.held.get(key).is_some() {
            self.told.remove(key);
            self.unsaved.insert(key.clone());
        } else if !doomed && (self.away || self.lingers_until.is_none_or(|until| now < until)) {
            if self.told.contains_key(key) {
                self.lingering.insert(key.clone());
            }
        } else if self.told.remove(key).is_some() {
            self.lingering.remove(key);
            self.news.services.insert(key.service.clone());
        }
    }

    /// All that stands there.
    pub(super) fn listed(&mut self, list: BTreeMap<Key, Told>, now: Moment) {
        let gone: Vec<Key> = self.told.keys().filter(|key| !list.contains_key(*key)).cloned().collect();
        for key in gone {
            if !self.lingering.contains(&key) {
                self.deletion_seen(&key, now);
            }
        }
        let unknown: Vec<Key> = self.held.keys().filter(|key| !list.contains_key(*key)).cloned().collect();
        self.unsaved.extend(unknown);
        for (key, told) in list {
            self.put_seen(key, told);
        }
    }

    /// Etcd does not answer.
    pub(super) fn away(&mut self, why: String) {
        self.away = true;
        self.lingers_until = None;
        self.news.trouble = Some(Some(why));
    }

    /// It does again.
    pub(super) fn back(&mut self, now: Moment) {
        if self.away {
            self.away = false;
            self.lingers_until = Some(now + LEASE);
            self.news.trouble = Some(None);
        }
    }

    /// Changes may have been missed, or come late.
    pub(super) fn disturbed(&mut self, now: Moment) {
        if !self.away {
            self.lingers_until = Some(now + LEASE);
        }
    }

    // What etcd is to be told.

    /// Etcd has given this process a lease: all that it holds is to be put under it.
    pub(super) fn lease_granted(&mut self, lease: LeaseId) {
        self.mine.retain(|known| *known != lease);
        self.mine.push(lease);
        if self.mine.len() > REMEMBERED {
            self.mine.remove(0);
        }
        self.unsaved = self.held.keys().cloned().collect();
    }

    /// Some of those that are to be put.
    pub(super) fn to_put(&self, at_most: usize) -> Vec<Registration> {
        self.unsaved.iter().filter_map(|key| self.held.get(key)).take(at_most).cloned().collect()
    }

    /// These have been put.
    pub(super) fn put_done(&mut self, put: &[Registration]) {
        for registration in put {
            let key = registration.key();
            // It may have changed meanwhile.
            if self.held.get(&key).is_none_or(|now| now == registration) {
                self.unsaved.remove(&key);
            }
        }
    }

    /// One that is to be deleted, and under which lease it stands.
    pub(super) fn to_delete(&self) -> Option<(Key, LeaseId)> {
        let key = self.doomed.first()?;
        Some((key.clone(), self.told.get(key)?.lease))
    }

    /// It has been deleted, or belongs to somebody else now, of which there will be news.
    pub(super) fn delete_done(&mut self, key: &Key) {
        // Until the news comes it must not show up again.
        if self.doomed.remove(key) {
            self.told.remove(key);
        }
    }

    // What is asked.

    /// The endpoints of a service, by address.
    pub(super) fn endpoints(&self, service: &str) -> Vec<Endpoint> {
        // What stands in etcd under a lease of ours and is not held any more is as good as gone.
        let told = range(&self.told, service)
            .filter(|(key, _)| !self.doomed.contains(*key))
            .map(|(key, told)| (key.address, &told.endpoint));
        let held = self.held.of(service).map(|(key, held)| (key.address, &held.endpoint));
        let gone = range(&self.gone, service).map(|(key, endpoint)| (key.address, endpoint));
        let all: BTreeMap<_, _> = gone.chain(told).chain(held).collect();
        all.into_values().cloned().collect()
    }

    /// False while tasks may not have registered again since this process has started.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// What has changed since the last call; `None`: nothing.
    pub(super) fn take_news(&mut self) -> Option<News> {
        let news = std::mem::take(&mut self.news);
        (news != News::default()).then_some(news)
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.told.keys().filter(|key| self.held.get(key).is_none()).count()
    }
}

#[cfg(test)]
mod tests;
