use super::*;

fn run(weights: &[u32], out: &[usize], panic_percent: u32) -> (Vec<u32>, bool) {
    let mut list = vec![99];
    let panic = active(weights, |index| out.contains(&index), panic_percent, &mut list);
    (list, panic)
}

#[test]
fn leaves_out_what_is_out_or_has_no_weight() {
    assert_eq!(run(&[1, 0, 5, 1], &[3], 50), (vec![0, 2], false));
    assert_eq!(run(&[1, 0], &[], 50), (vec![0], false));
    assert_eq!(run(&[], &[], 50), (vec![], false));
}

#[test]
fn panics_below_the_share_and_not_at_it() {
    assert_eq!(run(&[1; 4], &[0, 1], 50), (vec![2, 3], false));
    assert_eq!(run(&[1; 4], &[0, 1, 2], 50), (vec![0, 1, 2, 3], true));
    assert_eq!(run(&[1, 1, 0, 1, 1], &[0, 1, 3], 50), (vec![0, 1, 3, 4], true), "weight 0 stays out");
    assert_eq!(run(&[1, 0, 0, 0, 1], &[0], 50), (vec![4], false), "and isn't counted");
}

#[test]
fn no_panic_at_zero_percent() {
    assert_eq!(run(&[1; 3], &[0, 1, 2], 0), (vec![], false));
    assert_eq!(run(&[1; 3], &[0, 1, 2], 1), (vec![0, 1, 2], true));
}
