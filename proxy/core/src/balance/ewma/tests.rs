use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

#[test]
fn first_sample_is_the_estimate() {
    let mut ewma = PeakEwma::default();
    assert_eq!(ewma.read(Tick(5 * SECOND)), None);
    ewma.observe(Tick(5 * SECOND), 3 * MILLI);
    assert_eq!(ewma.read(Tick(5 * SECOND)), Some(3e6));
}

#[test]
fn peak_is_believed_at_once_and_forgotten_with_time() {
    let mut ewma = PeakEwma::default();
    ewma.observe(Tick(0), MILLI);
    ewma.observe(Tick(1), 100 * MILLI);
    assert_eq!(ewma.read(Tick(1)), Some(100e6));
    // Samples of 1 ms for 10 s: a part e of the distance is left.
    for milli in 1..=10_000 {
        ewma.observe(Tick(1 + milli * MILLI), MILLI);
    }
    let left = (ewma.read(Tick(10 * SECOND)).unwrap() - 1e6) / 99e6;
    assert!((left - (-1.0_f64).exp()).abs() < 0.002, "{left}");
}

#[test]
fn idle_endpoint_is_forgotten_by_reading_time_alone() {
    let mut ewma = PeakEwma::default();
    ewma.observe(Tick(0), 100 * MILLI);
    let after_10 = ewma.read(Tick(10 * SECOND)).unwrap();
    assert!((after_10 / 100e6 - (-1.0_f64).exp()).abs() < 1e-3, "{after_10}");
    assert_eq!(ewma.read(Tick(10 * SECOND)), Some(after_10), "reading changes nothing");
    assert_eq!(ewma.read(Tick(0)), Some(100e6));
}

#[test]
fn lower_bound_never_lowers() {
    let mut ewma = PeakEwma::default();
    ewma.observe(Tick(0), 10 * MILLI);
    ewma.observe_at_least(Tick(1), MILLI, 0.0);
    assert_eq!(ewma.read(Tick(0)), Some(10e6));
    ewma.observe_at_least(Tick(1), 50 * MILLI, 0.0);
    assert_eq!(ewma.read(Tick(1)), Some(50e6));
    let mut unknown = PeakEwma::default();
    unknown.observe_at_least(Tick(0), MILLI, 5e6);
    assert_eq!(unknown.read(Tick(0)), None, "failing sooner than the others answer tells nothing");
    unknown.observe_at_least(Tick(0), 6 * MILLI, 5e6);
    assert_eq!(unknown.read(Tick(0)), Some(6e6));
}

#[test]
fn clock_that_seems_to_run_backwards_does_no_harm() {
    let mut ewma = PeakEwma::default();
    ewma.observe(Tick(SECOND), 10 * MILLI);
    ewma.observe(Tick(0), MILLI);
    assert_eq!(
        ewma.read(Tick(SECOND)),
        Some(10e6),
        "no time has passed for the lower sample to weigh anything"
    );
}
