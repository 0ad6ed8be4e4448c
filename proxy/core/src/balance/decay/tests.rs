use super::*;

#[test]
fn agrees_with_the_exponential_function() {
    let mut x = 0.0_f64;
    while x < 600.0 {
        let error = (decay(x) / (-x).exp() - 1.0).abs();
        assert!(error < 1e-4, "e^-{x}: relative error {error}");
        x += 0.0037;
    }
}

#[test]
fn ends_are_one_and_nothing() {
    assert_eq!(decay(0.0), 1.0);
    assert_eq!(decay(1e6), 0.0);
    assert_eq!(decay(f64::INFINITY), 0.0);
}
