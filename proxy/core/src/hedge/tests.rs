use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::budget::{BudgetConfig, RetryBudget};

const GET: Candidate = Candidate {
    idempotent: true,
    grpc: false,
    attempts: 1,
    body: Body::Unread,
    another_endpoint: true,
    time_left: None,
};

#[test]
fn each_reason_is_told_and_nothing_withdrawn_for_it() {
    for (candidate, why) in [
        (Candidate { idempotent: false, ..GET }, NoHedge::NotIdempotent),
        (Candidate { grpc: true, ..GET }, NoHedge::NotIdempotent),
        (Candidate { attempts: 2, ..GET }, NoHedge::NotFirst),
        (Candidate { body: Body::TooLarge, ..GET }, NoHedge::BodyTooLarge),
        (Candidate { another_endpoint: false, ..GET }, NoHedge::NoOtherEndpoint),
        (Candidate { time_left: Some(Duration::ZERO), ..GET }, NoHedge::DeadlineExceeded),
    ] {
        assert_eq!(decide(&candidate, || panic!("withdrawn for {why:?}")), Err(why));
        assert!(candidate.is_hopeless());
    }
    assert_eq!(decide(&GET, || false), Err(NoHedge::BudgetExhausted));
    assert_eq!(decide(&GET, || true), Ok(()));
    let upload = Candidate { body: Body::Kept, time_left: Some(Duration::from_secs(1)), ..GET };
    assert_eq!(decide(&upload, || true), Ok(()));
    assert!(!GET.is_hopeless());
}

#[test]
fn waits_for_the_percentile() {
    let now = Tick(5_000_000_000);
    let mut hedging = Hedging::new(95);
    assert_eq!(hedging.delay(now), None, "nothing is known");
    for i in 1..=100 {
        hedging.record(now, Duration::from_millis(i));
    }
    let later = now.after(Duration::from_millis(200));
    let delay = hedging.delay(later).expect("known").as_millis();
    assert!((95..=107).contains(&delay), "{delay}");
    let mut quick = Hedging::new(95);
    (0..100).for_each(|_| quick.record(now, Duration::from_micros(30)));
    assert_eq!(quick.delay(now), Some(Hedging::LEAST));
}

/// A service in simulated time: a thousand requests a second, each endpoint answers by chance.
struct Sim {
    rng: fastrand::Rng,
    hedged: bool,
    hedging: Hedging,
    budget: RetryBudget,
    events: BinaryHeap<Reverse<(Tick, usize, Event)>>,
    /// Began, answered, by request.
    requests: Vec<(Tick, Option<Tick>)>,
    hedges: usize,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An attempt that began then is answered.
    Answer(Tick),
    /// It's time for a second attempt.
    Hedge,
}

impl Sim {
    fn new(seed: u64, hedged: bool) -> Self {
        println!("seed {seed}");
        Self {
            rng: fastrand::Rng::with_seed(seed),
            hedged,
            hedging: Hedging::new(95),
            budget: RetryBudget::new(BudgetConfig::default()),
            events: BinaryHeap::new(),
            requests: Vec::new(),
            hedges: 0,
        }
    }

    /// Seconds `from..to`; an attempt is slow (500 ms, not about 10) with this chance.
    fn run(&mut self, from: u64, to: u64, slow: f64) -> (Duration, f64) {
        let (first, hedges) = (self.requests.len(), self.hedges);
        for milli in from * 1_000..to * 1_000 {
            let now = Tick((1_000_000 + milli) * 1_000_000);
            self.advance(now, slow);
            let id = self.requests.len();
            self.requests.push((now, None));
            self.budget.deposit(now);
            self.attempt(id, now, slow);
            if self.hedged
                && let Some(delay) = self.hedging.delay(now)
            {
                self.events.push(Reverse((now.after(delay), id, Event::Hedge)));
            }
        }
        self.advance(Tick((1_000_000 + to * 1_000) * 1_000_000), slow);
        let mut latencies: Vec<Duration> =
            self.requests[first..].iter().filter_map(|(began, end)| Some((*end)?.since(*began))).collect();
        latencies.sort_unstable();
        let share = (self.hedges - hedges) as f64 / (self.requests.len() - first) as f64;
        (latencies[latencies.len() * 99 / 100], share)
    }

    fn attempt(&mut self, id: usize, now: Tick, slow: f64) {
        let usual = 8.0 + 4.0 * self.rng.f64();
        let millis = if self.rng.f64() < slow { 500.0 } else { usual };
        let end = now.after(Duration::from_secs_f64(millis / 1e3));
        self.events.push(Reverse((end, id, Event::Answer(now))));
    }

    fn advance(&mut self, until: Tick, slow: f64) {
        while let Some(Reverse((now, id, event))) = self.events.peek().copied()
            && now <= until
        {
            self.events.pop();
            let (began, answered) = self.requests[id];
            match event {
                // It lost, and was cancelled when the other was answered.
                Event::Answer(_) if answered.is_some() => {}
                Event::Answer(sent) => {
                    self.requests[id].1 = Some(now);
                    self.hedging.record(now, now.since(sent));
                    if sent != began {
                        self.hedging.record(now, now.since(began));
                    }
                }
                Event::Hedge if answered.is_some() => {}
                Event::Hedge => {
                    if decide(&GET, || self.budget.withdraw(now)).is_ok() {
                        self.hedges += 1;
                        self.attempt(id, now, slow);
                    }
                }
            }
        }
    }
}

/// One in fifty is slow by chance: without hedging that is the 99th percentile, with it it's about the usual latency
/// twice, for a few percent more requests.
#[test]
fn cuts_the_tail_off_for_little() {
    let mut plain = Sim::new(3, false);
    plain.run(0, 10, 0.02);
    let (without, none) = plain.run(10, 40, 0.02);
    let mut hedged = Sim::new(3, true);
    hedged.run(0, 10, 0.02);
    let (with, share) = hedged.run(10, 40, 0.02);
    println!("99th percentile {without:?} → {with:?}, {:.1} % hedged", share * 100.0);
    assert_eq!(without, Duration::from_millis(500));
    assert_eq!(none, 0.0);
    assert!(with < Duration::from_millis(30), "{with:?}");
    // Hardly more than those that were slow, as usual answers vary little.
    assert!((0.015..0.06).contains(&share), "{share}");
}

/// When everything becomes slow at once, the budget holds: a fifth of the requests, and three a second.
#[test]
fn stays_inside_the_budget_when_all_is_slow() {
    let mut sim = Sim::new(4, true);
    sim.run(0, 15, 0.0);
    let (_, share) = sim.run(15, 20, 1.0);
    println!("{:.1} % hedged", share * 100.0);
    // The budget looks back on ten seconds of requests, most of which went well.
    assert!(share <= 0.42, "{share}");
    let (_, later) = sim.run(20, 60, 1.0);
    println!("{:.1} % hedged", later * 100.0);
    assert!(later <= 0.204, "{later}");
}
