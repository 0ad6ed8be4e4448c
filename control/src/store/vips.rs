//! Which address each name has: the rule of [`bowline_api::vip`], and what to remember.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use bowline_api::vip::{Allocation, Recorded, VipError, VipRange, allocate};

/// The addresses given out so far.
pub(super) type Record = BTreeMap<String, Recorded>;

/// Gives addresses from a record, and knows which names were in the mesh until now.
#[derive(Debug, Default)]
pub(super) struct Vips {
    present: BTreeSet<String>,
}

impl Vips {
    /// The addresses, and the next record. `now` is in seconds since 1970.
    pub(super) fn allocate(
        &self,
        range: VipRange,
        names: &BTreeMap<String, Option<Ipv4Addr>>,
        record: &Record,
        now: u64,
    ) -> Result<Allocation, VipError> {
        // A name that vanishes today has been in the mesh until now, however long ago that was written down: its day
        // begins now.
        let mut record = record.clone();
        for (_, entry) in record.iter_mut().filter(|(name, _)| self.present.contains(*name)) {
            entry.last_seen = now;
        }
        allocate(range, names, &record, now)
    }

    /// These names are in the mesh from now on.
    pub(super) fn took(&mut self, names: &BTreeMap<String, Option<Ipv4Addr>>) {
        self.present = names.keys().cloned().collect();
    }
}

/// The addresses of all names, if each has one on record that it may keep: nothing needs to be written then.
pub(super) fn all_on_record(
    range: VipRange,
    names: &BTreeMap<String, Option<Ipv4Addr>>,
    record: &Record,
) -> Option<BTreeMap<String, Ipv4Addr>> {
    names
        .iter()
        .map(|(name, pin)| {
            let vip = record.get(name)?.vip;
            (range.is_usable(vip) && pin.is_none_or(|pin| pin == vip)).then(|| (name.clone(), vip))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeMap<String, Option<Ipv4Addr>> {
        list.iter().map(|name| ((*name).to_owned(), None)).collect()
    }

    #[test]
    fn the_day_of_a_vanished_name_begins_when_it_vanishes() {
        let (range, month) = ("127.1.0.0/30".parse().unwrap(), 30 * 86_400);
        let mut vips = Vips::default();
        let both = names(&["a", "b"]);
        let first = vips.allocate(range, &both, &Record::new(), 1000).unwrap();
        vips.took(&both);
        // Nobody has written anything for a month, in which b was there.
        let next = vips.allocate(range, &names(&["a"]), &first.record, 1000 + month).unwrap();
        assert_eq!(next.record["b"].last_seen, 1000 + month);
        vips.took(&names(&["a"]));
        assert!(vips.allocate(range, &names(&["a", "c"]), &next.record, 1000 + month + 86_399).is_err());
        let later = vips.allocate(range, &names(&["a", "c"]), &next.record, 1000 + month + 86_400).unwrap();
        assert_eq!(later.vips["c"], first.vips["b"]);
    }

    #[test]
    fn a_record_is_enough_where_it_has_every_name() {
        let range = VipRange::DEFAULT;
        let given = Vips::default().allocate(range, &names(&["a", "b"]), &Record::new(), 0).unwrap();
        assert_eq!(all_on_record(range, &names(&["a"]), &given.record).unwrap()["a"], given.vips["a"]);
        assert_eq!(all_on_record(range, &names(&["a", "c"]), &given.record), None);
        let pinned = BTreeMap::from([("a".to_owned(), Some(given.vips["b"]))]);
        assert_eq!(all_on_record(range, &pinned, &given.record), None);
        let other: VipRange = "127.1.0.0/16".parse().unwrap();
        assert_eq!(all_on_record(other, &names(&["a"]), &given.record), None);
    }
}
