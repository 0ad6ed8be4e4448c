use super::*;

const SECOND: u64 = 1_000_000_000;

fn after_failures(count: u32) -> Penalty {
    let mut penalty = Penalty::default();
    for _ in 0..count {
        penalty.failed(Tick(SECOND));
    }
    penalty
}

#[test]
fn grows_with_failures_up_to_its_limit() {
    let factors: Vec<_> = [0, 1, 5, 1000].map(|n| after_failures(n).factor(Tick(SECOND))).to_vec();
    assert_eq!(factors[0], 1.0);
    assert!((factors[1] - 5.0).abs() < 1e-9, "{factors:?}");
    assert!((factors[2] - 46.2).abs() < 0.1, "{factors:?}");
    assert!((factors[3] - 101.0).abs() < 1e-6, "{factors:?}");
}

#[test]
fn fades_by_itself() {
    let penalty = after_failures(1000);
    assert!(penalty.factor(Tick(4 * SECOND)) < 15.0);
    assert!(penalty.factor(Tick(11 * SECOND)) < 1.2, "a trial within some 10 s");
}

#[test]
fn successes_take_it_off_whole() {
    let mut penalty = after_failures(5);
    for _ in 0..30 {
        penalty.succeeded(Tick(SECOND));
    }
    assert_eq!(penalty.factor(Tick(SECOND)), 1.0);
}
