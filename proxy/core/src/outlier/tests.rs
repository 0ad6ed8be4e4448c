use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Tick {
    Tick((1_000 + seconds) * SECOND)
}

fn healths(count: usize) -> Vec<Arc<EndpointHealth>> {
    (0..count).map(|_| Arc::default()).collect()
}

fn outlier(config: OutlierConfig, healths: &[Arc<EndpointHealth>]) -> Outlier {
    Outlier::new(config, at(0), healths.iter().map(|health| (1, health)))
}

/// Reports failures until the endpoint is ejected, at most ten.
fn fail(outlier: &Outlier, index: usize, now: Tick) -> Option<Ejection> {
    (0..10).find_map(|_| outlier.report(index, now, false))
}

#[test]
fn five_failures_in_a_row_eject_for_the_base_time() {
    let outlier = outlier(OutlierConfig::default(), &healths(4));
    for _ in 0..4 {
        assert_eq!(outlier.report(2, at(0), false), None);
    }
    assert_eq!(outlier.report(2, at(0), true), None);
    for _ in 0..4 {
        assert_eq!(outlier.report(2, at(0), false), None);
    }
    let before = outlier.epoch();
    assert_eq!(
        outlier.report(2, at(0), false),
        Some(Ejection { duration: Duration::from_secs(30), times: 1 })
    );
    assert_ne!(outlier.epoch(), before);
    assert!(outlier.is_ejected(2, at(0)) && outlier.is_ejected(2, Tick(at(30).0 - 1)));
    assert!(!outlier.is_ejected(2, at(30)), "it comes back by itself");
    assert_eq!(outlier.next_return(at(0)), Some(at(30)));
    assert_eq!(outlier.next_return(at(30)), None);
}

#[test]
fn failures_while_ejected_do_not_count_afterwards() {
    let outlier = outlier(OutlierConfig::default(), &healths(4));
    fail(&outlier, 0, at(0)).expect("ejected");
    for _ in 0..50 {
        assert_eq!(outlier.report(0, at(1), false), None);
    }
    for _ in 0..4 {
        assert_eq!(outlier.report(0, at(31), false), None, "a clean slate");
    }
    assert!(outlier.report(0, at(31), false).is_some());
}

#[test]
fn each_ejection_lasts_longer_and_good_times_make_up_for_it() {
    let outlier = outlier(OutlierConfig::default(), &healths(4));
    let mut now = at(0);
    for n in 1..=12 {
        let ejection = fail(&outlier, 0, now).expect("ejected");
        let expected = Ejection { duration: Duration::from_secs((30 * n).min(300)), times: n.min(10) as u32 };
        assert_eq!(ejection, expected);
        now = now.after(ejection.duration);
    }
    // Three base times in service, and a bit: 10 + 1 - 3.
    now = now.after(Duration::from_secs(100));
    let ejection = fail(&outlier, 0, now).expect("ejected");
    assert_eq!(ejection, Ejection { duration: Duration::from_secs(240), times: 8 });
    now = now.after(ejection.duration).after(Duration::from_secs(10_000));
    assert_eq!(fail(&outlier, 0, now).expect("ejected").times, 1);
}

#[test]
fn cap_is_rounded_down_with_one_at_least_and_never_all() {
    let table = [
        // endpoints, percent, cap
        (0, 50, 0),
        (1, 50, 0),
        (1, 100, 0),
        (2, 50, 1),
        (3, 50, 1),
        (4, 50, 2),
        (5, 50, 2),
        (10, 50, 5),
        (2, 100, 1),
        (3, 100, 2),
        (3, 10, 1),
        (10, 10, 1),
        (19, 10, 1),
        (20, 10, 2),
        (10, 0, 0),
        (10, 400, 9),
    ];
    for (endpoints, percent, cap) in table {
        assert_eq!(Outlier::cap(endpoints, percent), cap, "{endpoints} at {percent} %");
    }
}

#[test]
fn full_house_waits_for_a_return() {
    let outlier = outlier(OutlierConfig::default(), &healths(3));
    fail(&outlier, 0, at(0)).expect("one of three may go");
    assert_eq!(fail(&outlier, 1, at(10)), None, "no room");
    assert_eq!(outlier.report(1, at(29), false), None);
    assert!(outlier.report(1, at(30), false).is_some(), "room again, and the failures were kept");
    assert_eq!(outlier.ejected(at(30)), 1);
}

#[test]
fn who_is_out_is_not_ejected_again() {
    let (config, healths) = (OutlierConfig::default(), healths(8));
    let outlier = outlier(config, &healths);
    fail(&outlier, 0, at(0)).expect("ejected");
    // As a thread would do that had looked before the ejection, and came to eject after it.
    assert_eq!(outlier.eject(&healths[0], at(0)), None);
    assert_eq!(outlier.next_return(at(0)), Some(at(30)));
}

#[test]
fn extreme_times_do_not_overflow() {
    let (base_ejection, max_ejection) = (Duration::MAX, Duration::MAX);
    let config = OutlierConfig { base_ejection, max_ejection, ..OutlierConfig::default() };
    let outlier = outlier(config, &healths(4));
    fail(&outlier, 0, at(0)).expect("ejected");
    assert_eq!(outlier.next_return(at(0)), Some(Tick::MAX));
}

#[test]
fn detection_can_be_off() {
    for config in [
        OutlierConfig { consecutive_failures: 0, ..OutlierConfig::default() },
        OutlierConfig { max_ejection_percent: 0, ..OutlierConfig::default() },
    ] {
        let outlier = outlier(config, &healths(4));
        assert_eq!(fail(&outlier, 0, at(0)), None);
    }
}

#[test]
fn endpoints_without_weight_neither_count_nor_go() {
    let healths = healths(4);
    let weights = [1, 0, 1, 0];
    let outlier = Outlier::new(OutlierConfig::default(), at(0), weights.into_iter().zip(&healths));
    assert_eq!(fail(&outlier, 1, at(0)), None);
    fail(&outlier, 0, at(0)).expect("one of two");
    assert_eq!(fail(&outlier, 2, at(0)), None, "the last one with a weight");
    assert_eq!(outlier.report(17, at(0), false), None, "an index out of range is nobody");
}

#[test]
fn ejections_survive_a_change_of_the_set() {
    let mut healths = healths(4);
    let old = outlier(OutlierConfig::default(), &healths);
    fail(&old, 3, at(0)).expect("ejected");
    healths.remove(0);
    let new = old.next(OutlierConfig::default(), at(1), healths.iter().map(|health| (1, health)));
    assert!(new.is_ejected(2, at(1)) && !new.is_ejected(1, at(1)));
    assert_eq!(new.epoch(), old.epoch(), "nothing has changed for the workers");
    assert_eq!(fail(&new, 0, at(2)), None, "one of three is out already");
}

#[test]
fn shrinking_set_takes_back_who_would_return_first() {
    let healths = healths(6);
    let old = outlier(OutlierConfig::default(), &healths);
    for (seconds, index) in [(0, 0), (5, 1), (7, 2)] {
        fail(&old, index, at(seconds)).expect("ejected");
    }
    let left = [2, 1, 0].map(|index| (1, &healths[index]));
    let new = old.next(OutlierConfig::default(), at(8), left);
    assert_eq!([0, 1, 2].map(|index| new.is_ejected(index, at(8))), [true, false, false]);
    assert_ne!(new.epoch(), 3, "the workers must hear of it");
    let alone = new.next(OutlierConfig::default(), at(9), [(1, &healths[2])]);
    assert!(!alone.is_ejected(0, at(9)), "never the last one");
}

/// Random reports, in any order, with time going on: after each the cap holds and one is left; `next_return` and
/// `epoch` tell a worker of all changes.
#[test]
fn cap_holds_under_any_order_of_reports() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(1..12);
        let config = OutlierConfig {
            consecutive_failures: rng.u32(1..6),
            max_ejection_percent: rng.u32(0..=100),
            ..OutlierConfig::default()
        };
        let outlier = outlier(config, &healths(count));
        let cap = Outlier::cap(count, config.max_ejection_percent);
        assert!(cap < count);
        let failing = rng.f64();
        let mut now = at(0);
        let flags = |now| (0..count).map(|i| outlier.is_ejected(i, now)).collect::<Vec<_>>();
        let (mut known, mut epoch, mut until) = (flags(now), outlier.epoch(), None);
        let mut ejections = 0;
        for step in 0..3000 {
            now = now.after(Duration::from_millis(rng.u64(0..200)));
            ejections += usize::from(outlier.report(rng.usize(0..count), now, rng.f64() > failing).is_some());
            assert!(outlier.ejected(now) <= cap, "step {step}");
            if outlier.epoch() != epoch || until.is_some_and(|until| now >= until) {
                (epoch, until, known) = (outlier.epoch(), outlier.next_return(now), flags(now));
            }
            assert_eq!(flags(now), known, "step {step}: a worker would not have known");
        }
        assert!(ejections > 0 || cap == 0 || failing < 0.9, "nothing was tested");
    }
}

/// Two threads report failures of the same two endpoints at the same moment, over and over: of two only one may go,
/// and only once.
#[test]
fn cap_holds_between_threads() {
    const ROUNDS: usize = 20_000;
    let config = OutlierConfig { consecutive_failures: 1, ..OutlierConfig::default() };
    for (count, cap) in [(2, 1), (4, 2)] {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| outlier(config, &healths(count))).collect();
        let (ejections, reached) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (rounds, ejections, reached) = (&rounds, &ejections, &reached);
                scope.spawn(move || {
                    for (n, outlier) in rounds.iter().enumerate() {
                        // Both begin a round together.
                        reached.fetch_add(1, AcqRel);
                        while (reached.load(Acquire) as usize) < 2 * (n + 1) {
                            std::thread::yield_now();
                        }
                        let own = if n % 2 == 0 { thread } else { 0 };
                        for index in [own, 1 - own] {
                            ejections
                                .fetch_add(u32::from(outlier.report(index, at(0), false).is_some()), Relaxed);
                        }
                    }
                });
            }
        });
        let ejected: usize = rounds.iter().map(|outlier| outlier.ejected(at(0))).sum();
        assert!(rounds.iter().all(|outlier| outlier.ejected(at(0)) <= cap));
        assert_eq!(ejections.into_inner() as usize, ejected, "an endpoint was ejected twice at a time");
        assert!(ejected >= ROUNDS, "{ejected}");
    }
}
