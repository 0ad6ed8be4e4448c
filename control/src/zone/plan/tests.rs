use fastrand::Rng;

use super::*;
use crate::zone::testing::{Zone, address, mark, record};

const ZONE: &str = "mesh.test";

fn place() -> Place {
    Place { zone: ZONE.to_owned(), namespace: "mesh.test".to_owned() }
}

fn wanted(names: &[(&str, &str)]) -> Names {
    names.iter().map(|(name, vip)| ((*name).to_owned(), vip.parse().unwrap())).collect()
}

fn planned(wanted: &Names, zone: &Zone) -> Plan {
    plan(&place(), wanted, &BTreeSet::new(), &Contents::new(zone.records()))
}

/// Makes all batches of a plan.
fn made(plan: &Plan, zone: &mut Zone) {
    let mut groups = &plan.groups[..];
    while !groups.is_empty() {
        let (batch, rest) = groups.split_at(fitting(groups, usize::MAX));
        zone.make(batch).unwrap();
        groups = rest;
    }
}

#[test]
fn a_name_comes_changes_and_goes_with_its_mark() {
    let mut zone = Zone::default();
    let first = planned(&wanted(&[("a.mesh.test", "127.255.0.1"), (ZONE, "127.255.0.2")]), &zone);
    assert_eq!((first.groups.len(), first.published, first.pending), (2, 0, 2));
    made(&first, &mut zone);
    let expected = Zone::of([
        address("a.mesh.test", "127.255.0.1"),
        mark("a.mesh.test", "mesh.test"),
        address(ZONE, "127.255.0.2"),
        mark(ZONE, "mesh.test"),
    ]);
    assert_eq!(zone, expected);

    let moved = planned(&wanted(&[("a.mesh.test", "127.255.0.9"), (ZONE, "127.255.0.2")]), &zone);
    let [Group { name, changes }] = &moved.groups[..] else { panic!("{moved:?}") };
    assert_eq!((name.as_str(), changes.len()), ("a.mesh.test", 1));
    made(&moved, &mut zone);

    let keep = BTreeSet::from(["a.mesh.test".to_owned()]);
    let kept = plan(&place(), &wanted(&[]), &keep, &Contents::new(zone.records()));
    assert_eq!(kept.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), [ZONE]);
    made(&planned(&wanted(&[]), &zone), &mut zone);
    assert_eq!(zone, Zone::default());
}

#[test]
fn what_is_not_ours_is_told_of_and_left() {
    let foreign = [
        record("address.mesh.test", Kind::A, 60, &["127.255.0.1"]),
        record("six.mesh.test", Kind::Aaaa, 60, &["fd00::1"]),
        record("other.mesh.test", Kind::Cname, 60, &["elsewhere.test"]),
        record("below.mesh.test", Kind::Ns, 60, &["ns.elsewhere.test"]),
        record("_bowline.strange.mesh.test", Kind::Txt, 60, &["\"heritage=external-dns\""]),
        mark("theirs.mesh.test", "another.test"),
        address("theirs.mesh.test", "127.255.0.8"),
        // The zone's own.
        record(ZONE, Kind::Ns, 172_800, &["ns-1.test."]),
        record(ZONE, Kind::Soa, 900, &["ns-1.test. hostmaster.test. 1 7200 900 1209600 86400"]),
    ];
    let zone = Zone::of(foreign);
    let long =
        format!("{}.{ZONE}", ["n".repeat(60), "n".repeat(60), "n".repeat(60), "n".repeat(52)].join("."));
    assert_eq!(long.len(), 245);
    let names =
        ["address", "six", "other", "below", "strange", "theirs"].map(|name| format!("{name}.{ZONE}"));
    let all = names.iter().map(String::as_str).chain([ZONE, "else.where", "amesh.test", &long]);
    let wanted: Names = all.map(|name| (name.to_owned(), Ipv4Addr::new(127, 255, 0, 1))).collect();
    let plan = planned(&wanted, &zone);
    assert_eq!(plan.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), [ZONE]);
    assert_eq!(plan.outside.iter().map(String::as_str).collect::<Vec<_>>(), ["amesh.test", "else.where"]);
    let taken = |name: &str| plan.taken.get(&format!("{name}.{ZONE}")).cloned();
    assert_eq!(taken("address"), Some(Taken::Record(Kind::A)));
    assert_eq!(taken("six"), Some(Taken::Record(Kind::Aaaa)));
    assert_eq!(taken("other"), Some(Taken::Record(Kind::Cname)));
    assert_eq!(taken("below"), Some(Taken::Record(Kind::Ns)));
    assert_eq!(taken("strange"), Some(Taken::Mark));
    assert_eq!(taken("theirs"), Some(Taken::Namespace("another.test".to_owned())));
    assert_eq!(plan.taken.get(&long), Some(&Taken::TooLong));
    assert_eq!((plan.taken.len(), plan.pending), (7, 1));
    assert_eq!(planned(&Names::new(), &zone).groups, []);
}

#[test]
fn what_somebody_has_done_to_our_records_is_put_right() {
    let name = "a.mesh.test";
    let wanted = wanted(&[(name, "127.255.0.1")]);
    let right = Zone::of([address(name, "127.255.0.1"), mark(name, "mesh.test")]);
    assert_eq!(planned(&wanted, &right).groups, []);
    let found = [
        Some(address(name, "10.0.0.1")),
        Some(record(name, Kind::A, 5, &["127.255.0.1"])),
        Some(record(name, Kind::A, 60, &["127.255.0.1", "127.255.0.2"])),
        None,
    ];
    for found in found {
        let mut zone = right.clone();
        zone.remove(name, Kind::A);
        found.into_iter().for_each(|found| zone.put(found));
        made(&planned(&wanted, &zone), &mut zone);
        assert_eq!(zone, right);
    }
    // Another TTL of the mark changes nothing.
    let mut zone = right;
    zone.put(Record { ttl: 5, ..mark(name, "mesh.test") });
    assert_eq!(planned(&wanted, &zone).groups, []);
}

#[test]
fn a_record_in_the_place_of_ours_is_theirs() {
    let name = "a.mesh.test";
    let alias = Record { simple: false, values: Vec::new(), ..address(name, "") };
    let cname = record(name, Kind::Cname, 60, &["elsewhere.test"]);
    for theirs in [alias, cname] {
        for wanted in [wanted(&[(name, "127.255.0.1")]), Names::new()] {
            let mut zone = Zone::of([theirs.clone(), mark(name, "mesh.test")]);
            let plan = planned(&wanted, &zone);
            assert_eq!(plan.taken.contains_key(name), !wanted.is_empty());
            made(&plan, &mut zone);
            assert_eq!(zone, Zone::of([theirs.clone()]), "the mark alone goes");
            assert_eq!(planned(&wanted, &zone).groups, []);
        }
    }
    // So is an address that we would never have written, once the name has left the mesh.
    let theirs = address(name, "10.0.0.1");
    let mut zone = Zone::of([theirs.clone(), mark(name, "mesh.test")]);
    made(&planned(&Names::new(), &zone), &mut zone);
    assert_eq!(zone, Zone::of([theirs]));
}

#[test]
fn batches_keep_to_the_limits_and_never_part_a_name_from_its_mark() {
    let names = |count: usize, length: usize| -> Names {
        let name = |n: usize| format!("{n:0length$}.mesh.test");
        (0..count).map(|n| (name(n), Ipv4Addr::new(127, 255, 1, 1))).collect()
    };
    let batches = |namespace: &str, wanted: &Names, contents: &Contents| {
        let place = Place { namespace: namespace.to_owned(), ..place() };
        let groups = plan(&place, wanted, &BTreeSet::new(), contents).groups;
        let mut zone = Zone::of(contents.records().cloned());
        let (mut sizes, mut rest) = (Vec::new(), &groups[..]);
        while !rest.is_empty() {
            let (batch, more) = rest.split_at(fitting(rest, usize::MAX));
            zone.make(batch).unwrap();
            sizes.push(batch.len());
            rest = more;
        }
        (sizes, zone)
    };
    // Two records a name.
    let wanted = names(1200, 8);
    let (sizes, zone) = batches("n", &wanted, &Contents::default());
    assert_eq!(sizes, [500, 500, 200]);
    // An UPSERT counts twice.
    let moved: Names = wanted.keys().map(|name| (name.clone(), Ipv4Addr::new(127, 255, 2, 2))).collect();
    assert_eq!(batches("n", &moved, &Contents::new(zone.records())).0, [500, 500, 200]);
    // A long namespace fills a request with its texts.
    let long = "n".repeat(200);
    let each = mark_text(&long).len() + "127.255.1.1".len();
    let (sizes, _) = batches(&long, &names(400, 8), &Contents::default());
    assert_eq!(sizes[0], MOST_CHARACTERS / each);
    assert_eq!(sizes.iter().sum::<usize>(), 400);
    assert_eq!(fitting(&[], usize::MAX), 0);
}

/// Records of everybody, names that are wanted, and people who change things at random.
struct World {
    rng: Rng,
    zone: Zone,
    wanted: Names,
}

impl World {
    fn vip(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(127, 255, 0, self.rng.u8(1..250))
    }

    fn name(&mut self) -> String {
        let below = ["", "a.", "b.", "c.", "a.b.", "_bowline.a.", "*."][self.rng.usize(..7)];
        let zone = [ZONE, ZONE, ZONE, "elsewhere.test"][self.rng.usize(..4)];
        format!("{below}{zone}")
    }

    /// Somebody puts a record into the zone, if it can be there.
    fn disturb(&mut self) {
        let name = self.name();
        if !lies_in(&name, ZONE) {
            return;
        }
        let vip = self.vip().to_string();
        let theirs = match self.rng.u8(..16) {
            0 => address(&name, &vip),
            1 => address(&name, "10.0.0.1"),
            2 => record(&name, Kind::Aaaa, 60, &["fd00::1"]),
            3 => record(&name, Kind::Cname, 60, &["elsewhere.test"]),
            4 => Record { simple: false, ..address(&name, &vip) },
            5 => mark(&name, "another.test"),
            6 => record(&mark_of(&name), Kind::Txt, 60, &["\"something\""]),
            7 => return drop(self.zone.remove(&name, Kind::A)),
            8 => return drop(self.zone.remove(&mark_of(&name), Kind::Txt)),
            _ => {
                self.zone.0.retain(|(other, _), _| *other != name && *other != mark_of(&name));
                return;
            }
        };
        let alias = |zone: &Zone| zone.0.contains_key(&(theirs.name.clone(), Kind::Cname));
        if theirs.kind == Kind::Cname {
            self.zone.0.retain(|(other, _), _| *other != theirs.name);
        } else if alias(&self.zone) {
            return;
        }
        self.zone.put(theirs);
    }
}

#[test]
fn in_random_worlds_the_zone_has_what_is_wanted_and_all_that_is_foreign() {
    let seed = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: BOWLINE_TEST_SEED={seed}");
    let mut world = World { rng: Rng::with_seed(seed), zone: Zone::default(), wanted: Names::new() };
    let (mut published, mut taken) = (0, 0);
    for _ in 0..5_000 {
        for _ in 0..world.rng.usize(..4) {
            world.disturb();
        }
        let (name, vip) = (world.name(), world.vip());
        match world.rng.bool() {
            true => drop(world.wanted.insert(name, vip)),
            false => drop(world.wanted.remove(&name)),
        }
        let before = world.zone.clone();
        let contents = Contents::new(before.records());
        let plan = planned(&world.wanted, &before);
        made(&plan, &mut world.zone);
        let after = &world.zone;
        published += plan.published + plan.pending;
        taken += plan.taken.len();

        // Whose a record is, by the words of the rule and not by the plan's code.
        let marked = |zone: &Zone, name: &str| {
            let found = zone.0.get(&(mark_of(name), Kind::Txt));
            found.is_some_and(|found| found.values == [mark_text(ZONE)])
        };
        for ((name, kind), found) in &before.0 {
            let touched = after.0.get(&(name.clone(), *kind)) != Some(found);
            let may = match kind {
                Kind::A => marked(&before, name) && found.simple,
                Kind::Txt => found.values == [mark_text(ZONE)],
                _ => false,
            };
            assert!(!touched || may, "somebody else's {found:?} was touched");
        }
        for (name, vip) in &world.wanted {
            let there = after.0.get(&(name.clone(), Kind::A));
            let as_it_should_be = there == Some(&address(name, &vip.to_string())) && marked(after, name);
            let told = plan.taken.contains_key(name) || plan.outside.contains(name);
            assert_ne!(as_it_should_be, told, "{name}: {there:?}");
            assert!(
                !plan.taken.contains_key(name) || !marked(after, name),
                "a mark without a record: {name}"
            );
        }
        for (name, _) in after.0.keys() {
            let unwanted = !world.wanted.contains_key(name);
            assert!(!(unwanted && marked(after, name)), "{name} is marked, and nobody wants it");
            let new = !before.0.contains_key(&(name.clone(), Kind::A));
            assert!(!(unwanted && new && after.0.contains_key(&(name.clone(), Kind::A))), "{name} has come");
        }
        let mut known = contents;
        plan.groups.iter().for_each(|group| known.apply(&group.changes));
        assert_eq!(known, Contents::new(after.records()), "what is known is what is there");
        assert_eq!(planned(&world.wanted, after).groups, [], "a second look changes nothing");
    }
    assert!(published > 1_000 && taken > 1_000, "{published} published and {taken} taken: a dull world");
}
