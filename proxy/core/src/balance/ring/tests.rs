use super::*;

fn named(weights: &[u32]) -> Vec<(String, u32)> {
    weights
        .iter()
        .enumerate()
        .map(|(i, weight)| (format!("10.0.{}.{}:8080", i / 250, i % 250), *weight))
        .collect()
}

fn home(ring: &Ring, hash: u64) -> u32 {
    ring.pick(hash, |_| true).expect("an endpoint")
}

fn shares(ring: &Ring, endpoints: usize, rng: &mut fastrand::Rng) -> Vec<f64> {
    let mut counts = vec![0.0; endpoints];
    for _ in 0..100_000 {
        counts[home(ring, rng.u64(..)) as usize] += 1.0 / 100_000.0;
    }
    counts
}

#[test]
fn shares_match_weights() {
    let mut rng = fastrand::Rng::with_seed(11);
    for weights in [&[1; 10][..], &[1, 2, 3, 4], &[100; 50], &[1000, 3000, 500], &[7]] {
        let ring = Ring::new(&named(weights));
        let sum: u32 = weights.iter().sum();
        for (share, weight) in shares(&ring, weights.len(), &mut rng).iter().zip(weights) {
            let fair = f64::from(*weight) / f64::from(sum);
            // Three standard deviations of 160 points.
            assert!((share / fair - 1.0).abs() < 0.25, "{share} for {fair} of {weights:?}");
        }
    }
}

#[test]
fn an_endpoint_that_leaves_moves_its_own_keys_alone() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(2..40);
        let all = named(&vec![1; count]);
        let gone = rng.usize(0..count);
        let mut rest = all.clone();
        rest[gone].1 = 0;
        let (before, after) = (Ring::new(&all), Ring::new(&rest));
        for _ in 0..10_000 {
            let hash = rng.u64(..);
            let (old, new) = (home(&before, hash), home(&after, hash));
            assert_ne!(new as usize, gone);
            assert!(old == new || old as usize == gone, "{hash} moved from {old} to {new}, {gone} left");
            // An ejection moves them to the same place as leaving does.
            assert_eq!(before.pick(hash, |index| index as usize != gone), Some(new));
        }
    }
}

#[test]
fn order_does_not_matter() {
    let mut rng = fastrand::Rng::with_seed(5);
    let endpoints = named(&[1, 5, 2, 9, 3, 3]);
    let mut shuffled = endpoints.clone();
    rng.shuffle(&mut shuffled);
    let (one, two) = (Ring::new(&endpoints), Ring::new(&shuffled));
    for _ in 0..10_000 {
        let hash = rng.u64(..);
        assert_eq!(endpoints[home(&one, hash) as usize], shuffled[home(&two, hash) as usize]);
    }
}

#[test]
fn extreme_weights_stay_in_bounds() {
    let ring = Ring::new(&named(&[1, 1_000_000, 1_000_000, 0]));
    assert!(ring.len() <= (MOST_POINTS + 4) as usize, "{}", ring.len());
    assert!(ring.owners.contains(&0) && !ring.owners.contains(&3));
}

#[test]
fn nobody_there() {
    assert!(Ring::new::<&str>(&[]).is_empty());
    assert_eq!(Ring::new(&[("a", 0)]).pick(7, |_| true), None);
    let ring = Ring::new(&[("a", 1), ("b", 1)]);
    assert_eq!(ring.pick(7, |_| false), None);
    assert_eq!(ring.pick(u64::MAX, |index| index == 1), Some(1), "round the end of the ring");
}
