use super::*;

#[test]
fn draws_in_proportion() {
    for (seed, weights) in
        [(1, vec![1; 7]), (2, vec![1, 2, 3, 4]), (3, vec![1000, 1, 1]), (4, vec![u32::MAX, u32::MAX / 3, 5])]
    {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let draw = Draw::new(&weights);
        assert_eq!(draw.is_uniform(), seed == 1);
        let mut counts = vec![0_u32; weights.len()];
        let draws = 400_000;
        for _ in 0..draws {
            counts[draw.one(&mut rng)] += 1;
        }
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = f64::from(*weight) / sum * f64::from(draws);
            // Five standard deviations.
            let bound = 5.0 * expected.max(1.0).sqrt();
            assert!((f64::from(*count) - expected).abs() < bound, "{weights:?}: {counts:?}");
        }
    }
}

#[test]
fn two_are_different_and_cover_all_pairs() {
    for weights in [vec![1; 4], vec![1, 2, 3, 4], vec![1_000_000, 1, 1, 1], vec![5, 1]] {
        let mut rng = fastrand::Rng::with_seed(9);
        let draw = Draw::new(&weights);
        let n = weights.len();
        let mut seen = vec![0; n];
        for _ in 0..20_000 {
            let (first, second) = draw.two(&mut rng);
            assert_ne!(first, second, "{weights:?}");
            seen[second] += 1;
        }
        assert!(seen.iter().enumerate().all(|(i, count)| *count > 0 || weights[i] == 1_000_000), "{seen:?}");
    }
    assert_eq!(Draw::new(&[3]).two(&mut fastrand::Rng::with_seed(9)), (0, 0));
}
