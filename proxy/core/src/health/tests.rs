use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(millis: u64) -> Tick {
    Tick(1_000 * SECOND + millis * 1_000_000)
}

fn check() -> (Check, fastrand::Rng) {
    println!("seed 1");
    (Check::new(HealthConfig::default(), at(0)), fastrand::Rng::with_seed(1))
}

/// Begins the next check when it's due, and ends it with this result.
fn next(check: &mut Check, rng: &mut fastrand::Rng, good: bool) -> Option<Health> {
    let attempt = check.begin(check.wake_at(), rng).expect("due");
    check.finish(attempt, good)
}

#[test]
fn the_first_answer_decides() {
    for (good, health) in [(true, Health::Healthy), (false, Health::Unhealthy)] {
        let (mut check, mut rng) = check();
        assert_eq!(check.health(), Health::Unknown);
        assert_eq!(check.wake_at(), at(0), "at once");
        assert_eq!(next(&mut check, &mut rng, good), Some(health));
        assert_eq!(check.health(), health);
    }
}

#[test]
fn an_endpoint_that_starts_late_is_seen_soon_and_by_one_answer() {
    let (mut check, mut rng) = check();
    assert_eq!(next(&mut check, &mut rng, false), Some(Health::Unhealthy));
    for i in 1..=5 {
        assert!(check.wake_at() <= at(i * 3_300), "every 3 s");
        assert_eq!(next(&mut check, &mut rng, false), None);
    }
    assert_eq!(next(&mut check, &mut rng, true), Some(Health::Healthy));
}

#[test]
fn later_it_takes_as_many_in_a_row_as_were_asked_for() {
    let (mut check, mut rng) = check();
    check.set_config(HealthConfig { healthy_threshold: 3, ..HealthConfig::default() }, at(0));
    next(&mut check, &mut rng, true);
    for (good, change) in [
        (false, None),
        (true, None),
        (false, None),
        (false, Some(Health::Unhealthy)),
        (false, None),
        (true, None),
        (true, None),
        (false, None),
        (true, None),
        (true, None),
        (true, Some(Health::Healthy)),
        (false, None),
    ] {
        assert_eq!(next(&mut check, &mut rng, good), change);
    }
    assert_eq!(check.counts(), CheckCounts { checks: 13, failures: 6, timeouts: 0 });
}

#[test]
fn intervals_vary_by_the_jitter_and_run_from_beginning_to_beginning() {
    let (mut check, mut rng) = check();
    next(&mut check, &mut rng, true);
    next(&mut check, &mut rng, true);
    let (mut least, mut most) = (u64::MAX, 0);
    for _ in 0..2_000 {
        let due = check.wake_at();
        let attempt = check.begin(due, &mut rng).expect("due");
        assert!(check.begin(due.after(Duration::from_secs(99)), &mut rng).is_none(), "one at a time");
        assert_eq!(check.wake_at(), attempt.deadline);
        assert_eq!(attempt.deadline, due.after(Duration::from_secs(5)));
        check.finish(attempt, true);
        assert!(check.begin(due, &mut rng).is_none(), "not due yet");
        let gap = check.wake_at().nanos_since(due);
        (least, most) = (least.min(gap), most.max(gap));
    }
    assert!((27 * SECOND..27 * SECOND + SECOND / 10).contains(&least), "{least}");
    assert!((33 * SECOND - SECOND / 10..=33 * SECOND).contains(&most), "{most}");
}

#[test]
fn no_answer_is_a_bad_one_and_a_late_one_is_none() {
    let (mut check, mut rng) = check();
    next(&mut check, &mut rng, true);
    let late = check.begin(check.wake_at(), &mut rng).expect("due");
    assert_eq!(check.overdue(Tick(late.deadline.0 - 1)), None);
    assert_eq!(check.counts().timeouts, 0);
    assert_eq!(check.overdue(late.deadline), None, "one of two");
    let second = check.begin(check.wake_at(), &mut rng).expect("due");
    assert_eq!(check.finish(late, true), None, "too late");
    assert_eq!(check.finish(second, false), Some(Health::Unhealthy));
    assert_eq!(check.counts(), CheckCounts { checks: 3, failures: 2, timeouts: 1 });
    assert_eq!(check.overdue(Tick::MAX), None, "none runs");
}

#[test]
fn a_new_configuration_counts_at_once() {
    let (mut check, mut rng) = check();
    next(&mut check, &mut rng, true);
    let now = check.wake_at();
    next(&mut check, &mut rng, true);
    assert!(check.wake_at() > now.after(Duration::from_secs(20)));
    let quick =
        HealthConfig { interval: Duration::from_secs(1), unhealthy_threshold: 1, ..HealthConfig::default() };
    check.set_config(quick, now);
    assert_eq!(check.wake_at(), now.after(Duration::from_secs(1)));
    assert_eq!(next(&mut check, &mut rng, false), Some(Health::Unhealthy));
}

#[test]
fn extreme_intervals_work() {
    for interval in [Duration::ZERO, Duration::from_nanos(7), Duration::MAX] {
        let config =
            HealthConfig { interval, jitter_percent: 100, timeout: interval, ..HealthConfig::default() };
        let (mut check, mut rng) = (Check::new(config, at(0)), fastrand::Rng::with_seed(2));
        for _ in 0..20 {
            let wake = check.wake_at();
            next(&mut check, &mut rng, true);
            assert!(check.wake_at() >= wake);
        }
    }
}

#[test]
fn own_checks_go_before_what_is_told_and_ejections_before_both() {
    use Health::{Healthy, Unhealthy, Unknown};
    for (own, told, ejected, out) in [
        (Unknown, Unknown, false, false),
        (Unknown, Unhealthy, false, true),
        (Unknown, Healthy, false, false),
        (Healthy, Unhealthy, false, false),
        (Unhealthy, Healthy, false, true),
        (Healthy, Healthy, true, true),
        (Unknown, Unknown, true, true),
    ] {
        assert_eq!(Health::is_out(own, told, ejected), out, "{own:?} {told:?} {ejected}");
    }
}

/// Random results against the rule written out plainly: after the first good one, the state is that of the last run
/// that was long enough.
#[test]
fn agrees_with_the_rule_written_out() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (up, down) = (rng.u32(1..5), rng.u32(1..5));
        let config =
            HealthConfig { healthy_threshold: up, unhealthy_threshold: down, ..HealthConfig::default() };
        let mut check = Check::new(config, at(0));
        next(&mut check, &mut rng, true);
        let (mut results, mut expected) = (Vec::new(), Health::Healthy);
        for _ in 0..300 {
            let good = rng.bool();
            results.push(good);
            let run = results.iter().rev().take_while(|result| **result == good).count() as u32;
            if good && run >= up {
                expected = Health::Healthy;
            } else if !good && run >= down {
                expected = Health::Unhealthy;
            }
            let before = check.health();
            let change = next(&mut check, &mut rng, good);
            assert_eq!(check.health(), expected, "seed {seed}");
            assert_eq!(change, (before != expected).then_some(expected), "seed {seed}");
        }
    }
}
