use super::super::Policy;
use super::super::priority::scale_weights;
use super::super::sim::{Answer, Rule, Sim};
use super::*;

fn zones(of: &[(f64, f64)]) -> Vec<Zone> {
    of.iter().map(|(capacity, callers)| Zone { capacity: *capacity, callers: *callers }).collect()
}

fn split(of: &[(f64, f64)], local: usize, endpoints: usize) -> Vec<f64> {
    let mut list = Vec::new();
    shares(&zones(of), Some(local), endpoints, &mut list).expect("by zones");
    list
}

fn close(one: &[f64], two: &[f64]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(a, b)| (a - b).abs() < 1e-9)
}

#[test]
fn even_zones_stay_at_home() {
    assert_eq!(split(&[(2.0, 0.0), (2.0, 0.0), (2.0, 0.0)], 1, 6), [0.0, 1.0, 0.0]);
    assert_eq!(split(&[(4.0, 1.0), (2.0, 1.0)], 0, 6), [1.0, 0.0], "more than its share");
}

/// Service Connect: off below twice as many endpoints as zones, 6 for 3.
#[test]
fn few_endpoints_are_not_split() {
    let mut list = Vec::new();
    let three = zones(&[(1.0, 0.0), (2.0, 0.0), (2.0, 0.0)]);
    assert_eq!(shares(&three, Some(0), 5, &mut list), Err(Unzoned::TooFew));
    assert!(close(&list, &[0.2, 0.4, 0.4]), "by weight: {list:?}");
    assert_eq!(shares(&zones(&[(2.0, 0.0); 3]), Some(0), 6, &mut list), Ok(()));
    assert_eq!(shares(&zones(&[(9.0, 1.0), (0.0, 1.0)]), Some(0), 9, &mut list), Err(Unzoned::OneZone));
    assert_eq!(shares(&zones(&[(9.0, 1.0), (9.0, 1.0)]), None, 18, &mut list), Err(Unzoned::NotLocal));
    let elsewhere = zones(&[(0.0, 1.0), (4.0, 1.0), (4.0, 1.0)]);
    assert_eq!(shares(&elsewhere, Some(0), 8, &mut list), Err(Unzoned::NotLocal));
    assert!(close(&list, &[0.0, 0.5, 0.5]), "{list:?}");
    assert_eq!(shares(&[], Some(0), 0, &mut list), Err(Unzoned::OneZone));
    assert!(list.is_empty());
}

/// Half of the callers are in a zone with a fifth of the endpoints: two fifths stay, three fifths go where there is
/// something left (one zone has 0.4 for 0.3 of the callers, the other 0.4 for 0.2).
#[test]
fn what_is_too_much_goes_where_something_is_left() {
    let list = split(&[(2.0, 0.5), (4.0, 0.3), (4.0, 0.2)], 0, 10);
    assert!(close(&list, &[0.4, 0.6 * 0.1 / 0.3, 0.6 * 0.2 / 0.3]), "{list:?}");
}

#[test]
fn a_zone_that_lost_endpoints_spills() {
    // Evenly spread callers; the local zone has 1 of 4 left, the others all 4.
    let list = split(&[(1.0, 0.0), (4.0, 0.0), (4.0, 0.0)], 0, 9);
    assert!(close(&list, &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]), "{list:?}");
}

/// Whatever the numbers: shares add up to 1, a zone that has room for its callers keeps them, and all callers together
/// load all zones evenly.
#[test]
fn load_is_even_over_all_callers() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(2..6);
        let of: Vec<(f64, f64)> =
            (0..count).map(|_| (f64::from(rng.u32(1..50)), f64::from(rng.u32(0..50)))).collect();
        let known = of.iter().any(|(_, callers)| *callers > 0.0);
        let (capacity, callers) =
            of.iter().fold((0.0, 0.0), |(sum, all), (capacity, callers)| (sum + capacity, all + callers));
        let mut load = vec![0.0; count];
        for local in 0..count {
            let list = split(&of, local, 1_000);
            assert!((list.iter().sum::<f64>() - 1.0).abs() < 1e-9, "seed {seed}: {list:?}");
            assert!(list.iter().all(|share| (0.0..=1.0 + 1e-9).contains(share)), "seed {seed}: {list:?}");
            let here = if known { of[local].1 / callers } else { 1.0 / count as f64 };
            if here <= of[local].0 / capacity {
                assert!((list[local] - 1.0).abs() < 1e-9, "seed {seed}: {list:?}");
            }
            list.iter().zip(&mut load).for_each(|(share, load)| *load += here * share);
        }
        for (zone, load) in load.iter().enumerate() {
            assert!((load - of[zone].0 / capacity).abs() < 1e-9, "seed {seed}: zone {zone} has {load}");
        }
    }
}

/// Through the balancer: the local zone has lost half of its endpoints, so three fifths of its requests stay, and
/// the rest goes evenly to the other two. With each policy, as the zones answer equally fast.
#[test]
fn traffic_follows_the_shares() {
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin, Policy::Random] {
        let weights = [1; 12];
        let usable = |index: usize| index > 1;
        let zone_of = |index: usize| index / 4;
        let mut list = Vec::new();
        shares(&zones(&[(2.0, 0.0), (4.0, 0.0), (4.0, 0.0)]), Some(0), 10, &mut list).expect("by zones");
        assert!(close(&list, &[0.6, 0.2, 0.2]), "{list:?}");
        let mut scaled = Vec::new();
        scale_weights(&weights, zone_of, usable, &list, &mut scaled);
        let rule: Rule = Box::new(|_, _, rng| Answer::Ok(8.0 + 4.0 * rng.f64()));
        let mut sim = Sim::new(12, policy, &scaled, rule);
        sim.run(2_000.0, 5.0);
        sim.run(2_000.0, 20.0);
        for (zone, share) in list.iter().enumerate() {
            let got: f64 = (zone * 4..zone * 4 + 4).map(|index| sim.share(index)).sum();
            println!("{policy:?}: zone {zone} gets {got:.3}");
            assert!((got - share).abs() < 0.05, "{policy:?}: {got} for {share}");
        }
        assert_eq!(sim.picks[..2], [0, 0], "those that are out get nothing");
    }
}
