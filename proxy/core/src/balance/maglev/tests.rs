use super::*;

fn named(weights: &[u32]) -> Vec<(String, u32)> {
    weights
        .iter()
        .enumerate()
        .map(|(i, weight)| (format!("10.0.{}.{}:8080", i / 250, i % 250), *weight))
        .collect()
}

fn counts(table: &Maglev, endpoints: usize) -> Vec<usize> {
    let mut counts = vec![0; endpoints];
    table.places().iter().for_each(|index| counts[*index as usize] += 1);
    counts
}

/// The paper: with more than a hundred places each, shares differ by 1 % at the most.
#[test]
fn shares_differ_by_one_percent_at_the_most() {
    for endpoints in [1, 2, 3, 10, 100, 655] {
        let table = Maglev::new(&named(&vec![1; endpoints]));
        assert_eq!(table.places().len(), SMALL);
        let counts = counts(&table, endpoints);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1 + least / 100, "{least} to {most} of {endpoints}");
    }
    assert_eq!(Maglev::new(&named(&vec![1; 700])).places().len(), LARGE);
}

#[test]
fn shares_match_weights() {
    for weights in [&[1, 2, 3, 4][..], &[10, 90], &[1, 1000], &[500, 1, 1, 0], &[3, 3, 7, 11, 13]] {
        let table = Maglev::new(&named(weights));
        let sum: u32 = weights.iter().sum();
        for (count, weight) in counts(&table, weights.len()).iter().zip(weights) {
            let fair = SMALL as f64 * f64::from(*weight) / f64::from(sum);
            assert!((*count as f64 - fair).abs() <= 2.0 + fair / 100.0, "{count} for {fair} of {weights:?}");
        }
    }
}

/// How much of the table changes hands although its endpoint stayed; the ring's answer would be nothing.
#[test]
fn an_endpoint_that_leaves_moves_little_else() {
    for endpoints in [5, 20, 100] {
        let all = named(&vec![1; endpoints]);
        let before = Maglev::new(&all);
        for gone in [0, endpoints / 2, endpoints - 1] {
            let mut rest = all.clone();
            rest[gone].1 = 0;
            let after = Maglev::new(&rest);
            let moved = before
                .places()
                .iter()
                .zip(after.places())
                .filter(|(old, new)| old != new && **old as usize != gone)
                .count();
            let share = moved as f64 / SMALL as f64;
            println!("{endpoints} endpoints: {:.2} % moved", share * 100.0);
            assert!(share < 0.03, "{share} of the table moved without need");
            assert!(!after.places().contains(&(gone as u32)));
        }
    }
}

#[test]
fn order_does_not_matter() {
    let endpoints = named(&[1, 5, 2, 9, 3, 3]);
    let mut shuffled = endpoints.clone();
    fastrand::Rng::with_seed(5).shuffle(&mut shuffled);
    let (one, two) = (Maglev::new(&endpoints), Maglev::new(&shuffled));
    for (a, b) in one.places().iter().zip(two.places()) {
        assert_eq!(endpoints[*a as usize], shuffled[*b as usize]);
    }
}

#[test]
fn any_size_works() {
    for (size, prime) in [(0, 2), (2, 2), (9, 11), (1_000, 1_009), (65_536, 65_537)] {
        let table = Maglev::with_size(&named(&[1, 2, 3]), size);
        assert_eq!(table.places().len(), prime);
        assert!(table.places().iter().all(|index| *index < 3));
    }
    // More endpoints than places: those who are left out can still stand in for others.
    let crowded = Maglev::with_size(&named(&[1; 10]), 5);
    assert!(crowded.pick(3, |index| !crowded.places().contains(&index)).is_some());
}

#[test]
fn nobody_there() {
    assert_eq!(Maglev::new::<&str>(&[]).pick(1, |_| true), None);
    assert_eq!(Maglev::new(&[("a", 0)]).pick(1, |_| true), None);
    assert_eq!(Maglev::new(&[("a", 1)]).pick(1, |_| false), None);
}
