//! The live picture: what proxies report of their requests, added up for whoever looks. Pure: time and the mesh are
//! passed in; [`board`] has the clock and the lock.
//!
//! Counts are kept for each pair of caller and service and for each endpoint, not for each proxy, so that a thousand proxies of
//! one service cost little more than one. Only what stands at a level (requests under way, ejections) is kept by proxy:
//! it goes with the proxy.

pub mod board;
mod explain;
mod failures;
mod history;
mod page;
mod percentile;
mod policy;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline_xds::load_report::{EndpointLoad, Report, ServiceLoad};
use bowline_xds::world::World;

use self::failures::Failures;
use self::history::History;
use self::window::{Counts, Slots, Window};

/// What rates, ratios and percentiles are taken over.
pub const WINDOW: Duration = Duration::from_secs(10);
/// How often proxies report while somebody looks, and otherwise.
pub const LIVE: Duration = Duration::from_secs(1);
/// See [`LIVE`].
pub const QUIET: Duration = Duration::from_secs(10);
/// How late a report may be: its way, and whoever is busy.
const LATE: Duration = Duration::from_secs(1);
/// How long it takes until all proxies report live.
const WARM_UP: Duration = Duration::from_millis(1500);

/// A client that reports: a number that no other has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientKey(u32);

/// All that is known of the mesh at work. Times are from one origin, whichever.
#[derive(Debug, Default)]
pub struct Picture {
    clients: BTreeMap<ClientKey, Client>,
    next_client: u32,
    /// The names of all callers, each kept once.
    callers: BTreeSet<Arc<str>>,
    services: BTreeMap<Arc<str>, Service>,
    history: History,
    failures: Failures,
    /// The first slot of which anything was reported: before it nothing is known, which is not the same as none.
    first: Option<u32>,
    /// Since when proxies report every second.
    live_since: Option<Duration>,
}

#[derive(Debug)]
struct Client {
    id: String,
    caller: Arc<str>,
    reported: Option<Duration>,
    /// Requests under way, by service.
    in_flight: BTreeMap<Arc<str>, u64>,
}

/// One service.
#[derive(Debug, Default)]
struct Service {
    /// By caller.
    calls: BTreeMap<Arc<str>, Window>,
    endpoints: BTreeMap<SocketAddr, Endpoint>,
}

#[derive(Debug, Default)]
struct Endpoint {
    window: Window,
    /// How it stands with each client that has called it, in the order of clients.
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    client: ClientKey,
    in_flight: u32,
    /// Its last attempt failed.
    fails: bool,
    ejected_until: Duration,
}

impl Picture {
    /// A client begins to report.
    pub fn join(&mut self, id: &str, caller: &str) -> ClientKey {
        let key = ClientKey(self.next_client);
        self.next_client = self.next_client.wrapping_add(1);
        let caller: Arc<str> = match self.callers.get(caller) {
            Some(known) => known.clone(),
            None => caller.into(),
        };
        self.callers.insert(caller.clone());
        let client = Client { id: id.to_owned(), caller, reported: None, in_flight: BTreeMap::new() };
        self.clients.insert(key, client);
        key
    }

    /// It has gone: what it counted stays, how things stood with it doesn't.
    pub fn leave(&mut self, key: ClientKey) {
        let Some(client) = self.clients.remove(&key) else { return };
        for service in client.in_flight.keys() {
            let Some(service) = self.services.get_mut(service) else { continue };
            for endpoint in service.endpoints.values_mut() {
                if let Ok(at) = endpoint.seen.binary_search_by_key(&key, |seen| seen.client) {
                    endpoint.seen.remove(at);
                }
            }
        }
    }

    /// From now on proxies report live, or no more.
    pub fn set_live(&mut self, live: bool, now: Duration) {
        self.live_since = live.then(|| self.live_since.unwrap_or(now));
    }

    /// Takes a report. `unix` is `now` in seconds since 1970. What is in none of the worlds is passed by.
    pub fn take(&mut self, key: ClientKey, report: &Report, now: Duration, unix: f64, worlds: &[Arc<World>]) {
        self.advance(now, worlds);
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.reported = Some(now);
        let period = report.period.min(WINDOW);
        let slots = Slots::new(now, period);
        self.first.get_or_insert(window::slot(now.saturating_sub(period)));
        for load in &report.services {
            let states: Vec<_> =
                worlds.iter().filter_map(|world| world.services.get(&load.service)).collect();
            if states.is_empty() {
                continue;
            }
            let name = match self.services.get_key_value(load.service.as_str()) {
                Some((name, _)) => name.clone(),
                None => load.service.as_str().into(),
            };
            client.in_flight.insert(name.clone(), load.in_flight);
            let service = self.services.entry(name).or_default();
            let counts = counts(load);
            if !counts.is_nothing() {
                service.calls.entry(client.caller.clone()).or_default().add(&slots, &counts);
            }
            let is_known = |addr: SocketAddr| {
                let mut lists = states.iter().map(|state| &state.endpoints);
                lists.any(|list| list.binary_search_by_key(&addr, |endpoint| endpoint.address).is_ok())
            };
            for load in load.endpoints.iter().filter(|load| is_known(load.address)) {
                service.endpoints.entry(load.address).or_default().take(key, load, &slots, now);
            }
        }
        let (id, caller) = (&client.id, &client.caller);
        for failure in &report.failures {
            self.failures.add(id, caller, failure, unix);
        }
    }

    /// Makes the steps of the history that are complete, and forgets what nobody can ask for any more.
    pub fn advance(&mut self, now: Duration, worlds: &[Arc<World>]) {
        let ready = self.history.ready(now.saturating_sub(self.lag(now)));
        if ready.is_empty() {
            return;
        }
        for step in ready {
            let of = |service: &Service| service.sum(history::slots(step));
            let counted = self.services.iter().map(|(name, service)| (name, of(service)));
            self.history.add(step, counted.filter(|(_, counts)| !counts.is_nothing()));
        }
        let is_known = |name: &str| worlds.iter().any(|world| world.services.contains_key(name));
        self.history.retain(is_known);
        let oldest = window::slot(now.saturating_sub(WINDOW + QUIET + 4 * LATE));
        self.services.retain(|name, service| {
            service.calls.retain(|_, window| window.forget(oldest));
            let listed = |addr: &SocketAddr| {
                let mut states = worlds.iter().filter_map(|world| world.services.get(&**name));
                states.any(|state| state.endpoints.iter().any(|endpoint| endpoint.address == *addr))
            };
            service.endpoints.retain(|addr, endpoint| {
                let counted = endpoint.window.forget(oldest);
                listed(addr) && (counted || !endpoint.seen.is_empty())
            });
            is_known(name) && !(service.calls.is_empty() && service.endpoints.is_empty())
        });
        for client in self.clients.values_mut() {
            client.in_flight.retain(|name, _| is_known(name));
        }
        self.callers.retain(|caller| Arc::strong_count(caller) > 1);
    }

    /// How far behind the end of the window is: what is newer has not been reported by all.
    fn lag(&self, now: Duration) -> Duration {
        let live = self.live_since.is_some_and(|since| now.saturating_sub(since) >= WARM_UP);
        LATE + if live { Duration::ZERO } else { QUIET }
    }

    /// The slots that are looked at now.
    fn window(&self, now: Duration) -> std::ops::Range<u32> {
        let end = window::slot(now.saturating_sub(self.lag(now)));
        let first = self.first.unwrap_or(end).min(end);
        end.saturating_sub(window::SLOTS).max(first)..end
    }
}

impl Service {
    fn sum(&self, slots: std::ops::Range<u32>) -> Counts {
        let mut sum = Counts::default();
        self.calls.values().for_each(|window| window.add_to(&mut sum, slots.clone()));
        sum
    }
}

impl Endpoint {
    fn take(&mut self, client: ClientKey, load: &EndpointLoad, slots: &Slots, now: Duration) {
        let counts = Counts {
            good: load.good,
            failed: load.failed,
            latency: load.latency.buckets,
            ..Counts::default()
        };
        if !counts.is_nothing() {
            self.window.add(slots, &counts);
        }
        let seen = Seen {
            client,
            in_flight: u32::try_from(load.in_flight).unwrap_or(u32::MAX),
            fails: load.failures_in_a_row > 0,
            ejected_until: load.ejected.map_or(Duration::ZERO, |left| now.saturating_add(left)),
        };
        match self.seen.binary_search_by_key(&client, |seen| seen.client) {
            Ok(at) => self.seen[at] = seen,
            Err(at) => self.seen.insert(at, seen),
        }
    }
}

fn counts(load: &ServiceLoad) -> Counts {
    Counts {
        good: load.good(),
        failed: load.failed(),
        cancelled: load.cancelled(),
        retries: load.retries,
        latency: load.latency.buckets,
    }
}

#[cfg(test)]
mod tests;
