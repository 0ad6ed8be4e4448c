use super::*;

#[test]
fn each_has_its_share_over_any_stretch() {
    for seed in 0..50 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let weights: Vec<u32> = (0..rng.usize(1..12)).map(|_| rng.u32(1..20)).collect();
        let sum: u32 = weights.iter().sum();
        let mut turns = Turns::new(&weights, &mut rng);
        for round in 0..20 {
            let mut counts = vec![0_i64; weights.len()];
            for _ in 0..sum {
                counts[turns.next()] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                assert!((count - i64::from(*weight)).abs() <= 1, "round {round}: {weights:?} {counts:?}");
            }
        }
    }
}

#[test]
fn heavy_one_is_spread() {
    let mut turns = Turns::new(&[5, 1, 1, 1, 1, 1], &mut fastrand::Rng::with_seed(1));
    let order: Vec<_> = (0..100).map(|_| turns.next()).collect();
    assert!(order.windows(4).all(|four| four.contains(&0)), "{order:?}");
}

#[test]
fn beginnings_differ() {
    let first = |seed| Turns::new(&[1; 10], &mut fastrand::Rng::with_seed(seed)).next();
    let firsts: std::collections::BTreeSet<_> = (0..50).map(first).collect();
    assert!(firsts.len() > 5, "{firsts:?}");
}

#[test]
fn deadlines_far_out_are_moved_back_and_nobody_notices() {
    let mut near = Turns::new(&[1, 2, 5], &mut fastrand::Rng::with_seed(1));
    let mut far = near.clone();
    let mut all = std::mem::take(&mut far.heap).into_vec();
    for Reverse(turn) in &mut all {
        turn.deadline += FAR - 10 * PERIOD;
    }
    far.heap = BinaryHeap::from(all);
    for turn in 0..300 {
        assert_eq!(far.next(), near.next(), "turn {turn}");
    }
    assert!(far.heap.iter().all(|Reverse(turn)| turn.deadline < FAR / 2));
}
