use super::sim::{Sim, Work};
use super::*;

const NORMAL_3X: [f64; 3] = [0.0, 3.0, 0.0];

/// Without a limit the queue is soon longer than callers' patience, and nobody is answered in time.
#[test]
fn without_it_goodput_collapses() {
    let mut sim = Sim::new(1, 20, 20.0, Work::Exponential);
    sim.adaptive = None;
    sim.run(NORMAL_3X, 10.0);
    let tally = sim.run(NORMAL_3X, 10.0);
    assert!(tally.goodput() < 0.05 * sim.capacity(), "{tally:?}");
}

/// At three times capacity goodput stays at 90 % of capacity or more, probes included, and the limit is where the rule
/// says that it comes to rest.
#[test]
fn keeps_goodput_at_three_times_capacity() {
    for (seed, (workers, millis)) in
        [(4, 50.0), (10, 30.0), (20, 50.0), (50, 100.0), (300, 200.0)].into_iter().enumerate()
    {
        for work in [Work::Even, Work::Exponential] {
            let mut sim = Sim::new(seed as u64, workers, millis, work);
            let first = sim.run(NORMAL_3X, 20.0);
            let tally = sim.run(NORMAL_3X, 130.0);
            let share = tally.goodput() / sim.capacity();
            println!("goodput {share:.3}, limit {:.1}, late {}", tally.limit(), tally.late);
            assert!(share >= 0.9, "{tally:?}");
            // From 20 up to 400 it takes a dozen windows of two answers each.
            assert!(first.goodput() >= 0.6 * sim.capacity(), "from the start: {first:?}");
            let rest = 1.25 * workers as f64 + (workers as f64).sqrt();
            assert!((0.7 * rest..1.3 * rest).contains(&tally.limit()), "{} for {rest}", tally.limit());
        }
    }
}

/// A service with room to spare loses nobody, not even to a probe.
#[test]
fn nobody_is_turned_away_at_an_ordinary_load() {
    let mut sim = Sim::new(8, 40, 50.0, Work::Exponential);
    sim.run([0.0, 0.6, 0.0], 60.0);
    let tally = sim.run([0.0, 0.6, 0.0], 300.0);
    let (asked, good) = (tally.asked[1], tally.good[1]);
    println!("{good} of {asked}, limit {:.1}", tally.limit());
    assert!(good as f64 >= 0.999 * asked as f64, "{tally:?}");
}

#[test]
fn follows_a_service_that_becomes_smaller_slower_or_faster() {
    for (workers, millis) in [(10, 50.0), (40, 150.0), (40, 20.0), (120, 50.0)] {
        let mut sim = Sim::new(5, 40, 50.0, Work::Exponential);
        sim.run(NORMAL_3X, 60.0);
        (sim.workers, sim.millis) = (workers, millis);
        // A probe is due every minute; with it, and what it takes to get used to it, a minute and a half.
        sim.run(NORMAL_3X, 90.0);
        let tally = sim.run(NORMAL_3X, 60.0);
        let share = tally.goodput() / sim.capacity();
        println!("goodput {share:.3}, limit {:.1}", tally.limit());
        assert!(share >= 0.9, "{workers} at {millis} ms: {tally:?}");
    }
}

/// Three times slower by itself, the service looks overloaded, and the limit falls to next to nothing. That is what brings
/// the next probe forward, which would be due in half a minute.
#[test]
fn a_fallen_limit_is_looked_into_early() {
    let mut sim = Sim::new(9, 40, 50.0, Work::Exponential);
    sim.run(NORMAL_3X, 30.0);
    sim.millis = 150.0;
    sim.run(NORMAL_3X, 10.0);
    let tally = sim.run(NORMAL_3X, 15.0);
    let share = tally.goodput() / sim.capacity();
    println!("goodput {share:.3}, limit {:.1}", tally.limit());
    assert!(share >= 0.9, "{tally:?}");
}

/// Each priority alone would fill the service: the high one is served, at the cost of the others.
#[test]
fn who_matters_most_is_turned_away_last() {
    let mut sim = Sim::new(6, 50, 20.0, Work::Exponential);
    sim.run([1.0, 1.0, 0.8], 20.0);
    let tally = sim.run([1.0, 1.0, 0.8], 60.0);
    let share: Vec<f64> =
        tally.good.iter().zip(tally.asked).map(|(good, asked)| *good as f64 / asked as f64).collect();
    println!("answered {share:?}");
    assert!(share[2] > 0.9 && share[1] < 0.5 && share[0] < 0.05, "{share:?}");
    assert!(tally.goodput() >= 0.9 * sim.capacity());
}

#[test]
fn stays_inside_its_bounds() {
    let config = AdaptiveConfig { min_concurrency: 5, max_concurrency: 30, ..AdaptiveConfig::default() };
    for (workers, reached) in [(1, 5), (500, 30)] {
        let mut sim = Sim::new(7, workers, 10.0, Work::Even);
        sim.adaptive = Some(Adaptive::new(config));
        let mut seen = Vec::new();
        for _ in 0..300 {
            sim.run(NORMAL_3X, 0.1);
            seen.push(sim.adaptive.as_ref().map_or(0, Adaptive::limit));
        }
        assert!(seen.iter().all(|limit| (5..=30).contains(limit)), "{seen:?}");
        assert!(seen.contains(&reached), "{seen:?}");
    }
    let adaptive = Adaptive::new(config);
    assert_eq!(adaptive.next_limit(6, 1_000_000, 1_000, 6), 5);
    assert_eq!(adaptive.next_limit(29, 1_000, 1_000_000, 29), 30);
    assert_eq!(adaptive.next_limit(20, 1_000, 1_000, 9), 20, "not in use");
    let odd = AdaptiveConfig { min_concurrency: 0, max_concurrency: 0, initial: 9, ..config };
    assert_eq!(Adaptive::new(odd).limit(), 1);
}

#[test]
fn priorities_differ_even_when_the_limit_is_small() {
    let adaptive = Adaptive::new(AdaptiveConfig { initial: 4, ..AdaptiveConfig::default() });
    assert_eq!([Priority::Low, Priority::Normal, Priority::High].map(|p| adaptive.limit_for(p)), [3, 4, 5]);
}

/// Latencies in one window, then what is known.
#[test]
fn the_least_latency_is_the_median_of_the_first_window() {
    let adaptive = Adaptive::new(AdaptiveConfig::default());
    let mut rng = fastrand::Rng::with_seed(2);
    assert_eq!(adaptive.least_latency(), None);
    let began = Tick(10_000_000_000);
    let mut record = |millis| {
        adaptive.record(began, began.after(Duration::from_millis(millis)), 1, &mut rng);
    };
    // Starts the window, without being counted.
    record(0);
    (0..24).for_each(|_| record(10));
    (0..10).for_each(|_| record(15));
    (0..14).for_each(|_| record(90));
    assert_eq!(adaptive.least_latency(), None, "too few");
    record(90);
    record(110);
    let least = adaptive.least_latency().expect("known");
    assert!((13..=16).contains(&least.as_millis()), "{least:?}");
    assert_eq!(adaptive.limit(), 20);
    // What began before that says nothing about it any more.
    (0..1_000).for_each(|_| record(9_000));
    assert_eq!(adaptive.samples.load(Relaxed), 0);
}

#[test]
fn threads_leave_it_in_order() {
    let adaptive = Adaptive::new(AdaptiveConfig::default());
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let adaptive = &adaptive;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for i in 0..100_000_u64 {
                    let began = Tick(1_000_000_000 + i * 1_000_000);
                    adaptive.record(began, began.after(Duration::from_millis(5)), 100, &mut rng);
                }
            });
        }
    });
    assert!(!adaptive.ending.load(Relaxed), "nobody is left ending a window");
    assert!((3..=1_000).contains(&adaptive.limit()));
    let least = adaptive.least_latency().expect("known").as_micros();
    assert!((4_000..=6_000).contains(&least), "{least}");
}
