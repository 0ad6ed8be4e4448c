use super::super::{Balancer, Policy, Tried};
use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Tick {
    Tick((1_000 + seconds) * SECOND)
}

fn minute(aggression: f64) -> SlowStart {
    SlowStart { window: Duration::from_secs(60), aggression, ..SlowStart::default() }
}

#[test]
fn grows_from_the_floor_to_the_full_weight() {
    for (aggression, second, expected) in [
        (1.0, 0, 0.1),
        (1.0, 3, 0.1),
        (1.0, 15, 0.25),
        (1.0, 30, 0.5),
        (1.0, 60, 1.0),
        (1.0, 600, 1.0),
        (2.0, 15, 0.5),
        (0.5, 30, 0.25),
        (0.0, 59, 0.186),
    ] {
        let factor = minute(aggression).factor(at(0), at(second));
        assert!((factor - expected).abs() < 0.01, "{factor} after {second} s at {aggression}");
    }
    assert_eq!(SlowStart::default().factor(at(0), at(0)), 1.0, "off");
    assert_eq!(minute(1.0).factor(at(5), at(0)), 0.1, "a clock that was read a moment earlier");
}

#[test]
fn weights_never_shrink_and_end_as_they_were() {
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let weights: Vec<u32> = (0..rng.usize(1..12)).map(|_| rng.u32(0..5) * rng.u32(1..1000)).collect();
        let since: Vec<Option<Tick>> =
            weights.iter().map(|_| rng.bool().then(|| at(rng.u64(0..40)))).collect();
        let slow = minute(rng.f64() * 3.0);
        let (mut now, mut last, mut steps) = (at(40), vec![0; weights.len()], 0);
        let mut scaled = Vec::new();
        while let Some(next) = slow.weights(&weights, |index| since[index], now, &mut scaled) {
            for index in 0..weights.len() {
                assert!(scaled[index] >= last[index], "seed {seed}");
                assert_eq!(scaled[index] == 0, weights[index] == 0, "seed {seed}");
                assert!(scaled[index] <= weights[index] * 100, "seed {seed}");
                if since[index].is_none() {
                    assert_eq!(scaled[index], weights[index] * 100, "seed {seed}");
                }
            }
            last.clone_from(&scaled);
            assert!(next > now, "seed {seed}");
            (now, steps) = (next, steps + 1);
        }
        assert_eq!(scaled, weights, "seed {seed}");
        assert!(steps <= 20, "seed {seed}: {steps}");
    }
}

#[test]
fn huge_weights_fit() {
    let mut scaled = Vec::new();
    minute(1.0).weights(&[u32::MAX, 1], |index| (index == 1).then(|| at(0)), at(30), &mut scaled);
    assert!(scaled[0] > u32::MAX / 3);
    assert_eq!(scaled[1], 50);
}

/// A fourth endpoint joins three: its share of picks follows the ramp, with each policy that goes by weight.
#[test]
fn traffic_follows_the_ramp() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::LeastRequest] {
        println!("seed 3");
        let mut rng = fastrand::Rng::with_seed(3);
        let mut balancer = Balancer::new(policy);
        for (second, factor) in [(0, 0.1), (15, 0.25), (30, 0.5), (60, 1.0)] {
            let mut scaled = Vec::new();
            minute(1.0).weights(&[1; 4], |index| (index == 3).then(|| at(0)), at(second), &mut scaled);
            balancer.rebuild(&scaled, Some, &mut rng);
            let picks = 40_000;
            let new =
                (0..picks).filter(|_| balancer.pick(at(second), &mut rng, &Tried::new()) == Some(3)).count();
            let (share, expected) = (new as f64 / f64::from(picks), factor / (3.0 + factor));
            assert!((share - expected).abs() < 0.01, "{policy:?}: {share} for {expected}");
        }
    }
}
