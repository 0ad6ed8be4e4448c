use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use super::*;

const MILLI: u64 = 1_000_000;
const QUICK: Duration = Duration::from_millis(1);

fn at(millis: u64) -> Tick {
    Tick((1_000_000 + millis) * MILLI)
}

fn breaker(config: BreakerConfig) -> Breaker {
    Breaker::new(config)
}

fn call(breaker: &Breaker, now: Tick, outcome: Outcome) -> Option<Change> {
    let permit = breaker.allow(now).expect("not open");
    breaker.report(permit, now, outcome, QUICK)
}

fn opened() -> Breaker {
    let breaker = breaker(BreakerConfig { consecutive_failures: 3, ..BreakerConfig::default() });
    let changes: Vec<_> = (0..3).map(|_| call(&breaker, at(0), Outcome::Failure)).collect();
    assert_eq!(changes, [None, None, Some(Change::Opened)]);
    breaker
}

/// The service client of the legacy table: opens at 50 % errors, half-open after 30 s.
#[test]
fn opens_at_half_errors_and_closes_after_one_good_probe() {
    let breaker = breaker(BreakerConfig::default());
    for _ in 0..10 {
        assert_eq!(call(&breaker, at(0), Outcome::Success), None);
    }
    for _ in 0..9 {
        assert_eq!(call(&breaker, at(0), Outcome::Failure), None);
    }
    assert_eq!(call(&breaker, at(0), Outcome::Timeout), Some(Change::Opened));
    let Err(Rejected { retry_after }) = breaker.allow(at(10_000)) else { panic!("open") };
    assert!(retry_after >= Duration::from_secs(20) && retry_after <= Duration::from_millis(20_002));
    assert!(matches!(breaker.state(at(29_999)), State::Open { .. }));
    assert_eq!(breaker.state(at(30_002)), State::HalfOpen);
    let probe = breaker.allow(at(30_002)).expect("the probe");
    assert!(probe.is_probe());
    assert_eq!(breaker.allow(at(30_002)).unwrap_err(), Rejected { retry_after: Duration::ZERO });
    assert_eq!(breaker.report(probe, at(30_050), Outcome::Success, QUICK), Some(Change::Closed));
    assert_eq!(breaker.window(at(30_050)), (0, 0), "a clean slate");
    assert_eq!(call(&breaker, at(30_050), Outcome::Failure), None);
    let counts =
        Counts { fires: 24, successes: 11, failures: 11, timeouts: 1, slow: 0, rejects: 2, opened: 1 };
    assert_eq!(breaker.counts(), counts);
}

#[test]
fn few_calls_do_not_open_it() {
    let breaker = breaker(BreakerConfig::default());
    for i in 0..19 {
        assert_eq!(call(&breaker, at(i), Outcome::Failure), None);
    }
    assert_eq!(call(&breaker, at(19), Outcome::Failure), Some(Change::Opened));
}

#[test]
fn errors_are_forgotten_after_the_window() {
    let breaker = breaker(BreakerConfig::default());
    (0..19).for_each(|_| assert_eq!(call(&breaker, at(0), Outcome::Failure), None));
    (0..19).for_each(|_| assert_eq!(call(&breaker, at(11_000), Outcome::Failure), None));
    assert_eq!(breaker.window(at(11_000)), (19, 19));
}

#[test]
fn a_success_ends_a_row() {
    let breaker = breaker(BreakerConfig { consecutive_failures: 3, ..BreakerConfig::default() });
    for _ in 0..4 {
        assert_eq!(call(&breaker, at(0), Outcome::Failure), None);
        assert_eq!(call(&breaker, at(0), Outcome::Failure), None);
        assert_eq!(call(&breaker, at(0), Outcome::Success), None);
    }
}

#[test]
fn slow_calls_are_errors_when_asked() {
    for (slow_call, change) in
        [(Duration::ZERO, None), (Duration::from_secs(3), Some(Change::Opened)), (QUICK * 5_000, None)]
    {
        let breaker = breaker(BreakerConfig { slow_call, ..BreakerConfig::default() });
        let mut last = None;
        for _ in 0..20 {
            let permit = breaker.allow(at(0)).expect("closed");
            last = breaker.report(permit, at(4_000), Outcome::Success, QUICK * 4_000);
        }
        assert_eq!(last, change, "{slow_call:?}");
        assert_eq!(breaker.counts().slow, if change.is_some() { 20 } else { 0 });
        assert_eq!((breaker.counts().successes, breaker.counts().failures), (20, 0));
    }
}

#[test]
fn a_bad_probe_opens_it_again_and_a_cancelled_one_makes_room_for_the_next() {
    let breaker = opened();
    let probe = breaker.allow(at(31_000)).expect("the probe");
    assert_eq!(breaker.report(probe, at(32_000), Outcome::Failure, QUICK), Some(Change::Reopened));
    assert!(breaker.allow(at(61_000)).is_err(), "30 s from the probe's end");
    let probe = breaker.allow(at(62_002)).expect("the next probe");
    assert_eq!(breaker.report(probe, at(62_100), Outcome::Cancelled, QUICK), None);
    let probe = breaker.allow(at(62_100)).expect("at once");
    assert!(probe.is_probe());
    assert_eq!(breaker.report(probe, at(62_200), Outcome::Success, QUICK), Some(Change::Closed));
    assert_eq!(breaker.counts().opened, 2);
}

#[test]
fn what_opened_it_is_forgotten_even_within_the_window() {
    let config = BreakerConfig { reset: Duration::from_millis(500), ..BreakerConfig::default() };
    let breaker = breaker(config);
    (0..19).for_each(|_| assert_eq!(call(&breaker, at(0), Outcome::Failure), None));
    assert_eq!(call(&breaker, at(0), Outcome::Failure), Some(Change::Opened));
    assert_eq!(call(&breaker, at(502), Outcome::Success), Some(Change::Closed));
    assert_eq!(call(&breaker, at(503), Outcome::Failure), None);
    assert_eq!(breaker.window(at(503)), (1, 1));
}

#[test]
fn a_slow_probe_is_a_bad_one() {
    let config = BreakerConfig {
        consecutive_failures: 1,
        slow_call: Duration::from_secs(3),
        ..BreakerConfig::default()
    };
    let breaker = breaker(config);
    assert_eq!(call(&breaker, at(0), Outcome::Failure), Some(Change::Opened));
    let probe = breaker.allow(at(31_000)).expect("the probe");
    assert_eq!(breaker.report(probe, at(36_000), Outcome::Success, QUICK * 5_000), Some(Change::Reopened));
}

#[test]
fn answers_from_before_it_opened_change_nothing_afterwards() {
    let breaker = breaker(BreakerConfig { consecutive_failures: 3, ..BreakerConfig::default() });
    let old: Vec<_> = (0..100).map(|_| breaker.allow(at(0)).expect("closed")).collect();
    let mut old = old.into_iter();
    let mut report = |now, outcome| breaker.report(old.next().expect("one"), now, outcome, QUICK);
    report(at(0), Outcome::Failure);
    report(at(0), Outcome::Failure);
    assert_eq!(report(at(0), Outcome::Failure), Some(Change::Opened));
    assert_eq!(report(at(1), Outcome::Success), None);
    assert!(breaker.allow(at(2)).is_err());
    let probe = breaker.allow(at(31_000)).expect("the probe");
    (0..20).for_each(|_| assert_eq!(report(at(31_000), Outcome::Failure), None));
    assert_eq!(breaker.report(probe, at(31_000), Outcome::Success, QUICK), Some(Change::Closed));
    (0..20).for_each(|_| assert_eq!(report(at(31_000), Outcome::Failure), None));
    assert_eq!(breaker.state(at(31_000)), State::Closed);
}

#[test]
fn a_new_configuration_keeps_it_open_and_its_counts() {
    let old = opened();
    let new = old.next(BreakerConfig { reset: Duration::from_secs(1), ..BreakerConfig::default() }, at(100));
    assert_eq!(new.counts(), old.counts());
    assert!(new.allow(at(29_000)).is_err());
    assert!(new.allow(at(30_002)).expect("the probe").is_probe());
    let probing = new.next(BreakerConfig::default(), at(30_003));
    assert!(probing.allow(at(30_004)).expect("its own probe").is_probe());
}

/// Against a plain model that keeps every call: closed while the model says so, give or take the window's last tenth.
#[test]
fn agrees_with_a_plain_model() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = BreakerConfig {
            error_percent: rng.u32(10..90),
            minimum_requests: rng.u32(5..60),
            ..BreakerConfig::default()
        };
        let breaker = breaker(config);
        let mut calls: VecDeque<(Tick, bool)> = VecDeque::new();
        let (mut now, mut opens) = (at(0), 0);
        let over = |calls: &VecDeque<(Tick, bool)>, now: Tick, window: u64| {
            let recent =
                || calls.iter().filter(|(at, _)| now.0 / 1_000_000_000 - at.0 / 1_000_000_000 < window);
            let errors = recent().filter(|(_, error)| *error).count() as u32;
            let all = recent().count() as u32;
            all >= config.minimum_requests && errors * 100 >= all * config.error_percent
        };
        for _ in 0..20_000 {
            now = Tick(now.0 + rng.u64(0..200 * MILLI));
            let bad = if (now.0 / 1_000_000_000 / 60).is_multiple_of(2) { 15 } else { 85 };
            let error = rng.u32(0..100) < bad;
            let Ok(permit) = breaker.allow(now) else { continue };
            let probe = permit.is_probe();
            let outcome = if error { Outcome::Failure } else { Outcome::Success };
            let change = breaker.report(permit, now, outcome, QUICK);
            if probe {
                assert_eq!(change, Some(if error { Change::Reopened } else { Change::Closed }));
                calls.clear();
                continue;
            }
            calls.push_back((now, error));
            assert_eq!(change.is_some(), error && over(&calls, now, 10), "at {now:?}");
            opens += u32::from(change.is_some());
        }
        assert!(opens > 0, "it opened");
        let counts = breaker.counts();
        assert_eq!(counts.fires, counts.successes + counts.failures + counts.rejects);
    }
}

#[test]
fn one_probe_over_all_threads() {
    for round in 0..200 {
        let breaker = opened();
        let (probes, together) = (AtomicUsize::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..50 {
                        if let Ok(permit) = breaker.allow(at(31_000)) {
                            assert!(permit.is_probe());
                            let before = probes.fetch_add(1, Relaxed);
                            assert_eq!(before, 0, "two probes at a time in round {round}");
                            probes.fetch_sub(1, Relaxed);
                            breaker.report(permit, at(31_000), Outcome::Cancelled, QUICK);
                        }
                    }
                });
            }
        });
        assert!(breaker.allow(at(31_000)).is_ok_and(|permit| permit.is_probe()));
    }
}

#[test]
fn one_of_all_threads_opens_it() {
    for _ in 0..100 {
        let breaker = breaker(BreakerConfig::default());
        let (opened, together) = (AtomicUsize::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..100 {
                        let Ok(permit) = breaker.allow(at(0)) else { continue };
                        if breaker.report(permit, at(0), Outcome::Failure, QUICK).is_some() {
                            opened.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(opened.into_inner(), 1);
        assert_eq!(breaker.counts().opened, 1);
    }
}
