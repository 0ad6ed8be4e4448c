use super::*;

fn levels(percents: &[u32]) -> Vec<Level> {
    percents.iter().map(|percent| Level { endpoints: 100, available: *percent }).collect()
}

fn percents(of: &[u32]) -> Vec<u32> {
    let mut list = Vec::new();
    loads(&levels(of), OVERPROVISIONING_PERCENT, 50, &mut list);
    list.iter().map(|load| load.percent).collect()
}

/// The tables of Envoy's page on priority levels.
#[test]
fn envoys_figures_for_priorities() {
    for (health, load) in [
        (&[100, 100][..], &[100, 0][..]),
        (&[72, 100], &[100, 0]),
        (&[71, 100], &[99, 1]),
        (&[50, 100], &[70, 30]),
        (&[25, 100], &[35, 65]),
        (&[0, 100], &[0, 100]),
        (&[72, 72], &[100, 0]),
        (&[71, 71], &[99, 1]),
        (&[50, 50], &[70, 30]),
        (&[25, 25], &[50, 50]),
        (&[100, 100, 100], &[100, 0, 0]),
        (&[72, 72, 100], &[100, 0, 0]),
        (&[71, 71, 100], &[99, 1, 0]),
        (&[50, 50, 100], &[70, 30, 0]),
        (&[25, 100, 100], &[35, 65, 0]),
        (&[25, 25, 100], &[35, 35, 30]),
        (&[25, 25, 20], &[36, 36, 28]),
    ] {
        assert_eq!(percents(health), load, "{health:?}");
    }
}

/// The tables of Envoy's page on the panic threshold.
#[test]
fn envoys_figures_for_panic() {
    for (health, expected) in [
        ([72, 100], [false, false]),
        ([25, 100], [false, false]),
        ([0, 100], [false, false]),
        ([71, 71], [false, false]),
        ([50, 60], [false, false]),
        ([25, 25], [true, true]),
        ([5, 65], [true, false]),
    ] {
        let mut list = Vec::new();
        loads(&levels(&health), OVERPROVISIONING_PERCENT, 50, &mut list);
        assert_eq!([list[0].panic, list[1].panic], expected, "{health:?}");
    }
    assert_eq!(percents(&[5, 65]), [7, 93]);
}

#[test]
fn nothing_available_is_panic_or_nothing() {
    let all_out =
        [Level::default(), Level { endpoints: 4, available: 0 }, Level { endpoints: 4, available: 0 }];
    let mut list = Vec::new();
    let mut rng = fastrand::Rng::with_seed(1);
    loads(&all_out, OVERPROVISIONING_PERCENT, 50, &mut list);
    assert_eq!(list[1], Load { percent: 100, panic: true });
    assert_eq!(draw(&list, &mut rng), Some(1));
    loads(&all_out, OVERPROVISIONING_PERCENT, 0, &mut list);
    assert_eq!(draw(&list, &mut rng), None);
    loads(&[], OVERPROVISIONING_PERCENT, 50, &mut list);
    assert_eq!(draw(&list, &mut rng), None);
}

#[test]
fn loads_always_add_up_and_are_drawn_so() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let levels: Vec<_> = (0..rng.usize(1..5))
            .map(|_| {
                let endpoints = rng.u32(1..20);
                Level { endpoints, available: rng.u32(0..=endpoints) }
            })
            .collect();
        let mut list = Vec::new();
        loads(&levels, OVERPROVISIONING_PERCENT, 50, &mut list);
        assert_eq!(list.iter().map(|load| load.percent).sum::<u32>(), 100, "seed {seed}: {levels:?}");
        let mut drawn = vec![0_u32; levels.len()];
        (0..20_000).for_each(|_| drawn[draw(&list, &mut rng).expect("a level")] += 1);
        for (drawn, load) in drawn.iter().zip(&list) {
            let share = f64::from(*drawn) / 200.0;
            // Five standard deviations.
            assert!((share - f64::from(load.percent)).abs() < 1.8, "seed {seed}: {share} of {list:?}");
            assert!(*drawn == 0 || load.percent > 0);
        }
    }
}

/// The table of Envoy's page on locality weights: one locality of weight 1, one of weight 2 that is well.
#[test]
fn envoys_figures_for_localities() {
    for (health, percent) in [(100, 33), (70, 33), (69, 33), (50, 26), (25, 15), (0, 0)] {
        let localities = [
            Locality { weight: 1, level: Level { endpoints: 100, available: health } },
            Locality { weight: 2, level: Level { endpoints: 100, available: 100 } },
        ];
        let mut shares = Vec::new();
        locality_shares(&localities, OVERPROVISIONING_PERCENT, &mut shares);
        assert_eq!((shares[0] * 100.0).round() as u32, percent, "{health} %: {shares:?}");
        assert!((shares[0] + shares[1] - 1.0).abs() < 1e-9);
    }
    let mut shares = Vec::new();
    locality_shares(&[Locality { weight: 1, level: Level::default() }], 140, &mut shares);
    assert_eq!(shares, [0.0]);
}

/// Scaled weights give each group its share and keep the proportions within it.
#[test]
fn scaled_weights_give_the_shares() {
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let groups = rng.usize(1..5);
        let weights: Vec<u32> = (0..rng.usize(groups..60)).map(|_| rng.u32(0..10)).collect();
        let usable: Vec<bool> = weights.iter().map(|_| rng.u32(0..5) > 0).collect();
        let group = |index: usize| index % groups;
        let has = |g: usize| (0..weights.len()).any(|i| group(i) == g && usable[i] && weights[i] > 0);
        let mut shares: Vec<f64> =
            (0..groups).map(|g| if has(g) { f64::from(rng.u32(0..10)) } else { 0.0 }).collect();
        let sum: f64 = shares.iter().sum();
        if sum == 0.0 {
            continue;
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        let mut scaled = Vec::new();
        scale_weights(&weights, group, |i| usable[i], &shares, &mut scaled);
        let total: f64 = scaled.iter().map(|weight| f64::from(*weight)).sum();
        for (g, share) in shares.iter().enumerate() {
            let got: f64 = (0..weights.len()).filter(|i| group(*i) == g).map(|i| f64::from(scaled[i])).sum();
            assert!((got / total - share).abs() < 0.005, "seed {seed}: {} for {share}", got / total);
        }
        for i in 0..weights.len() {
            assert_eq!(scaled[i] > 0, usable[i] && weights[i] > 0 && shares[group(i)] > 0.0, "seed {seed}");
        }
    }
}
