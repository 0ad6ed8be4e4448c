use std::net::Ipv4Addr;

use fastrand::Rng;

use super::*;
use crate::zone::plan::Group;
use crate::zone::testing::{Zone, address, mark, record};

const NAMESPACE: &str = "mesh.test";
const GRACE: Duration = Duration::from_secs(60);

fn names(names: &[&str]) -> Arc<Names> {
    Arc::new(names.iter().map(|name| (format!("{name}.mesh.test"), Ipv4Addr::new(127, 255, 0, 1))).collect())
}

/// A desk, the zone that it looks after, and a clock that goes as the desk says.
struct Office {
    desk: Desk,
    zone: Zone,
    now: Moment,
    /// What was asked, and when.
    asked: Vec<(u64, Ask)>,
    /// Answers that come before those of the zone.
    faults: Vec<Fault>,
    /// A name that Route 53 does not take.
    disliked: Option<String>,
    batches: Vec<usize>,
    disturbed: Vec<String>,
}

impl Office {
    fn new(wanted: Arc<Names>) -> Self {
        Office {
            desk: Desk::new(NAMESPACE.to_owned(), wanted, GRACE),
            zone: Zone::default(),
            now: Moment::ZERO,
            asked: Vec::new(),
            faults: Vec::new(),
            disliked: None,
            batches: Vec::new(),
            disturbed: Vec::new(),
        }
    }

    /// Does what is due until then.
    fn until(&mut self, seconds: u64) -> &mut Self {
        let end = Duration::from_secs(seconds);
        loop {
            let (due, ask) = self.desk.next();
            if due > end {
                self.now = end;
                return self;
            }
            self.now = self.now.max(due);
            self.asked.push((self.now.as_secs(), ask));
            assert!(self.asked.len() < 100_000, "it goes round in circles");
            self.does(ask);
        }
    }

    fn does(&mut self, ask: Ask) {
        let batch = match ask {
            Ask::Change => match self.desk.step(self.now) {
                Step::Batch(batch) => batch,
                Step::ListFirst | Step::Nothing => return,
            },
            Ask::Check | Ask::List => Vec::new(),
        };
        if let Some(fault) = self.faults.pop() {
            return self.desk.failed(fault, &batch, self.now, 1.0);
        }
        match ask {
            Ask::Check => self.desk.checked("mesh.test".to_owned(), self.now),
            Ask::List => {
                let contents = Contents::new(self.zone.records());
                self.disturbed.extend(self.desk.listed(contents, self.now));
            }
            Ask::Change => {
                let dislikes = |group: &Group| Some(&group.name) == self.disliked.as_ref();
                if batch.iter().any(dislikes) || self.zone.make(&batch).is_err() {
                    return self.desk.failed(Fault::Refused, &batch, self.now, 1.0);
                }
                self.batches.push(batch.len());
                self.desk.changed(&batch, self.now);
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        let name = format!("{name}.mesh.test");
        let there = self.zone.0.contains_key(&(name.clone(), Kind::A));
        let marked = self.zone.0.contains_key(&(format!("_bowline.{name}"), Kind::Txt));
        assert_eq!(there, marked, "{name}");
        there
    }

    fn count(&self, ask: Ask) -> usize {
        self.asked.iter().filter(|(_, asked)| *asked == ask).count()
    }
}

#[test]
fn a_start_checks_lists_and_publishes_and_then_little_is_asked() {
    let mut office = Office::new(names(&["a", "b"]));
    office.until(3);
    assert!(office.has("a") && office.has("b"));
    let asks: Vec<Ask> = office.asked.iter().map(|(_, ask)| *ask).collect();
    assert_eq!(asks, [Ask::Check, Ask::List, Ask::Change, Ask::Change]);
    assert_eq!(office.batches, [2]);
    office.until(3600);
    assert_eq!(office.count(Ask::List), 12, "every five minutes");
    assert_eq!(office.batches, [2], "same content, no changes");
    // The next process finds all as it should be.
    let mut next = Office::new(names(&["a", "b"]));
    next.zone = office.zone.clone();
    next.until(3600);
    assert_eq!((next.batches.len(), next.zone), (0, office.zone));
}

#[test]
fn changes_are_gathered_for_a_second_and_a_second_control_plane_has_nothing_to_do() {
    let mut office = Office::new(names(&["a"]));
    let mut other = Office::new(names(&["a"]));
    office.until(10);
    other.zone = office.zone.clone();
    other.until(10);
    for (at, wanted) in [(20, names(&["a", "b"])), (20, names(&["a", "b", "c"]))] {
        office.until(at).desk.want(wanted.clone(), Duration::from_secs(at));
        other.until(at).desk.want(wanted, Duration::from_secs(at));
    }
    office.until(25);
    assert_eq!(office.batches, [1, 2], "both at once");
    // The other one has not listed the zone since, and is refused: nothing is lost by it.
    other.zone = office.zone.clone();
    other.until(60);
    assert_eq!(other.batches.len(), 0);
    assert_eq!(other.zone, office.zone);
    assert_eq!(other.desk.plan().groups, []);
}

#[test]
fn a_name_that_leaves_stays_for_the_grace_and_comes_back_without_a_change() {
    let mut office = Office::new(names(&["a", "b"]));
    office.until(10).desk.want(names(&["a"]), Duration::from_secs(10));
    office.until(69);
    assert!(office.has("b"));
    assert_eq!(office.desk.leaving(), 1);
    office.until(75);
    assert!(office.has("a") && !office.has("b"));
    assert_eq!(office.desk.leaving(), 0);
    // A mistake that is mended in time.
    office.desk.want(names(&[]), Duration::from_secs(75));
    office.until(100).desk.want(names(&["a"]), Duration::from_secs(100));
    office.until(1000);
    assert!(office.has("a"));
    assert_eq!(office.batches, [2, 1]);
    // A process that starts with the mistake grants the same.
    let mut next = Office::new(names(&[]));
    next.zone = office.zone.clone();
    assert!(next.until(50).has("a"));
    assert!(!next.until(70).has("a"));
    assert_eq!(next.zone, Zone::default());
}

#[test]
fn what_others_change_is_put_right_at_the_next_list_and_told() {
    let mut office = Office::new(names(&["a", "b"]));
    office.until(10).zone.put(address("a.mesh.test", "10.0.0.1"));
    office.until(400);
    assert_eq!(office.disturbed, ["a.mesh.test"]);
    assert_eq!(office.zone.0[&("a.mesh.test".to_owned(), Kind::A)], address("a.mesh.test", "127.255.0.1"));
    // Our own changes are no disturbance, and neither are those of another control plane that wants the same.
    let third = [address("c.mesh.test", "127.255.0.1"), mark("c.mesh.test", NAMESPACE)];
    third.into_iter().for_each(|record| office.zone.put(record));
    office.desk.want(names(&["a", "b", "c"]), office.now);
    office.until(2000);
    assert_eq!(office.disturbed.len(), 1, "{:?}", office.disturbed);
}

#[test]
fn a_record_is_not_overwritten_on_the_strength_of_an_old_list() {
    let mut office = Office::new(names(&["a"]));
    office.until(100);
    // Somebody has taken the name over, openly: the mark is gone.
    office.zone = Zone::of([address("a.mesh.test", "10.0.0.1")]);
    let moved = [("a.mesh.test".to_owned(), Ipv4Addr::new(127, 255, 0, 9))];
    office.desk.want(Arc::new(moved.into()), office.now);
    office.until(105);
    assert_eq!(office.zone, Zone::of([address("a.mesh.test", "10.0.0.1")]));
    assert!(office.desk.plan().taken.contains_key("a.mesh.test"));
    // Nor is a mark taken away because there seemed to be no record.
    let mut other = Office::new(names(&["a"]));
    other.until(10).zone.remove("a.mesh.test", Kind::A);
    other.zone.put(mark("b.mesh.test", NAMESPACE));
    let unwanted = Contents::new(other.zone.records());
    other.desk.listed(unwanted, other.now);
    other.until(20).zone.put(address("b.mesh.test", "127.255.0.1"));
    other.until(1000);
    assert!(other.has("a") && !other.has("b"));
    // They give it up: within a minute it is ours.
    office.zone = Zone::default();
    assert!(office.until(166).has("a"));
}

#[test]
fn failures_wait_longer_and_longer_and_change_nothing() {
    for fault in [Fault::Throttled, Fault::Other, Fault::Refused] {
        let mut office = Office::new(names(&["a"]));
        office.until(10);
        let before = office.asked.len();
        office.faults = vec![fault; 8];
        office.desk.want(names(&["a", "b"]), office.now);
        office.until(10 + 60);
        let tried: Vec<u64> = office.asked[before..].iter().map(|(at, _)| *at).collect();
        assert!(tried.len() <= 8, "{fault:?}: {tried:?}");
        office.faults.clear();
        office.until(1000);
        assert!(office.has("a") && office.has("b"), "{fault:?}");
    }
}

#[test]
fn a_name_that_is_refused_does_not_stop_the_others() {
    let many: Vec<String> = (0..100).map(|n| format!("n{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut office = Office::new(names(&many));
    office.disliked = Some("n042.mesh.test".to_owned());
    office.until(600);
    let there = many.iter().filter(|name| office.has(name)).count();
    assert_eq!(there, 99, "{:?}", office.batches);
    assert_eq!(office.desk.refused().collect::<Vec<_>>(), ["n042.mesh.test"]);
    assert!(office.asked.len() < 200, "{}", office.asked.len());
    office.disliked = None;
    office.until(1500);
    assert!(office.has("n042"));
}

#[test]
fn a_zone_that_is_too_large_is_looked_at_rarely() {
    let mut office = Office::new(names(&["a"]));
    office.until(0);
    for minutes in [0, 5, 10] {
        let (due, ask) = office.desk.next();
        assert_eq!((due.as_secs() / 60, ask), (minutes, Ask::List));
        office.desk.gave_up(due);
        office.desk.want(names(&["a", "b"]), due);
    }
}

#[test]
fn throttled_batches_become_smaller() {
    let many: Vec<String> = (0..400).map(|n| format!("n{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut office = Office::new(names(&many));
    office.until(0);
    assert_eq!(office.asked.len(), 1, "the check");
    office.now = Duration::from_millis(500);
    office.does(Ask::List);
    office.faults = vec![Fault::Throttled];
    office.until(60);
    assert_eq!(office.batches, [200, 200], "half of what was throttled");
}

/// At random: people, faults and mesh files; in the end all is as it should be.
#[test]
fn whatever_happens_the_zone_is_right_in_the_end() {
    let seed = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed: BOWLINE_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..100 {
        let all = ["a", "b", "c", "d", "e"];
        let some = |rng: &mut Rng| names(&all.into_iter().filter(|_| rng.bool()).collect::<Vec<_>>());
        let mut wanted = some(&mut rng);
        let mut office = Office::new(wanted.clone());
        let mut at = 0;
        for _ in 0..rng.usize(1..20) {
            at += rng.u64(..200);
            office.until(at);
            // In the second between the list and the change nobody is protected from us.
            while matches!(office.desk.next(), (due, Ask::Change) if due <= office.now + FRESH) {
                at += 1;
                office.until(at);
            }
            match rng.u8(..4) {
                0 => office.faults.push([Fault::Throttled, Fault::Refused, Fault::Other][rng.usize(..3)]),
                1 => {
                    let name = format!("{}.mesh.test", all[rng.usize(..5)]);
                    office.zone.remove(&name, Kind::A);
                }
                2 => {
                    let name = format!("{}.mesh.test", all[rng.usize(..5)]);
                    office.zone.put(record(&name, Kind::A, 5, &["127.0.0.9"]));
                    office.zone.put(mark(&name, NAMESPACE));
                }
                _ => {
                    wanted = some(&mut rng);
                    office.desk.want(wanted.clone(), office.now);
                }
            }
        }
        office.until(at + 2000);
        let expected = wanted
            .keys()
            .flat_map(|name| [address(name, "127.255.0.1"), mark(name, NAMESPACE)])
            .collect::<Vec<_>>();
        assert_eq!(office.zone, Zone::of(expected));
        // Never more than two requests a second.
        let mut times: Vec<u64> = office.asked.iter().map(|(at, _)| *at).collect();
        times.dedup();
        assert!(office.asked.len() <= 3 * times.len() + 3, "{:?}", office.asked);
    }
}
