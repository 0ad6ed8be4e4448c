//! Endpoints that come and go, as many times a second as is asked for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::Plan;
use super::board::address;
use super::tasks::{Stand, Task, Tasks};

/// How often it is looked whether a flap is due.
const TICK: Duration = Duration::from_millis(2);

/// Endpoints that flap.
#[derive(Debug)]
pub struct Flaps {
    tasks: Rc<Tasks>,
    plan: Plan,
    rng: fastrand::Rng,
    endpoints: Vec<Flapping>,
}

#[derive(Debug)]
struct Flapping {
    service: usize,
    address: SocketAddr,
    task: Option<Task>,
    stand: Rc<Cell<Stand>>,
}

impl Flapping {
    /// The control plane has taken in what was said of it last. Before that another word could overtake it, on another
    /// stream; a task that starts again takes longer than that too.
    fn is_settled(&self) -> bool {
        match self.task {
            Some(_) => self.stand.get() == Stand::There,
            None => self.stand.get() == Stand::Gone,
        }
    }
}

impl Flaps {
    /// So many, shared out among the registered services; none is there yet.
    #[must_use]
    pub fn new(tasks: Rc<Tasks>, plan: Plan, count: usize, seed: u64) -> Self {
        let one = |at: usize| {
            let mark = u32::try_from(at + 1).unwrap_or(u32::MAX);
            Flapping {
                service: plan.registered[at % plan.registered.len()],
                address: address(mark),
                task: None,
                stand: Rc::new(Cell::new(Stand::Gone)),
            }
        };
        let endpoints = (0..count).map(one).collect();
        Flaps { tasks, plan, rng: fastrand::Rng::with_seed(seed), endpoints }
    }

    /// Lets endpoints come and go; returns how many times one did.
    pub async fn run(&mut self, per_second: u32, length: Duration) -> u64 {
        let began = Instant::now();
        let mut tick = interval(TICK);
        // What the machine makes it miss is made up for at once.
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut done = 0_u32;
        while began.elapsed() < length {
            tick.tick().await;
            while f64::from(done) < began.elapsed().min(length).as_secs_f64() * f64::from(per_second) {
                if !self.flap() {
                    break;
                }
                done += 1;
            }
        }
        u64::from(done)
    }

    /// False: the control plane is behind with all of them.
    fn flap(&mut self) -> bool {
        let first = self.rng.usize(..self.endpoints.len());
        let (before, after) = self.endpoints.split_at_mut(first);
        let Some(one) = after.iter_mut().chain(before).find(|one| one.is_settled()) else { return false };
        match one.task.take() {
            Some(task) => task.withdraw(),
            None => {
                let task = self.tasks.announce(&self.plan.services[one.service], one.address);
                one.stand = task.stand();
                one.task = Some(task);
            }
        }
        true
    }

    /// The endpoints that are there now, by service; also those services that have none.
    #[must_use]
    pub fn there(&self) -> BTreeMap<String, Vec<String>> {
        let mut there: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in &self.endpoints {
            let list = there.entry(self.plan.services[one.service].clone()).or_default();
            if one.task.is_some() {
                list.push(one.address.to_string());
            }
        }
        there
    }
}
