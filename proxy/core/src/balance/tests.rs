use std::cell::Cell;
use std::rc::Rc;

use super::sim::{Answer, Sim};
use super::*;

const POLICIES: [Policy; 4] = [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin, Policy::Random];
const P2C: [Policy; 2] = [Policy::PeakEwma, Policy::LeastRequest];

/// A latency that is usually near `millis`, with a tail.
fn around(millis: f64, rng: &mut fastrand::Rng) -> f64 {
    millis * (0.8 - 0.2 * (1.0 - rng.f64()).ln())
}

fn filled(policy: Policy, weights: &[u32], rng: &mut fastrand::Rng) -> Balancer {
    let mut balancer = Balancer::new(policy);
    balancer.rebuild(weights, |_| None, rng);
    balancer
}

#[test]
fn slow_endpoint_gets_next_to_nothing_after_a_second() {
    for (seed, rate) in [(1, 600.0), (2, 6000.0), (3, 600.0), (4, 6000.0)] {
        let mut sim = Sim::new(
            seed,
            Policy::PeakEwma,
            &[1; 10],
            Box::new(|endpoint, _, rng| Answer::Ok(around(if endpoint == 7 { 250.0 } else { 5.0 }, rng))),
        );
        sim.run(rate, 1.0);
        sim.run(rate, 20.0);
        assert!(sim.share(7) < 0.005, "{rate}/s: share {}", sim.share(7));
        assert!(sim.picks.iter().enumerate().all(|(i, n)| i == 7 || *n > 0), "{:?}", sim.picks);
    }
}

#[test]
fn endpoint_that_becomes_slow_loses_its_traffic_within_a_second() {
    for (seed, rate) in [(5, 600.0), (6, 6000.0)] {
        let turn = Tick(1_000_000_000_000).after(std::time::Duration::from_secs(10));
        let mut sim = Sim::new(
            seed,
            Policy::PeakEwma,
            &[1; 10],
            Box::new(move |endpoint, now, rng| {
                Answer::Ok(around(if endpoint == 7 && now >= turn { 250.0 } else { 5.0 }, rng))
            }),
        );
        sim.run(rate, 10.0);
        assert!(sim.share(7) > 0.05, "{rate}/s before: share {}", sim.share(7));
        sim.run(rate, 1.0);
        sim.run(rate, 20.0);
        assert!(sim.share(7) < 0.005, "{rate}/s after: share {}", sim.share(7));
    }
}

/// 100 requests per second is what a probe every 250 picks makes of it: one in 2.5 s.
#[test]
fn endpoint_that_was_slow_and_is_well_again_gets_its_share_back() {
    let slow_until = Rc::new(Cell::new(true));
    let slow = slow_until.clone();
    let rule = move |i, _, rng: &mut fastrand::Rng| {
        Answer::Ok(around(if i == 3 && slow.get() { 200.0 } else { 4.0 }, rng))
    };
    let mut sim = Sim::new(11, Policy::PeakEwma, &[1; 5], Box::new(rule));
    sim.run(100.0, 30.0);
    assert!(sim.share(3) < 0.02, "{}", sim.share(3));
    slow_until.set(false);
    sim.run(100.0, 20.0);
    sim.run(100.0, 10.0);
    assert!(sim.share(3) > 0.1, "{}", sim.share(3));
}

#[test]
fn endpoint_that_fails_fast_attracts_nothing_and_comes_back_when_well() {
    for policy in P2C {
        for (seed, rate) in [(11, 100.0), (12, 600.0), (13, 6000.0)] {
            let well_at = Tick(1_000_000_000_000).after(std::time::Duration::from_secs(21));
            let mut sim = Sim::new(
                seed,
                policy,
                &[1; 10],
                Box::new(move |endpoint, now, rng| {
                    if endpoint == 3 && now < well_at {
                        Answer::Fails(0.2)
                    } else {
                        Answer::Ok(around(5.0, rng))
                    }
                }),
            );
            sim.run(rate, 1.0);
            assert!(sim.share(3) < 0.06, "{policy:?} {rate}/s first second: share {}", sim.share(3));
            sim.run(rate, 20.0);
            assert!(sim.share(3) < 0.01, "{policy:?} {rate}/s failing: share {}", sim.share(3));
            sim.run(rate, 15.0);
            sim.run(rate, 10.0);
            let share = sim.share(3);
            assert!((0.05..0.2).contains(&share), "{policy:?} {rate}/s well again: share {share}");
        }
    }
}

#[test]
fn stray_failures_do_not_drive_the_load_onto_a_few() {
    let mut sim = Sim::new(
        21,
        Policy::PeakEwma,
        &[1; 10],
        Box::new(
            |_, _, rng| {
                if rng.f64() < 0.01 { Answer::Fails(1.0) } else { Answer::Ok(around(5.0, rng)) }
            },
        ),
    );
    for second in 0..30 {
        sim.run(6000.0, 1.0);
        let most = (0..10).map(|i| sim.share(i)).fold(0.0, f64::max);
        assert!(most < 0.25, "second {second}: {:?}", sim.picks);
        assert!(sim.peaks.iter().all(|peak| *peak < 60), "second {second}: {:?}", sim.peaks);
    }
}

#[test]
fn all_failing_alike_is_balanced_alike() {
    let mut sim =
        Sim::new(22, Policy::PeakEwma, &[1; 5], Box::new(|_, _, rng| Answer::Fails(around(2.0, rng))));
    sim.run(600.0, 20.0);
    for endpoint in 0..5 {
        assert!((0.1..0.3).contains(&sim.share(endpoint)), "{:?}", sim.picks);
    }
}

#[test]
fn new_endpoint_gets_traffic_within_a_second_without_a_stampede() {
    for (seed, rate) in [(31, 100.0), (32, 600.0), (33, 6000.0)] {
        let mut sim =
            Sim::new(seed, Policy::PeakEwma, &[1; 9], Box::new(|_, _, rng| Answer::Ok(around(1.0, rng))));
        sim.run(rate, 30.0);
        sim.balancer.rebuild(&[1; 10], |index| (index < 9).then_some(index), &mut sim.rng);
        sim.picks.push(0);
        sim.peaks.push(0);
        sim.run(rate, 1.0);
        assert!(sim.picks[9] as f64 > rate / 10.0 * 0.2, "{rate}/s: {:?}", sim.picks);
        assert!(sim.share(9) < 0.3, "{rate}/s: {:?}", sim.picks);
        assert!(sim.peaks[9] < 12, "{rate}/s: {:?}", sim.peaks);
    }
}

#[test]
fn stuck_endpoint_holds_a_handful() {
    for (seed, rate) in [(41, 100.0), (42, 600.0), (43, 6000.0)] {
        let mut sim = Sim::new(
            seed,
            Policy::PeakEwma,
            &[1; 10],
            Box::new(
                |endpoint, _, rng| {
                    if endpoint == 2 { Answer::Never } else { Answer::Ok(around(5.0, rng)) }
                },
            ),
        );
        sim.run(rate, 60.0);
        let held = sim.balancer.in_flight(2);
        assert!((1..=8).contains(&held), "{rate}/s: {held} in flight");
    }
}

#[test]
fn stuck_later_holds_a_handful_more() {
    let stuck_at = Tick(1_000_000_000_000).after(std::time::Duration::from_secs(10));
    let mut sim =
        Sim::new(
            44,
            Policy::PeakEwma,
            &[1; 10],
            Box::new(move |endpoint, now, rng| {
                if endpoint == 2 && now >= stuck_at { Answer::Never } else { Answer::Ok(around(5.0, rng)) }
            }),
        );
    sim.run(6000.0, 10.0);
    sim.run(6000.0, 60.0);
    assert!((1..=25).contains(&sim.balancer.in_flight(2)), "{}", sim.balancer.in_flight(2));
}

#[test]
fn weights_are_kept_to_by_every_policy() {
    for policy in POLICIES {
        for (seed, weights) in
            [(51, vec![3, 1]), (52, vec![1, 2, 3, 4]), (53, vec![10, 1, 1, 1, 1, 1, 1, 1, 1, 1])]
        {
            for rate in [50.0, 3000.0] {
                let mut sim =
                    Sim::new(seed, policy, &weights, Box::new(|_, _, rng| Answer::Ok(around(5.0, rng))));
                sim.run(rate, 5.0);
                sim.run(rate, 60_000.0 / rate);
                let sum: u32 = weights.iter().sum();
                for (endpoint, weight) in weights.iter().enumerate() {
                    let ratio = sim.share(endpoint) * f64::from(sum) / f64::from(*weight);
                    let bounds = if P2C.contains(&policy) { 0.7..1.4 } else { 0.93..1.07 };
                    assert!(bounds.contains(&ratio), "{policy:?} {rate}/s {weights:?}: {:?}", sim.picks);
                }
            }
        }
    }
}

#[test]
fn equal_endpoints_get_equal_shares_under_every_policy() {
    for policy in POLICIES {
        for rate in [50.0, 6000.0] {
            let mut sim = Sim::new(61, policy, &[7; 10], Box::new(|_, _, rng| Answer::Ok(around(5.0, rng))));
            sim.run(rate, 60_000.0 / rate);
            for endpoint in 0..10 {
                assert!(
                    (0.085..0.115).contains(&sim.share(endpoint)),
                    "{policy:?} {rate}/s: {:?}",
                    sim.picks
                );
            }
        }
    }
}

#[test]
fn slow_endpoint_is_avoided_whatever_its_weight() {
    let mut sim = Sim::new(
        62,
        Policy::PeakEwma,
        &[3, 1],
        Box::new(|endpoint, _, rng| Answer::Ok(around(if endpoint == 0 { 250.0 } else { 5.0 }, rng))),
    );
    sim.run(600.0, 1.0);
    sim.run(600.0, 20.0);
    assert!(sim.share(0) < 0.01, "{:?}", sim.picks);
}

#[test]
fn round_robin_takes_turns() {
    let mut rng = fastrand::Rng::with_seed(71);
    let mut balancer = filled(Policy::RoundRobin, &[1; 5], &mut rng);
    let picks: Vec<_> = (0..15).map(|_| balancer.pick(Tick(1), &mut rng, &Tried::new()).unwrap()).collect();
    for (n, pick) in picks.iter().enumerate() {
        assert_eq!(*pick, (picks[0] + n) % 5, "{picks:?}");
    }
}

#[test]
fn retry_goes_to_another_endpoint_while_there_is_one() {
    for policy in POLICIES {
        for weights in [vec![1; 6], vec![1000, 1, 1, 1, 1, 1]] {
            let mut rng = fastrand::Rng::with_seed(81);
            let mut balancer = filled(policy, &weights, &mut rng);
            for _ in 0..500 {
                let mut tried = Tried::new();
                let mut seen = Vec::new();
                // The endpoints that were tried are the idle ones, and so the better ones.
                let mut held: Vec<_> = (0..6).map(|index| Some(balancer.started(index))).collect();
                for _ in 0..6 {
                    assert!(balancer.has_untried(&tried));
                    let index = balancer.pick(Tick(1), &mut rng, &tried).unwrap();
                    assert!(!seen.contains(&index), "{policy:?} {weights:?}: {index} after {seen:?}");
                    seen.push(index);
                    let ticket = balancer.started(index);
                    tried.insert(&ticket);
                    balancer.finished(ticket, Tick(1), End::Cancelled);
                    balancer.finished(held[index].take().unwrap(), Tick(1), End::Cancelled);
                }
                assert!(!balancer.has_untried(&tried));
                assert!(
                    balancer.pick(Tick(1), &mut rng, &tried).is_some(),
                    "{policy:?}: any when all are tried"
                );
            }
        }
    }
}

#[test]
fn tried_remembers_the_last_eight() {
    let mut rng = fastrand::Rng::with_seed(82);
    let mut balancer = filled(Policy::Random, &[1; 40], &mut rng);
    let mut tried = Tried::new();
    assert!(tried.is_empty());
    for index in 0..40 {
        let ticket = balancer.started(index);
        tried.insert(&ticket);
        tried.insert(&ticket);
        assert!(!tried.is_empty());
        let remembered: Vec<_> = (0..40).filter(|slot| tried.contains(*slot)).collect();
        assert_eq!(remembered, (index.saturating_sub(7) as u32..=index as u32).collect::<Vec<_>>());
        balancer.finished(ticket, Tick(1), End::Cancelled);
    }
}

#[test]
fn only_active_endpoints_are_picked() {
    for policy in POLICIES {
        let mut rng = fastrand::Rng::with_seed(91);
        let mut balancer = filled(policy, &[1, 0, 2, 3, 4], &mut rng);
        let mut picked = |balancer: &mut Balancer, tried: &Tried| {
            let mut seen: Vec<_> = (0..400).filter_map(|_| balancer.pick(Tick(1), &mut rng, tried)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(
            picked(&mut balancer, &Tried::new()),
            [0, 2, 3, 4],
            "{policy:?}: without the one of weight 0"
        );
        let mut rng = fastrand::Rng::with_seed(92);
        balancer.set_active([4, 2, 1], &mut rng);
        assert_eq!(balancer.active_len(), 2);
        assert_eq!(picked(&mut balancer, &Tried::new()), [2, 4], "{policy:?}");
        let ticket = balancer.started(4);
        let mut tried = Tried::new();
        tried.insert(&ticket);
        assert_eq!(picked(&mut balancer, &tried), [2], "{policy:?}");
        balancer.set_active([4], &mut rng);
        assert_eq!(picked(&mut balancer, &tried), [4], "{policy:?}: the only one, tried or not");
        assert!(!balancer.has_untried(&tried));
        balancer.set_active([], &mut rng);
        assert_eq!(picked(&mut balancer, &Tried::new()), [], "{policy:?}");
        balancer.finished(ticket, Tick(1), End::Cancelled);
    }
}

#[test]
fn endpoints_that_stay_keep_estimate_and_requests_in_flight() {
    let mut rng = fastrand::Rng::with_seed(101);
    let mut balancer = filled(Policy::PeakEwma, &[1, 1, 1], &mut rng);
    let mut done = balancer.started(2);
    balancer.sent(&mut done, Tick(0));
    balancer.answered(&mut done, Tick(7_000_000), false);
    balancer.finished(done, Tick(7_000_000), End::Success);
    let open = balancer.started(2);
    let gone = balancer.started(0);

    // 0 leaves, 2 becomes 0, 1 stays, a new one is 2.
    balancer.rebuild(&[1, 1, 1], |index| [Some(2), Some(1), None][index], &mut rng);
    assert_eq!(balancer.estimate(0, Tick(7_000_000)), Some(7e6));
    assert_eq!([0, 1, 2].map(|i| balancer.in_flight(i)), [1, 0, 0]);
    assert_eq!(balancer.estimate(2, Tick(7_000_000)), None);

    balancer.finished(gone, Tick(8_000_000), End::Failure);
    balancer.finished(open, Tick(8_000_000), End::Success);
    assert_eq!([0, 1, 2].map(|i| balancer.in_flight(i)), [0, 0, 0]);
}

/// Random changes, starts and ends against a plain model: who stays keeps its count, nothing is counted twice, and
/// slots don't leak.
#[test]
fn counts_are_right_through_any_sequence_of_changes() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut balancer = Balancer::new(POLICIES[seed as usize % 4]);
        // The endpoints of the current set by name, and the open attempts with the name of their endpoint.
        let mut set: Vec<u32> = Vec::new();
        let mut open: Vec<(u32, Ticket)> = Vec::new();
        let mut next_name = 0;
        for step in 0..600 {
            let now = Tick(step * 1_000_000);
            match rng.u32(0..10) {
                0 => {
                    let old = set.clone();
                    set.retain(|_| rng.f64() < 0.7);
                    for _ in 0..rng.u32(0..4) {
                        set.push(next_name);
                        next_name += 1;
                    }
                    rng.shuffle(&mut set);
                    let weights: Vec<u32> = set.iter().map(|_| rng.u32(0..3)).collect();
                    let mut table_rng = rng.fork();
                    balancer.rebuild(
                        &weights,
                        |index| old.iter().position(|name| *name == set[index]),
                        &mut table_rng,
                    );
                }
                1..=5 => {
                    if let Some(index) = balancer.pick(now, &mut rng, &Tried::new()) {
                        let mut ticket = balancer.started(index);
                        if rng.bool() {
                            balancer.sent(&mut ticket, now);
                        }
                        open.push((set[index], ticket));
                    }
                }
                _ if !open.is_empty() => {
                    let (_, mut ticket) = open.swap_remove(rng.usize(0..open.len()));
                    if rng.bool() {
                        balancer.answered(&mut ticket, now, rng.bool());
                    }
                    let end = [End::Success, End::Failure, End::Cancelled][rng.usize(0..3)];
                    balancer.finished(ticket, now, end);
                }
                _ => {}
            }
            for (index, name) in set.iter().enumerate() {
                let expected = open.iter().filter(|(of, _)| of == name).count();
                assert_eq!(balancer.in_flight(index), expected, "step {step}, endpoint {name}");
            }
            let slots = balancer.members.len();
            let used = slots - balancer.free.len();
            assert!(used <= set.len() + open.len(), "step {step}: {used} slots used");
        }
        for (_, ticket) in open {
            balancer.finished(ticket, Tick(u64::MAX), End::Cancelled);
        }
        assert_eq!(balancer.members.len() - balancer.free.len(), set.len(), "slots leak");
        assert!(balancer.members.iter().all(|member| member.waiting == 0 && member.in_flight == 0));
    }
}

#[test]
fn a_slow_upload_is_not_held_against_the_endpoint() {
    let mut rng = fastrand::Rng::with_seed(111);
    let mut balancer = filled(Policy::PeakEwma, &[1, 1], &mut rng);
    let second = 1_000_000_000;
    let upload = balancer.started(0);
    let now = Tick(20 * second);
    assert_eq!(balancer.members[0].latency(now, 5e6), 5e6, "nothing owed");

    let mut waits = balancer.started(1);
    balancer.sent(&mut waits, Tick(19 * second));
    assert_eq!(balancer.members[1].latency(now, 5e6), 1e9, "silent for a second");

    balancer.finished(upload, now, End::Failure);
    assert_eq!(balancer.estimate(0, now), None);
    balancer.finished(waits, now, End::Cancelled);
    assert_eq!(balancer.estimate(1, now), Some(1e9), "it took a second at the least");
    assert_eq!(balancer.members[1].penalty.factor(now), 1.0, "giving up isn't the endpoint's failure");
    assert!(balancer.members[0].penalty.factor(now) > 4.0);
}

#[test]
fn one_request_is_one_failure() {
    let mut rng = fastrand::Rng::with_seed(112);
    let mut balancer = filled(Policy::PeakEwma, &[1, 1], &mut rng);
    let now = Tick(1);
    let mut ticket = balancer.started(0);
    balancer.sent(&mut ticket, now);
    balancer.answered(&mut ticket, now, true);
    balancer.answered(&mut ticket, now, true);
    let once = balancer.members[0].penalty.factor(now);
    balancer.finished(ticket, now, End::Failure);
    assert_eq!(balancer.members[0].penalty.factor(now), once);
    let mut ticket = balancer.started(1);
    balancer.sent(&mut ticket, now);
    balancer.answered(&mut ticket, now, false);
    balancer.finished(ticket, now, End::Failure);
    assert_eq!(balancer.members[1].penalty.factor(now), once, "a body that breaks off is a failure, too");
}
