use super::*;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(millis: u64) -> Tick {
    Tick(millis * 1_000_000)
}

#[test]
fn buckets_are_in_order_without_gaps_and_narrow() {
    for bucket_index in 1..BUCKETS - 1 {
        let (low, high) = (upper_end(bucket_index - 1), upper_end(bucket_index));
        assert_eq!(bucket(low), bucket_index);
        assert_eq!(bucket(high - 1), bucket_index);
        assert!(high as f64 / low as f64 <= 1.125, "{low}..{high}");
    }
    assert_eq!((bucket(0), bucket((1 << LOW_BITS) - 1)), (0, 0));
    assert_eq!(bucket(1 << HIGH_BITS), BUCKETS - 1);
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    assert_eq!(upper_end(BUCKETS - 2), 1 << HIGH_BITS);
}

#[test]
fn fits_in_two_kib() {
    assert!(size_of::<RecentQuantile>() <= 2048, "{}", size_of::<RecentQuantile>());
}

#[test]
fn error_is_within_its_bound() {
    for seed in 0..50 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let percentile = [50, 90, 95, 99, 100][seed as usize % 5];
        let mut recent = RecentQuantile::new(percentile);
        // Over the whole range: the exponent is drawn, not the value.
        let mut values: Vec<u64> =
            (0..rng.usize(20..3000)).map(|_| 10_f64.powf(4.3 + rng.f64() * 6.4) as u64).collect();
        for value in &values {
            recent.record(at(1000), Duration::from_nanos(*value));
        }
        values.sort_unstable();
        let rank = (values.len() * percentile as usize).div_ceil(100);
        let exact = values[rank - 1] as f64;
        let got = recent.get(at(1000)).expect("enough samples").as_nanos() as f64;
        assert!(got >= exact && got <= exact * 1.125 + 1.0, "p{percentile}: {got}, exact {exact}");
    }
}

#[test]
fn too_few_samples_tell_nothing() {
    let mut recent = RecentQuantile::new(99);
    for i in 0..19 {
        recent.record(at(1), millis(10));
        assert_eq!(recent.get(at(200 * i)), None);
    }
    recent.record(at(1), millis(10));
    assert!(recent.get(at(4_000)).is_some());
}

#[test]
fn value_is_kept_for_a_tenth_of_a_second() {
    let mut recent = RecentQuantile::new(50);
    (0..20).for_each(|_| recent.record(at(1), millis(10)));
    let first = recent.get(at(1));
    assert!(first.unwrap() < millis(12), "{first:?}");
    (0..100).for_each(|_| recent.record(at(2), millis(1000)));
    assert_eq!(recent.get(at(100)), first);
    assert!(recent.get(at(101)).unwrap() >= millis(1000));
}

#[test]
fn samples_count_for_five_to_ten_seconds() {
    let mut recent = RecentQuantile::new(99);
    // The first half runs from here to 5 s later, the second to 10 s later.
    (0..50).for_each(|_| recent.record(at(20_000), millis(500)));
    for now in [20_000, 24_999, 26_000, 29_999] {
        assert!(recent.get(at(now)).is_some_and(|p99| p99 >= millis(500)), "{now}");
    }
    assert_eq!(recent.get(at(30_000)), None);
}

#[test]
fn long_silence_clears_it_all() {
    let mut recent = RecentQuantile::new(99);
    (0..50).for_each(|_| recent.record(at(1_000), millis(500)));
    assert!(recent.get(at(1_000)).is_some());
    assert_eq!(recent.get(at(60_000)), None);
    (0..50).for_each(|_| recent.record(at(60_001), millis(5)));
    assert!(recent.get(at(60_200)).unwrap() < millis(6));
}
