use std::collections::VecDeque;

use super::super::{Maglev, Ring};
use super::*;

type Pick = Box<dyn Fn(u64, &dyn Fn(u32) -> bool) -> Option<u32>>;

fn tables(endpoints: &[(String, u32)]) -> [(&'static str, Pick); 2] {
    let (ring, maglev) = (Ring::new(endpoints), Maglev::new(endpoints));
    [
        ("ring", Box::new(move |hash, fits| ring.pick(hash, fits))),
        ("maglev", Box::new(move |hash, fits| maglev.pick(hash, fits))),
    ]
}

/// Keys of which a few make most of the calls, requests that stay for a while: no endpoint is ever over its bound,
/// and somebody always has room.
#[test]
fn nobody_is_over_the_bound() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let weights: Vec<u32> = (0..rng.usize(2..30)).map(|_| rng.u32(1..5)).collect();
        let endpoints: Vec<_> = weights.iter().enumerate().map(|(i, w)| (format!("e{i}"), *w)).collect();
        let total_weight: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        for (name, pick) in tables(&endpoints) {
            let bound = BoundedLoad::default();
            let mut in_flight = vec![0_u64; weights.len()];
            let mut queue = VecDeque::new();
            for _ in 0..20_000 {
                // The popularity of key k is about 1/k.
                let key = (1.0 / (1.0 - rng.f64() * 0.9999)) as u64;
                let hash = crate::hash::xxh64(&key.to_le_bytes(), 0);
                let total = queue.len() as u64;
                let fits =
                    |i: u32| bound.has_room(in_flight[i as usize], weights[i as usize], total, total_weight);
                let index = pick(hash, &fits).expect("room") as usize;
                in_flight[index] += 1;
                queue.push_back(index);
                let fair = (total + 1) as f64 * f64::from(weights[index]) / total_weight as f64;
                assert!(
                    in_flight[index] as f64 <= (1.25 * fair).ceil(),
                    "{name}: {} of {fair}",
                    in_flight[index]
                );
                while queue.len() > rng.usize(50..400)
                    && let Some(done) = queue.pop_front()
                {
                    in_flight[done] -= 1;
                }
            }
        }
    }
}

/// One hot key spreads over as few endpoints as the bound allows, and the others' keys stay at home.
#[test]
fn a_hot_key_takes_the_neighbours_and_calm_ones_stay() {
    let endpoints: Vec<_> = (0..10).map(|i| (format!("e{i}"), 1)).collect();
    for (name, pick) in tables(&endpoints) {
        let bound = BoundedLoad::default();
        let mut in_flight = [0_u64; 10];
        for total in 0..100 {
            let index = pick(42, &|i| bound.has_room(in_flight[i as usize], 1, total, 10)).expect("room");
            in_flight[index as usize] += 1;
        }
        let used = in_flight.iter().filter(|count| **count > 0).count();
        assert_eq!(used, 8, "{name}: a hundred at twelve or thirteen each: {in_flight:?}");
        let calm = |hash: u64| pick(hash, &|_| bound.has_room(0, 1, 0, 10));
        for hash in (0..1000_u64).map(|i| crate::hash::xxh64(&i.to_le_bytes(), 3)) {
            assert_eq!(calm(hash), pick(hash, &|_| true), "{name}");
        }
    }
}

#[test]
fn the_last_one_is_found_among_a_thousand() {
    let endpoints: Vec<_> = (0..1000).map(|i| (format!("e{i}"), 1)).collect();
    for (name, pick) in tables(&endpoints) {
        for last in 0..1000 {
            let hash = crate::hash::xxh64(&u64::from(last).to_le_bytes(), 9);
            assert_eq!(pick(hash, &|index| index == last), Some(last), "{name}");
        }
    }
}

#[test]
fn too_small_a_factor_still_has_room() {
    let bound = BoundedLoad::new(0);
    assert!(bound.has_room(0, 1, 0, 3));
    assert!(bound.has_room(1, 1, 3, 3), "four on three: one has two");
    assert!(!bound.has_room(2, 1, 3, 3));
}
