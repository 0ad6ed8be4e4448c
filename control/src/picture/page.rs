//! The pages: the mesh as it is served, with what has been reported of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bowline_api::control_admin::{Client, Clients, ServiceSnapshot, Snapshot};
use bowline_api::model;
use bowline_api::picture::{self as api, Call, Caller, History, Proxy};
use bowline_xds::world::World;

use super::percentile::percentile;
use super::window::Counts;
use super::{Picture, Service, WINDOW, history, window};

/// What the pages are made of besides what was reported.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The services and the troubles of sources.
    pub snapshot: &'a Snapshot,
    /// The mesh that all have.
    pub world: &'a World,
    /// Who is connected.
    pub clients: &'a Clients,
    /// By the same clock as reports.
    pub now: Duration,
    /// The same in seconds since 1970.
    pub unix: f64,
}

/// How an endpoint stands with the proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) ejected_by: u32,
    pub(super) failing_at: u32,
    pub(super) seen_by: u32,
    pub(super) in_flight: u64,
}

impl Picture {
    /// The whole picture.
    pub fn page(&self, look: Look<'_>) -> api::Picture {
        let Look { snapshot, clients, .. } = look;
        api::Picture {
            namespace: snapshot.namespace.clone(),
            revision: snapshot.revision,
            now: look.unix,
            window_seconds: u32::try_from(WINDOW.as_secs()).unwrap_or(u32::MAX),
            services: snapshot.services.iter().map(|service| self.service(service, look)).collect(),
            callers: callers(&clients.clients),
            calls: self.calls(look.now),
            proxies: self.proxies(clients, look.now),
            failures: self.failures.latest_first(),
            troubles: snapshot.troubles.clone(),
        }
    }

    /// The last hour of a service, or of all.
    pub fn history(&self, service: Option<&str>, now: Duration, unix: f64) -> History {
        History {
            service: service.map(str::to_owned),
            step_seconds: u32::try_from(history::STEP.as_secs()).unwrap_or(u32::MAX),
            points: self.history.points(service, unix - now.as_secs_f64()),
        }
    }

    /// How an endpoint stands with the proxies.
    pub(super) fn standing(&self, service: &str, addr: SocketAddr, now: Duration) -> Standing {
        let endpoint = self.services.get(service).and_then(|service| service.endpoints.get(&addr));
        let seen = endpoint.map(|endpoint| endpoint.seen.as_slice()).unwrap_or_default();
        let ejected = seen.iter().filter(|seen| seen.ejected_until > now).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Standing {
            ejected_by: number(ejected),
            failing_at: number(seen.iter().filter(|seen| seen.fails).count()),
            seen_by: number(seen.len()),
            in_flight: seen.iter().map(|seen| u64::from(seen.in_flight)).sum(),
        }
    }

    fn service(&self, snapshot: &ServiceSnapshot, look: Look<'_>) -> api::Service {
        let name = snapshot.service.as_str();
        let known = self.services.get(name);
        let counts = known.map(|service| service.sum(self.window(look.now))).unwrap_or_default();
        let aliases = look.world.services.get(name).map(|state| state.service.client_aliases.as_slice());
        let aliases = aliases.unwrap_or_default().iter();
        let under_way = self.clients.values().filter_map(|client| client.in_flight.get(name));
        let endpoint = |endpoint: &model::Endpoint| self.endpoint(name, known, endpoint, look.now);
        api::Service {
            service: snapshot.service.clone(),
            source: snapshot.source.clone(),
            held: snapshot.held,
            settled: snapshot.settled,
            aliases: aliases.map(|alias| format!("{}:{}", alias.dns_name, alias.port)).collect(),
            requests_per_second: self.a_second(counts.requests(), look.now),
            success_ratio: counts.success_ratio(),
            p50_milliseconds: percentile(&counts.latency, 0.5),
            p95_milliseconds: percentile(&counts.latency, 0.95),
            p99_milliseconds: percentile(&counts.latency, 0.99),
            in_flight: under_way.fold(0, |sum, count| sum.saturating_add(*count)),
            retries_per_second: self.a_second(counts.retries, look.now),
            endpoints: snapshot.endpoints.iter().map(endpoint).collect(),
        }
    }

    fn endpoint(
        &self,
        name: &str,
        service: Option<&Service>,
        endpoint: &model::Endpoint,
        now: Duration,
    ) -> api::Endpoint {
        let mut counts = Counts::default();
        if let Some(known) = service.and_then(|service| service.endpoints.get(&endpoint.address)) {
            known.window.add_to(&mut counts, self.window(now));
        }
        let Standing { ejected_by, failing_at, seen_by, in_flight } =
            self.standing(name, endpoint.address, now);
        let state = match (endpoint.weight, ejected_by) {
            (0, _) => "draining",
            (_, 0) => "active",
            _ => "ejected",
        };
        api::Endpoint {
            address: endpoint.address,
            zone: endpoint.zone.clone(),
            weight: endpoint.weight,
            state: state.to_owned(),
            ejected_by,
            failing_at,
            seen_by,
            requests_per_second: self.a_second(counts.requests(), now),
            failures_per_second: self.a_second(counts.failed, now),
            p50_milliseconds: percentile(&counts.latency, 0.5),
            p99_milliseconds: percentile(&counts.latency, 0.99),
            in_flight,
        }
    }

    /// So many in the window, by the second.
    fn a_second(&self, count: u64, now: Duration) -> f64 {
        match self.window(now).len() {
            0 => 0.0,
            slots => count as f64 / (slots as f64 * window::SLOT.as_secs_f64()),
        }
    }

    fn calls(&self, now: Duration) -> Vec<Call> {
        let mut calls = Vec::new();
        for (to, service) in &self.services {
            for (from, window) in &service.calls {
                let mut counts = Counts::default();
                window.add_to(&mut counts, self.window(now));
                if counts.requests() > 0 {
                    calls.push(Call {
                        from: from.to_string(),
                        to: to.to_string(),
                        requests_per_second: self.a_second(counts.requests(), now),
                        success_ratio: counts.success_ratio(),
                        p50_milliseconds: percentile(&counts.latency, 0.5),
                        p99_milliseconds: percentile(&counts.latency, 0.99),
                    });
                }
            }
        }
        calls.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        calls
    }

    fn proxies(&self, clients: &Clients, now: Duration) -> Vec<Proxy> {
        let mut reported: BTreeMap<&str, Duration> = BTreeMap::new();
        for client in self.clients.values() {
            let Some(at) = client.reported else { continue };
            let last = reported.entry(&client.id).or_default();
            *last = at.max(*last);
        }
        let proxy = |client: &Client| Proxy {
            id: client.id.clone(),
            caller: client.caller.clone(),
            kind: client.kind.clone(),
            version: client.version.clone(),
            zone: client.zone.clone(),
            peer: client.peer,
            connected_seconds: client.connected_seconds,
            acknowledged: client.acknowledged,
            behind: clients.revision.saturating_sub(client.acknowledged),
            acknowledged_after_milliseconds: client.acknowledged_after_milliseconds,
            nacks: client.nacks,
            last_nack: client.last_nack.clone(),
            reported_seconds_ago: reported
                .get(client.id.as_str())
                .map(|at| now.saturating_sub(*at).as_secs_f64()),
        };
        clients.clients.iter().map(proxy).collect()
    }
}

fn callers(clients: &[Client]) -> Vec<Caller> {
    let mut callers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for client in clients {
        callers.entry(&client.caller).or_default().push(client.id.clone());
    }
    let caller = |(caller, proxies): (&str, Vec<String>)| Caller { caller: caller.to_owned(), proxies };
    callers.into_iter().map(caller).collect()
}
