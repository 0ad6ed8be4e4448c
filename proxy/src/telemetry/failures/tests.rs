use std::cell::Cell;

use super::*;

const NOTE: Note<'static> = Note { service: "s", endpoint: None, reason: "reset", told: true };

fn second(n: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + n)
}

fn times(list: &[(u64, Failure)]) -> Vec<(u64, &str, u64)> {
    list.iter().map(|(number, failure)| (*number, failure.detail.as_str(), failure.times)).collect()
}

#[test]
fn the_same_in_a_row_are_counted() {
    let failures = Failures::default();
    for detail in ["a", "a", "b", "a"] {
        failures.note_at(second(0), NOTE, &detail);
    }
    failures.note_at(second(5), NOTE, &"a");
    let all = failures.since(0);
    assert_eq!(times(&all), [(2, "a", 2), (3, "b", 1), (5, "a", 2)]);
    assert_eq!(all[2].1.at, second(5));
    assert_eq!(times(&failures.since(1)), [(2, "a", 1), (3, "b", 1), (5, "a", 2)]);
    assert_eq!(times(&failures.since(4)), [(5, "a", 1)]);
    assert_eq!(failures.since(5), []);
    for other in [Note { told: false, ..NOTE }, Note { service: "t", ..NOTE }, Note { reason: "x", ..NOTE }] {
        failures.note_at(second(6), other, &"a");
    }
    assert_eq!(failures.since(5).len(), 3);
}

#[test]
fn the_last_ones_stay() {
    let failures = Failures::default();
    for n in 0..100 {
        failures.note_at(second(n), NOTE, &n);
    }
    let kept = failures.since(0);
    assert_eq!((kept.len(), kept[0].0, kept[KEPT - 1].0), (KEPT, 37, 100));
    assert_eq!(kept[0].1.detail, "36");
}

/// In a storm texts are written for a few only; repetitions are counted still.
#[test]
fn a_storm_costs_no_texts() {
    struct Costly<'a>(&'a Cell<u32>);
    impl fmt::Display for Costly<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.set(self.0.get() + 1);
            f.write_str("no connection")
        }
    }
    let (failures, written) = (Failures::default(), Cell::new(0));
    for _ in 0..10_000 {
        failures.note_at(second(0), NOTE, &Costly(&written));
    }
    assert_eq!(written.get(), A_SECOND);
    assert_eq!(times(&failures.since(0)), [(10_000, "no connection", 10_000)]);
    failures.note_at(second(0), Note { service: "other", ..NOTE }, &Costly(&written));
    assert_eq!(failures.since(10_000), [], "the second is over budget");
    failures.note_at(second(1), Note { service: "other", ..NOTE }, &Costly(&written));
    assert_eq!(times(&failures.since(10_000)), [(10_001, "no connection", 1)]);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let failures = Failures::default();
    failures.note_at(second(0), NOTE, &format_args!("{}{}{}", "a".repeat(199), "äöü", "b"));
    failures.note_at(second(0), NOTE, &"ä".repeat(101));
    let lengths: Vec<usize> = failures.since(0).iter().map(|(_, failure)| failure.detail.len()).collect();
    assert_eq!(lengths, [199, 200]);
}

#[tokio::test]
async fn an_ejection_wakes_whoever_waits() {
    let failures = Failures::default();
    failures.note_ejection("s", ([10, 0, 0, 1], 80).into(), Duration::from_millis(2500));
    failures.ejection().await;
    let (_, ejection) = failures.since(0).remove(0);
    assert_eq!((ejection.reason, ejection.told), ("ejected", false));
    assert!(ejection.detail.contains("2.5 s"), "{}", ejection.detail);
}
