//! A service in simulated time, for the tests: requests arrive at random, endpoints answer by a rule.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{Balancer, End, Policy, Ticket, Tried};
use crate::Tick;

/// What an endpoint does with a request.
#[derive(Copy, Clone, Debug)]
pub(super) enum Answer {
    /// Answers well after this many milliseconds.
    Ok(f64),
    /// Answers 503 after this many milliseconds.
    Fails(f64),
    /// Never answers.
    Never,
}

/// The rule: endpoint, time, chance → answer.
pub(super) type Rule = Box<dyn FnMut(usize, Tick, &mut fastrand::Rng) -> Answer>;

pub(super) struct Sim {
    pub(super) now: Tick,
    pub(super) rng: fastrand::Rng,
    pub(super) balancer: Balancer,
    pub(super) rule: Rule,
    /// Picks by endpoint since the last [`Sim::run`] began.
    pub(super) picks: Vec<u64>,
    /// The most requests in flight by endpoint since the last [`Sim::run`] began.
    pub(super) peaks: Vec<usize>,
    waiting: BinaryHeap<Reverse<(Tick, u64)>>,
    tickets: Vec<Option<(Ticket, bool)>>,
}

impl Sim {
    pub(super) fn new(seed: u64, policy: Policy, weights: &[u32], rule: Rule) -> Self {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut balancer = Balancer::new(policy);
        balancer.rebuild(weights, |_| None, &mut rng);
        Self {
            // Far from 0, so that a tick of 0 by mistake would show.
            now: Tick(1_000_000_000_000),
            rng,
            balancer,
            rule,
            picks: vec![0; weights.len()],
            peaks: vec![0; weights.len()],
            waiting: BinaryHeap::new(),
            tickets: Vec::new(),
        }
    }

    /// Requests at this rate (Poisson) for this many seconds.
    pub(super) fn run(&mut self, per_second: f64, seconds: f64) {
        self.picks.fill(0);
        self.peaks.fill(0);
        let end = self.now.after(Duration::from_secs_f64(seconds));
        loop {
            let gap = -(1.0 - self.rng.f64()).ln() / per_second;
            let next = self.now.after(Duration::from_secs_f64(gap));
            self.answer_until(next.min(end));
            if next >= end {
                self.now = end;
                return;
            }
            self.now = next;
            self.arrive();
        }
    }

    /// Picks of this endpoint ÷ all picks.
    pub(super) fn share(&self, endpoint: usize) -> f64 {
        self.picks[endpoint] as f64 / self.picks.iter().sum::<u64>() as f64
    }

    fn arrive(&mut self) {
        let Self { now, rng, balancer, .. } = self;
        let endpoint = balancer.pick(*now, rng, &Tried::new()).expect("an active endpoint");
        let mut ticket = balancer.started(endpoint);
        balancer.sent(&mut ticket, *now);
        self.picks[endpoint] += 1;
        self.peaks[endpoint] = self.peaks[endpoint].max(balancer.in_flight(endpoint));
        let (millis, failed) = match (self.rule)(endpoint, *now, rng) {
            Answer::Ok(millis) => (millis, false),
            Answer::Fails(millis) => (millis, true),
            Answer::Never => return,
        };
        self.tickets.push(Some((ticket, failed)));
        let at = now.after(Duration::from_secs_f64(millis / 1e3));
        self.waiting.push(Reverse((at, self.tickets.len() as u64 - 1)));
    }

    fn answer_until(&mut self, until: Tick) {
        while let Some(Reverse((at, id))) = self.waiting.peek().copied()
            && at <= until
        {
            self.waiting.pop();
            let (mut ticket, failed) = self.tickets[id as usize].take().expect("answered once");
            self.balancer.answered(&mut ticket, at, failed);
            self.balancer.finished(ticket, at, if failed { End::Failure } else { End::Success });
        }
    }
}
