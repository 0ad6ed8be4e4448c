use super::super::{End, Policy};
use super::*;
use crate::Tick;
use crate::hash::xxh64;

const NOW: Tick = Tick(1_000_000_000_000);

fn tables(count: usize) -> [HashTable; 2] {
    let endpoints: Vec<_> = (0..count).map(|i| (format!("10.0.0.{i}:80"), 1)).collect();
    [HashTable::Ring(Ring::new(&endpoints)), HashTable::Maglev(Maglev::new(&endpoints))]
}

fn balancer(count: usize) -> (Balancer, fastrand::Rng) {
    println!("seed 21");
    let mut rng = fastrand::Rng::with_seed(21);
    let mut balancer = Balancer::new(Policy::Random);
    balancer.rebuild(&vec![1; count], |_| None, &mut rng);
    (balancer, rng)
}

fn hash(key: u64) -> u64 {
    xxh64(&key.to_le_bytes(), 0)
}

#[test]
fn a_key_stays_with_its_endpoint_and_leaves_only_those_that_are_out() {
    for table in tables(8) {
        let (mut balancer, mut rng) = balancer(8);
        let pick = |balancer: &Balancer, key| {
            balancer.pick_for(&table, hash(key), None, &Tried::new()).expect("an active one")
        };
        let homes: Vec<_> = (0..1000).map(|key| pick(&balancer, key)).collect();
        assert!((0..8).all(|index| homes.contains(&index)));
        balancer.set_active((0..8).filter(|index| *index != 3), &mut rng);
        for (key, home) in homes.iter().enumerate() {
            let now = pick(&balancer, key as u64);
            assert!(now == *home || *home == 3 && now != 3, "{key} moved from {home} to {now}");
        }
        balancer.set_active(0..8, &mut rng);
        assert!((0..1000).all(|key| pick(&balancer, key) == homes[key as usize]), "all are back");
        balancer.set_active([], &mut rng);
        assert_eq!(balancer.pick_for(&table, 7, None, &Tried::new()), None);
    }
}

#[test]
fn a_retry_goes_elsewhere_and_comes_back_only_when_all_were_tried() {
    for table in tables(4) {
        let (mut balancer, _) = balancer(4);
        let mut tried = Tried::new();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let index =
                balancer.pick_for(&table, 7, Some(BoundedLoad::default()), &tried).expect("an endpoint");
            assert!(!seen.contains(&index));
            seen.push(index);
            let ticket = balancer.started(index);
            tried.insert(&ticket);
            balancer.finished(ticket, NOW, End::Failure);
        }
        assert_eq!(balancer.pick_for(&table, 7, None, &tried), Some(seen[0]), "home again");
    }
}

#[test]
fn a_hot_key_spreads_only_with_a_bound() {
    for table in tables(10) {
        for (bound, most, least_used) in [(None, 100, 1), (Some(BoundedLoad::default()), 13, 8)] {
            let (mut balancer, _) = balancer(10);
            let tickets: Vec<_> = (0..100)
                .map(|_| {
                    let index = balancer.pick_for(&table, 7, bound, &Tried::new()).expect("an endpoint");
                    balancer.started(index)
                })
                .collect();
            let loads: Vec<_> = (0..10).map(|index| balancer.in_flight(index)).collect();
            assert_eq!(loads.iter().max(), Some(&most), "{loads:?}");
            assert_eq!(loads.iter().filter(|load| **load > 0).count(), least_used, "{loads:?}");
            tickets.into_iter().for_each(|ticket| balancer.finished(ticket, NOW, End::Success));
            assert_eq!(balancer.total_in_flight(), 0);
        }
    }
}

/// Those that have left still have requests in flight: that neither blocks nor breaks anything.
#[test]
fn a_change_of_the_set_goes_unharmed() {
    let (mut balancer, mut rng) = balancer(10);
    let tickets: Vec<_> = (0..50).map(|i| balancer.started(i % 10)).collect();
    balancer.rebuild(&[1; 4], |new| Some(new + 6), &mut rng);
    for table in tables(4) {
        for key in 0..100 {
            let index = balancer.pick_for(&table, hash(key), Some(BoundedLoad::default()), &Tried::new());
            assert!(index.is_some_and(|index| index < 4));
        }
    }
    // A table that is newer than the balancer and knows more endpoints.
    for table in tables(10) {
        assert!((0..100).all(|key| {
            balancer.pick_for(&table, hash(key), None, &Tried::new()).is_some_and(|index| index < 4)
        }));
    }
    tickets.into_iter().for_each(|ticket| balancer.finished(ticket, NOW, End::Cancelled));
    assert_eq!(balancer.total_in_flight(), 0);
}
