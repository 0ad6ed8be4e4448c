//! What is to be changed in a zone so that it has the names that the mesh wants. Pure.
//!
//! A name is ours if it is marked so. Records without our mark are never touched: a new name is made with CREATE, which is
//! refused where a record has come meanwhile, and only a marked one is put right with UPSERT. What is deleted is what we
//! could have written, a loopback address: if somebody has put another address into our record, and the name leaves the
//! mesh, the record is theirs from then on and only the mark goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use super::Names;
use super::name::{fits, lies_in, mark_of, mark_text};
use super::record::{Action, Change, Contents, Kind, Owner, Record};

/// How long an address may be kept by resolvers, in seconds. It does not change while the name lives; a name that has left
/// the mesh and comes back, and one that is pinned elsewhere, should be right within a minute.
pub const TTL: i64 = 60;
/// Most values in one request to Route 53; those of an UPSERT count twice.
const MOST_VALUES: usize = 1000;
/// Most characters of values in one request; those of an UPSERT count twice.
const MOST_CHARACTERS: usize = 32_000;

/// Whose zone it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The zone's name, in lower case and without a last dot.
    pub zone: String,
    /// The namespace whose names are published.
    pub namespace: String,
}

/// All changes of one name. They are made together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Its changes.
    pub changes: Vec<Change>,
}

/// Why a name of the mesh is not in the zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// It has a record that we have not made.
    Record(Kind),
    /// There is something else where its mark would be.
    Mark,
    /// Another namespace's control plane has published it.
    Namespace(String),
    /// It is too long for its mark.
    TooLong,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Taken::Record(kind) => write!(f, "it has a record of type {} that is not ours", kind.as_str()),
            Taken::Mark => write!(f, "somebody else has a record where its mark would be"),
            Taken::Namespace(whose) => write!(f, "it is published for the namespace {whose}"),
            Taken::TooLong => write!(f, "it is too long: its mark needs nine characters more"),
        }
    }
}

/// What is to be done, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, name by name, in the order of the names.
    pub groups: Vec<Group>,
    /// Names that are not in the zone because somebody else has them.
    pub taken: BTreeMap<String, Taken>,
    /// Names that lie outside of the zone.
    pub outside: BTreeSet<String>,
    /// How many names are in the zone as they should be.
    pub published: usize,
    /// How many will be by these changes.
    pub pending: usize,
}

/// Makes the plan. Names that we have marked and that are not wanted any more go, but for those to `keep`.
pub fn plan(place: &Place, wanted: &Names, keep: &BTreeSet<String>, contents: &Contents) -> Plan {
    let mut plan = Plan::default();
    for (name, vip) in wanted {
        if !lies_in(name, &place.zone) {
            plan.outside.insert(name.clone());
            continue;
        }
        let wish = wish(place, name, *vip, contents);
        match wish.taken {
            Some(taken) => drop(plan.taken.insert(name.clone(), taken)),
            None if wish.changes.is_empty() => plan.published += 1,
            None => plan.pending += 1,
        }
        plan.add(name, wish.changes);
    }
    for name in contents.marked(&place.namespace) {
        if !wanted.contains_key(name) && !keep.contains(name) {
            plan.add(name, farewell(name, contents));
        }
    }
    plan.groups.sort_by(|a, b| a.name.cmp(&b.name));
    plan
}

impl Plan {
    fn add(&mut self, name: &str, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.groups.push(Group { name: name.to_owned(), changes });
        }
    }
}

struct Wish {
    changes: Vec<Change>,
    taken: Option<Taken>,
}

/// What a name that is wanted lacks.
fn wish(place: &Place, name: &str, vip: Ipv4Addr, contents: &Contents) -> Wish {
    let taken = |taken| Wish { changes: Vec::new(), taken: Some(taken) };
    let address = |action| Change {
        action,
        record: Record {
            name: name.to_owned(),
            kind: Kind::A,
            ttl: TTL,
            values: vec![vip.to_string()],
            simple: true,
        },
    };
    let mark = Change {
        action: Action::Create,
        record: Record {
            name: mark_of(name),
            kind: Kind::Txt,
            ttl: TTL,
            values: vec![mark_text(&place.namespace)],
            simple: true,
        },
    };
    if !fits(name) {
        return taken(Taken::TooLong);
    }
    match contents.owner(name) {
        Owner::Stranger => taken(Taken::Mark),
        Owner::Namespace(whose, _) if whose != place.namespace => taken(Taken::Namespace(whose)),
        Owner::Nobody => match in_the_way(place, name, contents) {
            Some(kind) => taken(Taken::Record(kind)),
            None => Wish { changes: vec![address(Action::Create), mark], taken: None },
        },
        Owner::Namespace(_, found) => match replaced(name, contents) {
            // Nothing of ours is left there: without its mark the name is openly somebody else's.
            Some(kind) => Wish { changes: vec![delete(found)], taken: Some(Taken::Record(kind)) },
            None => {
                let right = address(Action::Upsert);
                let same = |record: &Record| record.ttl == TTL && record.values == right.record.values;
                match contents.get(name, Kind::A).is_some_and(same) {
                    true => Wish { changes: Vec::new(), taken: None },
                    false => Wish { changes: vec![right], taken: None },
                }
            }
        },
    }
}

/// What goes when a name that we have marked has left the mesh.
fn farewell(name: &str, contents: &Contents) -> Vec<Change> {
    let Owner::Namespace(_, mark) = contents.owner(name) else { return Vec::new() };
    let loopback = |value: &String| value.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    let ours = |record: &&Record| record.simple && record.values.iter().all(loopback);
    contents.get(name, Kind::A).filter(ours).into_iter().chain([mark]).map(delete).collect()
}

fn delete(record: &Record) -> Change {
    Change { action: Action::Delete, record: record.clone() }
}

/// A record that makes a name without a mark somebody else's.
fn in_the_way(place: &Place, name: &str, contents: &Contents) -> Option<Kind> {
    [Kind::A, Kind::Aaaa, Kind::Cname, Kind::Ns]
        .into_iter()
        // The zone's own name servers are at its own name.
        .filter(|kind| *kind != Kind::Ns || name != place.zone)
        .find(|kind| contents.get(name, *kind).is_some())
}

/// A record that somebody has put in the place of ours, and beside which there can't be one of ours.
fn replaced(name: &str, contents: &Contents) -> Option<Kind> {
    let routed = contents.get(name, Kind::A).is_some_and(|record| !record.simple);
    let other = contents.get(name, Kind::Cname).is_some();
    routed.then_some(Kind::A).or(other.then_some(Kind::Cname))
}

/// What changes count towards the limits of a request.
fn weight(changes: &[Change]) -> (usize, usize) {
    changes.iter().fold((0, 0), |(values, characters), change| {
        let times = if change.action == Action::Upsert { 2 } else { 1 };
        let written: usize = change.record.values.iter().map(|value| value.chars().count()).sum();
        (values + times * change.record.values.len().max(1), characters + times * written)
    })
}

/// How many of the first groups fit into one request, `most` at most. One always does: Route 53 has no record so large.
pub fn fitting(groups: &[Group], most: usize) -> usize {
    let (mut values, mut characters) = (0, 0);
    let fits = groups.iter().take(most.max(1)).take_while(|group| {
        let (more, written) = weight(&group.changes);
        values += more;
        characters += written;
        values <= MOST_VALUES && characters <= MOST_CHARACTERS
    });
    fits.count().max(1).min(groups.len())
}

#[cfg(test)]
mod tests;
