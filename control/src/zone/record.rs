//! The records of a zone, as far as they matter here.

use std::collections::BTreeMap;

use super::name::{mark_of, marked_by, namespace_in};

/// The types of record that are looked at. All others can stand beside an address without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name for it.
    Cname,
    /// Somebody else's name servers.
    Ns,
    /// What the zone says of itself.
    Soa,
    /// A text.
    Txt,
}

impl Kind {
    /// As DNS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Cname => "CNAME",
            Kind::Ns => "NS",
            Kind::Soa => "SOA",
            Kind::Txt => "TXT",
        }
    }
}

/// A name's records of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The name, in lower case and without a last dot.
    pub name: String,
    /// The type.
    pub kind: Kind,
    /// How long an answer may be kept, in seconds.
    pub ttl: i64,
    /// The values, as Route 53 writes them.
    pub values: Vec<String>,
    /// False: an alias of Route 53, or one of several sets that it chooses from.
    pub simple: bool,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make it; refused where there is one.
    Create,
    /// Make it, or put it in the place of the one that is there.
    Upsert,
    /// Take it away; refused where it is not exactly so.
    Delete,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// With what.
    pub record: Record,
}

/// Who has marked a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// There is no mark.
    Nobody,
    /// A control plane of this namespace; with its mark.
    Namespace(String, &'a Record),
    /// There is something else where the mark would be.
    Stranger,
}

/// What is known of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    records: BTreeMap<String, BTreeMap<Kind, Record>>,
}

impl Contents {
    /// These records. Of texts only those where a mark could be are kept.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        let mut contents = Contents::default();
        for record in records {
            contents.put(record);
        }
        contents
    }

    fn put(&mut self, record: Record) {
        if record.kind == Kind::Txt && marked_by(&record.name).is_none() {
            return;
        }
        self.records.entry(record.name.clone()).or_default().insert(record.kind, record);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All of them.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().flat_map(BTreeMap::values)
    }

    /// A name's records of a type.
    pub(super) fn get(&self, name: &str, kind: Kind) -> Option<&Record> {
        self.records.get(name)?.get(&kind)
    }

    /// Who has marked a name.
    pub(super) fn owner(&self, name: &str) -> Owner<'_> {
        let place = mark_of(name);
        // A name that stands for another one can't have a text of its own.
        if self.get(&place, Kind::Cname).is_some() {
            return Owner::Stranger;
        }
        let Some(mark) = self.get(&place, Kind::Txt) else { return Owner::Nobody };
        match &mark.values[..] {
            [value] if mark.simple => {
                namespace_in(value).map_or(Owner::Stranger, |namespace| Owner::Namespace(namespace, mark))
            }
            _ => Owner::Stranger,
        }
    }

    /// The names that a namespace has marked.
    pub(super) fn marked(&self, namespace: &str) -> impl Iterator<Item = &str> {
        self.records
            .keys()
            .filter_map(|place| marked_by(place))
            .filter(move |name| matches!(self.owner(name), Owner::Namespace(whose, _) if whose == namespace))
    }

    /// These changes have been made.
    pub fn apply(&mut self, changes: &[Change]) {
        for Change { action, record } in changes {
            match action {
                Action::Create | Action::Upsert => self.put(record.clone()),
                Action::Delete => {
                    if let Some(kinds) = self.records.get_mut(&record.name) {
                        kinds.remove(&record.kind);
                        if kinds.is_empty() {
                            self.records.remove(&record.name);
                        }
                    }
                }
            }
        }
    }

    /// For how many seconds resolvers remember that a name is not there: the lesser of the SOA record's own TTL and the last
    /// of its numbers.
    pub fn negative_ttl(&self, zone: &str) -> Option<i64> {
        let soa = self.get(zone, Kind::Soa)?;
        let minimum: i64 = soa.values.first()?.split_whitespace().nth(6)?.parse().ok()?;
        Some(minimum.min(soa.ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, kind: Kind, values: &[&str]) -> Record {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Record { name: name.to_owned(), kind, ttl: 900, values, simple: true }
    }

    #[test]
    fn who_has_marked_a_name() {
        let mark = |name, values: &[&str]| record(&format!("_bowline.{name}"), Kind::Txt, values);
        let mut odd = mark("several.test", &["\"bowline namespace=a\""]);
        odd.simple = false;
        let contents = Contents::new([
            mark("ours.test", &["\"bowline namespace=a\""]),
            mark("theirs.test", &["\"bowline namespace=b\""]),
            mark("strange.test", &["\"something\""]),
            mark("two.test", &["\"bowline namespace=a\"", "\"x\""]),
            odd,
            record("other.test", Kind::Txt, &["\"bowline namespace=a\""]),
        ]);
        assert_eq!(contents.len(), 5, "a text where no mark can be is none of ours");
        assert!(matches!(contents.owner("ours.test"), Owner::Namespace(whose, _) if whose == "a"));
        assert!(matches!(contents.owner("theirs.test"), Owner::Namespace(whose, _) if whose == "b"));
        for strange in ["strange.test", "two.test", "several.test"] {
            assert_eq!(contents.owner(strange), Owner::Stranger, "{strange}");
        }
        assert_eq!(contents.owner("other.test"), Owner::Nobody);
        assert_eq!(contents.marked("a").collect::<Vec<_>>(), ["ours.test"]);
    }

    #[test]
    fn how_long_a_missing_name_is_remembered() {
        let soa = |ttl, value: &str| {
            let mut soa = record("mesh.test", Kind::Soa, &[value]);
            soa.ttl = ttl;
            Contents::new([soa]).negative_ttl("mesh.test")
        };
        let usual = "ns-1.test. hostmaster.test. 1 7200 900 1209600 86400";
        assert_eq!(soa(900, usual), Some(900));
        assert_eq!(soa(100_000, usual), Some(86_400));
        assert_eq!(soa(900, "ns-1.test. hostmaster.test. 1 7200 900 1209600 30"), Some(30));
        assert_eq!(soa(900, "odd"), None);
        assert_eq!(Contents::default().negative_ttl("mesh.test"), None);
    }
}
