//! When Route 53 is asked what. Pure: the time and chance are passed in.
//!
//! One request at a time, and half a second between two of them, so that most of what an account may ask is left to others.
//! The zone is listed at the start and every five minutes; changes of the mesh are gathered for a second. A batch that is
//! refused because the zone is not as it was thought to be leads to another list and another plan; batches become smaller
//! until it is clear which name it is that Route 53 does not take, and that one waits while the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Names;
use super::plan::{Group, Place, Plan, fitting, plan};
use super::record::{Action, Change, Contents, Kind};
use crate::backoff::Backoff;

/// Between two requests.
pub(super) const GAP: Duration = Duration::from_millis(500);
/// How long a change of the mesh waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Between two lists of the zone.
const LIST: Duration = Duration::from_secs(300);
/// The same, while names are taken by somebody else, who may be about to give them up.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How old a list may be when something is done on the strength of it that Route 53 does not check.
const FRESH: Duration = Duration::from_secs(2);
/// How long after a failure the next request comes, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a name that Route 53 refuses waits.
const REFUSED: Duration = Duration::from_secs(300);

/// A time since some fixed moment, which is the caller's.
pub(super) type Moment = Duration;

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Which zone is it?
    Check,
    /// What is in it? A page of it, if there are several.
    List,
    /// Change it, if there is something to change.
    Change,
}

/// What a request has failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Too much is asked, by us or by others of the account.
    Throttled,
    /// The zone is not as it was thought to be, or a name is not to Route 53's liking.
    Refused,
    /// Anything else.
    Other,
}

/// A step that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These changes are to be made.
    Batch(Vec<Group>),
    /// The zone must be listed first.
    ListFirst,
    /// All is as it should be.
    Nothing,
}

/// One zone's requests.
#[derive(Debug)]
pub(super) struct Desk {
    namespace: String,
    grace: Duration,
    wanted: Arc<Names>,
    zone: Option<String>,
    contents: Option<(Contents, Moment)>,
    /// Names that we have marked and that nobody wants any more, with when they go.
    leaving: BTreeMap<String, Moment>,
    /// Names that Route 53 refuses, with until when they wait.
    refused: BTreeMap<String, Moment>,
    plan: Plan,
    change_at: Option<Moment>,
    list_at: Moment,
    free_at: Moment,
    failures: Backoff,
    refusals: Backoff,
    /// Most names in a batch.
    most: usize,
}

impl Desk {
    /// For the names of a namespace; one that leaves the mesh goes after `grace`.
    pub(super) fn new(namespace: String, wanted: Arc<Names>, grace: Duration) -> Self {
        Desk {
            namespace,
            grace,
            wanted,
            zone: None,
            contents: None,
            leaving: BTreeMap::new(),
            refused: BTreeMap::new(),
            plan: Plan::default(),
            change_at: None,
            list_at: Moment::ZERO,
            free_at: Moment::ZERO,
            failures: Backoff::new(AGAIN.0, AGAIN.1),
            refusals: Backoff::new(AGAIN.0, AGAIN.1),
            most: usize::MAX,
        }
    }

    /// What is asked next, and when.
    pub(super) fn next(&self) -> (Moment, Ask) {
        if self.zone.is_none() {
            return (self.free_at, Ask::Check);
        }
        match self.change_at {
            Some(change) if self.contents.is_some() && change < self.list_at => {
                (change.max(self.free_at), Ask::Change)
            }
            _ => (self.list_at.max(self.free_at), Ask::List),
        }
    }

    /// The mesh has these names now.
    pub(super) fn want(&mut self, wanted: Arc<Names>, now: Moment) {
        self.wanted = wanted;
        self.note_leaving(now);
        self.change_by(now + GATHER);
    }

    /// It is this zone.
    pub(super) fn checked(&mut self, zone: String, now: Moment) {
        self.zone = Some(zone);
        self.succeeded(now);
    }

    /// A page of the zone has come, and another one is to be asked for.
    pub(super) fn page(&mut self, now: Moment) {
        self.succeeded(now);
    }

    /// The zone has these records. Names are returned that are not any more as they were left: somebody else has changed
    /// them.
    pub(super) fn listed(&mut self, contents: Contents, now: Moment) -> Vec<String> {
        self.succeeded(now);
        let disturbed = match (self.place(), &self.contents) {
            (Some(place), Some((before, _))) => self.disturbed(&place, before, &contents),
            _ => Vec::new(),
        };
        self.contents = Some((contents, now));
        self.list_at = now + LIST;
        self.note_leaving(now);
        self.change_by(now);
        disturbed
    }

    /// The zone has more records than are taken in: it is looked at again much later.
    pub(super) fn gave_up(&mut self, now: Moment) {
        self.succeeded(now);
        self.list_at = now + LIST;
    }

    /// What is to be changed now.
    pub(super) fn step(&mut self, now: Moment) -> Step {
        self.refused.retain(|_, until| *until > now);
        self.note_leaving(now);
        let (Some(place), Some((contents, listed))) = (self.place(), &self.contents) else {
            return Step::ListFirst;
        };
        let keep = self.leaving.iter().filter(|(_, due)| **due > now).map(|(name, _)| name.clone()).collect();
        self.plan = plan(&place, &self.wanted, &keep, contents);
        let refused = &self.refused;
        let mut groups: Vec<Group> =
            self.plan.groups.iter().filter(|group| !refused.contains_key(&group.name)).cloned().collect();
        groups.truncate(fitting(&groups, self.most));
        if groups.is_empty() {
            self.refusals.succeeded();
            let later = self.leaving.values().chain(self.refused.values()).filter(|due| **due > now);
            self.change_at = later.min().copied();
            if !self.plan.taken.is_empty() {
                self.list_at = self.list_at.min(*listed + LOOK_AGAIN);
            }
            return Step::Nothing;
        }
        if groups.iter().any(believes) && now.saturating_sub(*listed) > FRESH {
            self.list_first(now);
            return Step::ListFirst;
        }
        Step::Batch(groups)
    }

    /// This batch has been made.
    pub(super) fn changed(&mut self, batch: &[Group], now: Moment) {
        self.succeeded(now);
        self.refusals.succeeded();
        self.most = self.most.saturating_mul(2);
        if let Some((contents, _)) = &mut self.contents {
            let changes: Vec<Change> = batch.iter().flat_map(|group| group.changes.iter().cloned()).collect();
            contents.apply(&changes);
        }
        self.note_leaving(now);
        self.change_by(now);
    }

    /// A request has failed; `chance`, 0 to 1. A batch that was under way is told of.
    pub(super) fn failed(&mut self, fault: Fault, batch: &[Group], now: Moment, chance: f64) {
        let backoff = if fault == Fault::Refused { &mut self.refusals } else { &mut self.failures };
        let wait = backoff.failed(chance);
        let again = backoff.failures() > 1;
        self.free_at = now + wait.max(GAP);
        if batch.is_empty() {
            return;
        }
        match fault {
            // Route 53 counts the changes, not the requests alone.
            Fault::Throttled => self.most = (batch.len() / 2).max(1),
            Fault::Refused => {
                self.list_first(now);
                // The first time the list is likely to have been old.
                if again {
                    self.most = (batch.len() / 2).max(1);
                }
                if let ([one], true) = (batch, again) {
                    self.refused.insert(one.name.clone(), now + REFUSED);
                    self.refusals.succeeded();
                }
            }
            Fault::Other => {}
        }
    }

    /// The zone's name, once it is known.
    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// What was planned last.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many names are to go.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Names that Route 53 has refused.
    pub(super) fn refused(&self) -> impl Iterator<Item = &str> {
        self.refused.keys().map(String::as_str)
    }

    fn place(&self) -> Option<Place> {
        let zone = self.zone.clone()?;
        Some(Place { zone, namespace: self.namespace.clone() })
    }

    fn succeeded(&mut self, now: Moment) {
        self.failures.succeeded();
        self.free_at = now + GAP;
    }

    fn list_first(&mut self, now: Moment) {
        self.list_at = now;
        self.change_at = Some(now);
    }

    fn change_by(&mut self, due: Moment) {
        self.change_at = Some(self.change_at.map_or(due, |before| before.min(due)));
    }

    fn note_leaving(&mut self, now: Moment) {
        let Some((contents, _)) = &self.contents else { return };
        let unwanted: BTreeSet<&str> =
            contents.marked(&self.namespace).filter(|name| !self.wanted.contains_key(*name)).collect();
        self.leaving.retain(|name, _| unwanted.contains(name.as_str()));
        for name in unwanted {
            self.leaving.entry(name.to_owned()).or_insert(now + self.grace);
        }
    }

    /// Names that were as they should be, and are not.
    fn disturbed(&self, place: &Place, before: &Contents, after: &Contents) -> Vec<String> {
        let keep: BTreeSet<String> = before
            .marked(&place.namespace)
            .chain(after.marked(&place.namespace))
            .map(ToOwned::to_owned)
            .collect();
        let wrong = |contents| {
            let plan = plan(place, &self.wanted, &keep, contents);
            let taken = plan.taken.into_keys();
            plan.groups.into_iter().map(|group| group.name).chain(taken).collect::<BTreeSet<_>>()
        };
        wrong(after).difference(&wrong(before)).cloned().collect()
    }
}

/// Whether a group's changes are made whatever there is: a record overwritten, or a mark taken away without a record of
/// ours, because there seems to be none. Others are refused where the zone is not as it was listed.
fn believes(group: &Group) -> bool {
    let overwrites = group.changes.iter().any(|change| change.action == Action::Upsert);
    overwrites || group.changes.iter().all(|change| change.record.kind == Kind::Txt)
}

#[cfg(test)]
mod tests;
