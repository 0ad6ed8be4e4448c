//! A server in simulated time that works on so many requests at a time and lets the others wait, and callers who come
//! at random and go away when it takes too long.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;
use crate::limit::Level;

/// How long the work for a request takes, as a multiple of the server's mean.
#[derive(Copy, Clone, Debug)]
pub(super) enum Work {
    /// Always the same.
    Even,
    /// Exponential: half of it under 0.7 times the mean, a tenth over 2.3 times.
    Exponential,
}

pub(super) struct Sim {
    pub(super) now: Tick,
    pub(super) rng: fastrand::Rng,
    pub(super) adaptive: Option<Adaptive>,
    /// Requests that it works on at a time.
    pub(super) workers: usize,
    /// Mean milliseconds of work.
    pub(super) millis: f64,
    pub(super) work: Work,
    level: Level,
    busy: usize,
    queue: VecDeque<Request>,
    done: BinaryHeap<Reverse<(Tick, u64, Request)>>,
    serial: u64,
    pub(super) tally: Tally,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    began: Tick,
    priority: Priority,
}

/// What happened since it was last cleared.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Asked and answered in time, by priority from low to high.
    pub(super) asked: [u64; 3],
    pub(super) good: [u64; 3],
    pub(super) late: u64,
    /// The sum of limits over the requests asked.
    limits: u64,
    pub(super) seconds: f64,
}

impl Tally {
    /// Answers in time per second.
    pub(super) fn goodput(&self) -> f64 {
        self.good.iter().sum::<u64>() as f64 / self.seconds
    }

    /// The mean limit.
    pub(super) fn limit(&self) -> f64 {
        self.limits as f64 / self.asked.iter().sum::<u64>() as f64
    }
}

/// Callers wait for so many times the mean work.
const PATIENCE: f64 = 10.0;

impl Sim {
    pub(super) fn new(seed: u64, workers: usize, millis: f64, work: Work) -> Self {
        println!("seed {seed}, {workers} at a time, {millis} ms, {work:?}");
        Self {
            now: Tick(1_000_000_000_000),
            rng: fastrand::Rng::with_seed(seed),
            adaptive: Some(Adaptive::new(AdaptiveConfig::default())),
            workers,
            millis,
            work,
            level: Level::default(),
            busy: 0,
            queue: VecDeque::new(),
            done: BinaryHeap::new(),
            serial: 0,
            tally: Tally::default(),
        }
    }

    /// What the server can do in a second.
    pub(super) fn capacity(&self) -> f64 {
        self.workers as f64 * 1e3 / self.millis
    }

    /// Requests at so many times its capacity, by priority from low to high, for so long. Returns what happened.
    pub(super) fn run(&mut self, load: [f64; 3], seconds: f64) -> Tally {
        self.tally = Tally { seconds, ..Tally::default() };
        let end = self.now.after(Duration::from_secs_f64(seconds));
        let sum: f64 = load.iter().sum();
        let per_second = sum * self.capacity();
        loop {
            let gap = -(1.0 - self.rng.f64()).ln() / per_second;
            let next = self.now.after(Duration::from_secs_f64(gap));
            self.finish_until(next.min(end));
            if next >= end {
                self.now = end;
                return self.tally.clone();
            }
            self.now = next;
            let mut random = self.rng.f64() * sum;
            let mut priority = Priority::High;
            for (share, which) in load.iter().zip([Priority::Low, Priority::Normal, Priority::High]) {
                if random < *share {
                    priority = which;
                    break;
                }
                random -= share;
            }
            self.arrive(Request { began: next, priority });
        }
    }

    fn arrive(&mut self, request: Request) {
        let limit = self.adaptive.as_ref().map_or(u32::MAX, |adaptive| adaptive.limit_for(request.priority));
        self.tally.asked[request.priority as usize] += 1;
        self.tally.limits += u64::from(self.adaptive.as_ref().map_or(0, Adaptive::limit));
        if !self.level.try_take(limit) {
            return;
        }
        if self.busy < self.workers {
            self.start(request, self.now);
        } else {
            self.queue.push_back(request);
        }
    }

    fn start(&mut self, request: Request, now: Tick) {
        self.busy += 1;
        let factor = match self.work {
            Work::Even => 1.0,
            Work::Exponential => -(1.0 - self.rng.f64()).ln(),
        };
        let at = now.after(Duration::from_secs_f64(self.millis / 1e3 * factor));
        self.serial += 1;
        self.done.push(Reverse((at, self.serial, request)));
    }

    fn finish_until(&mut self, until: Tick) {
        while let Some(Reverse((at, _, request))) = self.done.peek().copied()
            && at <= until
        {
            self.done.pop();
            self.busy -= 1;
            let in_flight = self.level.taken();
            self.level.leave();
            // The server does the work even if the caller has gone: it can't know.
            let in_time = at.since(request.began).as_secs_f64() * 1e3 <= PATIENCE * self.millis;
            self.tally.good[request.priority as usize] += u64::from(in_time);
            self.tally.late += u64::from(!in_time);
            if let Some(adaptive) = &self.adaptive {
                adaptive.record(request.began, at, in_flight, &mut self.rng);
            }
            if let Some(next) = self.queue.pop_front() {
                self.start(next, at);
            }
        }
    }
}
