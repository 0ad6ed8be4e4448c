//! A zone as strict as Route 53's: for tests.

use std::collections::BTreeMap;

use super::plan::Group;
use super::record::{Action, Change, Kind, Record};

/// All records of a zone, by name and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Zone(pub(super) BTreeMap<(String, Kind), Record>);

impl Zone {
    pub(super) fn of(records: impl IntoIterator<Item = Record>) -> Self {
        Zone(records.into_iter().map(|record| ((record.name.clone(), record.kind), record)).collect())
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.0.values().cloned().collect()
    }

    pub(super) fn put(&mut self, record: Record) {
        self.0.insert((record.name.clone(), record.kind), record);
    }

    pub(super) fn remove(&mut self, name: &str, kind: Kind) -> Option<Record> {
        self.0.remove(&(name.to_owned(), kind))
    }

    /// All changes of a batch, or none and why.
    pub(super) fn make(&mut self, batch: &[Group]) -> Result<(), String> {
        let (mut values, mut characters) = (0, 0);
        let mut next = self.clone();
        for Change { action, record } in batch.iter().flat_map(|group| &group.changes) {
            let key = (record.name.clone(), record.kind);
            let times = if *action == Action::Upsert { 2 } else { 1 };
            values += times * record.values.len();
            characters += times * record.values.iter().map(String::len).sum::<usize>();
            let there = next.0.get(&key);
            match action {
                Action::Create if there.is_some() => return Err(format!("{key:?} exists")),
                Action::Upsert if there.is_some_and(|there| !there.simple) => {
                    return Err(format!("{key:?} is one of several"));
                }
                Action::Delete if there != Some(record) => return Err(format!("{key:?} is not so")),
                Action::Delete => drop(next.0.remove(&key)),
                Action::Create | Action::Upsert => drop(next.0.insert(key, record.clone())),
            }
        }
        if values > 1000 || characters > 32_000 {
            return Err(format!("too much: {values} values, {characters} characters"));
        }
        // A name that stands for another one has nothing else.
        for (name, _) in next.0.keys().filter(|(_, kind)| *kind == Kind::Cname) {
            if next.0.keys().filter(|(other, _)| other == name).count() > 1 {
                return Err(format!("{name} is a CNAME"));
            }
        }
        *self = next;
        Ok(())
    }
}

pub(super) fn record(name: &str, kind: Kind, ttl: i64, values: &[&str]) -> Record {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Record { name: name.to_owned(), kind, ttl, values, simple: true }
}

/// An address as we publish it.
pub(super) fn address(name: &str, vip: &str) -> Record {
    record(name, Kind::A, 60, &[vip])
}

/// The mark of a name.
pub(super) fn mark(name: &str, namespace: &str) -> Record {
    record(&super::name::mark_of(name), Kind::Txt, 60, &[&super::name::mark_text(namespace)])
}
