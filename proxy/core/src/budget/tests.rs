use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use super::*;

const MILLI: u64 = 1_000_000;

fn budget(percent: u32, min_per_second: u32) -> RetryBudget {
    RetryBudget::new(BudgetConfig { percent, min_per_second, ..BudgetConfig::default() })
}

#[test]
fn minimum_is_there_from_the_start_and_no_more() {
    let budget = budget(20, 3);
    assert_eq!((0..100).filter(|_| budget.withdraw(Tick(5))).count(), 30);
}

#[test]
fn share_of_requests_comes_on_top() {
    let budget = budget(20, 3);
    (0..1000).for_each(|_| budget.deposit(Tick(5)));
    assert_eq!((0..1000).filter(|_| budget.withdraw(Tick(5))).count(), 230);
}

#[test]
fn nothing_is_allowed_where_nothing_is_given() {
    let budget = budget(0, 0);
    (0..1000).for_each(|_| budget.deposit(Tick(5)));
    assert!(!budget.withdraw(Tick(5)));
}

#[test]
fn requests_and_retries_are_forgotten_after_the_window() {
    let budget = budget(20, 3);
    (0..1000).for_each(|_| budget.deposit(Tick(500 * MILLI)));
    while budget.withdraw(Tick(500 * MILLI)) {}
    assert!(!budget.withdraw(Tick(10_400 * MILLI)), "within the window");
    assert_eq!((0..1000).filter(|_| budget.withdraw(Tick(11_000 * MILLI))).count(), 30, "a window later");
}

#[test]
fn any_window_length_works() {
    for window in [Duration::from_nanos(1), Duration::from_millis(100), Duration::from_secs(3600)] {
        let budget = RetryBudget::new(BudgetConfig { percent: 50, min_per_second: 0, window });
        (0..10).for_each(|_| budget.deposit(Tick(0)));
        assert_eq!((0..10).filter(|_| budget.withdraw(Tick(0))).count(), 5, "{window:?}");
    }
}

/// At each grant the true counts of the last ten seconds keep the limit, to the retry; and the limit is used.
#[test]
fn limit_holds_in_every_window() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (percent, min) = (rng.u32(1..50), rng.u32(0..6));
        let budget = budget(percent, min);
        let (mut requests, mut retries) = (VecDeque::new(), VecDeque::new());
        let mut now = Tick(rng.u64(0..100_000 * MILLI));
        let mut granted = 0_u64;
        let mut asked = 0_u64;
        for _ in 0..40_000 {
            // Calm and busy stretches, and now and then a long pause.
            let pace = if (now.0 / (7_000 * MILLI)).is_multiple_of(2) { 2 } else { 40 };
            let pause = if rng.u32(0..20_000) == 0 { 25_000 } else { 0 };
            now = Tick(now.0 + rng.u64(0..pace * MILLI) + pause * MILLI);
            for list in [&mut requests, &mut retries] {
                while list.front().is_some_and(|at: &Tick| now.nanos_since(*at) >= 10_000 * MILLI) {
                    list.pop_front();
                }
            }
            budget.deposit(now);
            requests.push_back(now);
            if rng.u32(0..100) < 80 {
                asked += 1;
                if budget.withdraw(now) {
                    granted += 1;
                    retries.push_back(now);
                    let allowed = requests.len() as u64 * u64::from(percent) + 1000 * u64::from(min);
                    assert!(
                        retries.len() as u64 * 100 <= allowed,
                        "{now:?}: {} retries, {} requests, {percent} %, {min}/s",
                        retries.len(),
                        requests.len()
                    );
                }
            }
        }
        let least = 40_000 * u64::from(percent) / 100 * 8 / 10;
        assert!(granted >= least.min(asked * 8 / 10), "{granted} of {asked} granted at {percent} %, {min}/s");
    }
}

#[test]
fn threads_together_get_no_more() {
    for _ in 0..20 {
        let budget = budget(20, 0);
        (0..50_000).for_each(|_| budget.deposit(Tick(7)));
        let (granted, together) = (AtomicUsize::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    let mine = (0..6_000).filter(|_| budget.withdraw(Tick(7))).count();
                    granted.fetch_add(mine, Relaxed);
                });
            }
        });
        // A thread that was outrun eight times in a row is refused, so it may be fewer, but never more.
        let granted = granted.into_inner();
        assert!((7_500..=10_000).contains(&granted), "{granted}");
    }
}

#[test]
fn no_deposit_is_lost_between_threads() {
    let (budget, together) = (budget(100, 0), Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                (0..100_000).for_each(|i| budget.deposit(Tick(i / 25_000 * 1_000 * MILLI)));
            });
        }
    });
    let now = Tick(3_000 * MILLI);
    assert_eq!(sum(&budget.requests, budget.slot(now), SLOTS), 400_000);
}
