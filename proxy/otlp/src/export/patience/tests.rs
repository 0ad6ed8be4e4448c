use std::time::{Duration, Instant};

use super::{LONGEST, Patience, SECOND};

const MS: Duration = Duration::from_millis(1);

fn new() -> (Patience, Instant) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    (Patience::new(fastrand::Rng::with_seed(seed)), Instant::now())
}

#[test]
fn while_the_collector_is_away_it_is_asked_at_most_once_a_second() {
    let (mut patience, begun) = new();
    let (mut now, mut tries) = (begun, Vec::new());
    assert!(patience.failed(now, None));
    while now < begun + Duration::from_secs(60) {
        match patience.try_now(now) {
            Ok(()) => {
                tries.push(now);
                // Nobody else may, before this one has come back.
                assert!(patience.try_now(now).is_err());
                assert!(!patience.failed(now, None));
            }
            Err(next) => {
                assert!(next > now);
                now = next;
            }
        }
    }
    assert!(tries[0] - begun >= 100 * MS && tries[0] - begun <= 125 * MS);
    for pair in tries.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= SECOND && pause <= LONGEST.mul_f64(1.25), "{pause:?}");
    }
    assert!((12..=16).contains(&tries.len()), "{}", tries.len());
    assert_eq!(patience.answered(now), Some(now - begun));
    assert_eq!(patience.answered(now), None);
    assert_eq!(patience.try_now(now), Ok(()));
    assert!(patience.failed(now, None));
}

#[test]
fn what_the_collector_asks_for_is_kept_to_within_bounds() {
    let (mut patience, now) = new();
    patience.failed(now, Some(3000 * MS));
    assert_eq!(patience.try_now(now), Err(now + 3000 * MS));
    // Another request that was under way does not cut it short.
    patience.failed(now, None);
    assert_eq!(patience.try_now(now), Err(now + 3000 * MS));
    patience.failed(now, Some(Duration::from_secs(1_000_000)));
    assert_eq!(patience.try_now(now), Err(now + Duration::from_secs(60)));
    patience.hurry(now);
    assert_eq!(patience.try_now(now), Ok(()));
}

#[test]
fn a_refusal_is_said_once_until_something_is_taken() {
    let (mut patience, _) = new();
    assert!(!patience.taken());
    assert!(patience.refused() && !patience.refused());
    assert!(patience.taken() && !patience.taken());
    assert!(patience.refused());
}
