//! When endpoints are asked, and what is done about the answers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use bowline_core::Tick;
use bowline_core::health::{Attempt, Check, Health};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::ask::{Bad, Question};
use crate::clock::Clock;
use crate::snapshot::{LastCheck, Published, Service, SharedEndpoint, Snapshot};

/// Checks at a time, of all services together. What is due beyond that waits its turn: thousands of endpoints must not use
/// up descriptors or the thread.
const AT_A_TIME: usize = 64;

/// Checks the endpoints of all services that ask for it, for ever. `changes` tells of new snapshots.
pub async fn keep(published: Arc<Published>, mut changes: watch::Receiver<()>, seed: u64) {
    let mut keeper = Keeper::new(seed);
    keeper.take_up(&published.current());
    loop {
        keeper.begin();
        let wake = keeper.wake_at();
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                keeper.take_up(&published.current());
            }
            Some(ended) = keeper.running.join_next() => {
                // A check that was called off has nothing to say.
                if let Ok(ended) = ended {
                    keeper.ended(ended);
                }
            }
            () = sleep_until(keeper.clock.instant(wake.unwrap_or_default())), if wake.is_some() => {}
        }
    }
}

/// Who is checked: a number that no other check has, and never will.
type Id = u64;

struct Keeper {
    clock: Clock,
    rng: fastrand::Rng,
    checks: HashMap<Id, Checked>,
    ids: HashMap<(String, SocketAddr), Id>,
    next_id: Id,
    /// When each is due; of those that are gone something may be left.
    due: BinaryHeap<Reverse<(Tick, Id)>>,
    running: JoinSet<Ended>,
}

/// One endpoint of one service.
struct Checked {
    check: Check,
    question: Arc<Question>,
    service: Arc<Service>,
    endpoint: Arc<SharedEndpoint>,
    /// Calls it off.
    running: Option<tokio::task::AbortHandle>,
    /// The snapshot in which it was last seen.
    generation: u64,
}

/// A check that has ended.
struct Ended {
    id: Id,
    attempt: Attempt,
    answer: Result<(), Bad>,
}

impl Keeper {
    fn new(seed: u64) -> Self {
        Keeper {
            clock: Clock::new(),
            rng: fastrand::Rng::with_seed(seed),
            checks: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            due: BinaryHeap::new(),
            running: JoinSet::new(),
        }
    }

    /// Begins with what is new, and ends what is gone.
    fn take_up(&mut self, snapshot: &Snapshot) {
        let now = self.clock.now();
        // In the same order: the snapshot was made from the mesh.
        for (model, service) in snapshot.mesh.services.iter().zip(&snapshot.services) {
            let wanted = model.health_check.as_ref().filter(|_| service.policy.spread.checked);
            let Some(question) = wanted.and_then(|check| Question::new(check, service.protocol)) else {
                continue;
            };
            let question = Arc::new(question);
            for endpoint in service.all_endpoints() {
                self.follow(service, &endpoint.shared, &question, snapshot.generation, now);
            }
        }
        let gone = |checked: &Checked| checked.generation != snapshot.generation;
        let gone: Vec<Id> = self.checks.iter().filter(|(_, c)| gone(c)).map(|(id, _)| *id).collect();
        for id in gone {
            self.forget(id, snapshot);
        }
    }

    fn follow(
        &mut self,
        service: &Arc<Service>,
        endpoint: &Arc<SharedEndpoint>,
        question: &Arc<Question>,
        generation: u64,
        now: Tick,
    ) {
        let known = self.ids.get(&(service.name.clone(), endpoint.addr)).copied();
        if let Some(id) = known
            && let Some(checked) = self.checks.get_mut(&id)
            && Arc::ptr_eq(&checked.endpoint, endpoint)
        {
            checked.generation = generation;
            checked.service = service.clone();
            if *checked.question != **question {
                checked.check.set_config(question.config, now);
                checked.question = question.clone();
                self.due.push(Reverse((checked.check.wake_at(), id)));
            }
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        // One that had gone and is back is another one.
        self.ids.insert((service.name.clone(), endpoint.addr), id);
        let check = Check::new(question.config, now);
        self.due.push(Reverse((check.wake_at(), id)));
        let (question, service, endpoint) = (question.clone(), service.clone(), endpoint.clone());
        self.checks.insert(id, Checked { check, question, service, endpoint, running: None, generation });
    }

    fn forget(&mut self, id: Id, snapshot: &Snapshot) {
        let Some(checked) = self.checks.remove(&id) else { return };
        if let Some(running) = &checked.running {
            running.abort();
        }
        let key = (checked.service.name.clone(), checked.endpoint.addr);
        if self.ids.get(&key) == Some(&id) {
            self.ids.remove(&key);
        }
        // Where the endpoint stays and is not asked any more, nothing is known of it from now on.
        checked.endpoint.checked.become_now(Health::Unknown, self.clock.now());
        checked.endpoint.checked.note(LastCheck::default());
        if let Some(service) = snapshot.services.iter().find(|service| service.name == key.0) {
            service.outlier.touch();
        }
    }

    /// Begins what is due, as far as there is room.
    fn begin(&mut self) {
        let now = self.clock.now();
        while self.running.len() < AT_A_TIME {
            let Some(Reverse((at, id))) = self.due.peek().copied() else { return };
            if at > now {
                return;
            }
            self.due.pop();
            let Some(checked) = self.checks.get_mut(&id) else { continue };
            // It runs, or its time has been changed: then there is another entry.
            let Some(attempt) = checked.check.begin(now, &mut self.rng) else { continue };
            let (question, addr) = (checked.question.clone(), checked.endpoint.addr);
            let deadline = self.clock.instant(attempt.deadline);
            let task = self.running.spawn(async move {
                let answer = question.ask(addr, deadline).await;
                Ended { id, attempt, answer }
            });
            checked.running = Some(task);
        }
    }

    /// When there is something to begin; `None`: only when something has ended.
    fn wake_at(&self) -> Option<Tick> {
        if self.running.len() >= AT_A_TIME {
            return None;
        }
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { id, attempt, answer } = ended;
        let Some(checked) = self.checks.get_mut(&id) else { return };
        let Checked { check, service, endpoint, .. } = checked;
        let now = self.clock.now();
        checked.running = None;
        let result = answer.as_ref().err().map_or("ok", Bad::as_str);
        service.shared.health_checks.inc(result);
        let change = match &answer {
            Err(Bad::Late(_)) => check.overdue(now.max(attempt.deadline)),
            _ => check.finish(attempt, answer.is_ok()),
        };
        let why = answer.err().map(|bad| bad.to_string()).unwrap_or_default();
        endpoint.checked.note(LastCheck { at: Some(now), why: why.clone(), counts: check.counts() });
        self.due.push(Reverse((check.wake_at(), id)));
        let Some(health) = change else { return };
        let first = endpoint.checked.health() == Health::Unknown;
        endpoint.checked.become_now(health, now);
        service.outlier.touch();
        let (service, endpoint) = (&service.name, endpoint.addr);
        match health {
            Health::Unhealthy => tracing::warn!(service, %endpoint, why, "endpoint unhealthy"),
            // All are well when a proxy starts, as a rule.
            _ if first => tracing::debug!(service, %endpoint, "endpoint healthy"),
            _ => tracing::info!(service, %endpoint, "endpoint healthy again"),
        }
    }
}
