//! The services whose endpoints come from DNS: what their names stand for now, and how the look-ups go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::Mesh;
use bowline_api::model::{DnsSource, Endpoints};
use bowline_api::vip::VipRange;
use bowline_sources::dns::{Dns, News, Servers, Update};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::snapshot::{Found, Origin};
use crate::telemetry::dns::DnsStatus;

/// All DNS names of the mesh.
#[derive(Debug)]
pub(super) struct Names {
    dns: Dns,
    resolved: BTreeMap<String, Found>,
    statuses: BTreeMap<String, Arc<DnsStatus>>,
}

impl Names {
    /// None yet. `resolver`: asked instead of the system's.
    pub(super) fn new(resolver: Servers, vips: VipRange) -> Self {
        Names { dns: Dns::new(resolver, vips), resolved: BTreeMap::new(), statuses: BTreeMap::new() }
    }

    /// From now on the names of this mesh are looked up.
    pub(super) fn follow(&mut self, mesh: &Mesh) {
        let wanted: BTreeMap<&str, &DnsSource> = mesh
            .services
            .iter()
            .filter_map(|service| match &service.endpoints {
                Endpoints::Dns(source) => Some((service.discovery_name.as_str(), source)),
                _ => None,
            })
            .collect();
        self.dns.want(wanted.iter().map(|(service, source)| (*service, *source)));
        self.resolved.retain(|service, _| wanted.contains_key(service.as_str()));
        self.statuses.retain(|service, _| wanted.contains_key(service.as_str()));
        for (service, source) in wanted {
            let fresh = DnsStatus::new(source);
            let known = self.statuses.get(service).filter(|known| known.question == fresh.question);
            let status = known.map_or_else(|| Arc::new(fresh), Arc::clone);
            let endpoints = self.dns.endpoints(service).unwrap_or_default();
            self.statuses.insert(service.to_owned(), status.clone());
            self.resolved.insert(service.to_owned(), Found { endpoints, origin: Origin::Dns(status) });
        }
    }

    /// What each service's name stands for.
    pub(super) fn resolved(&self) -> &BTreeMap<String, Found> {
        &self.resolved
    }

    /// Waits until each name has been looked up once, so that a mesh that is taken up has its endpoints; but not for
    /// long, where DNS is away.
    pub(super) async fn settle(&mut self, at_most: Duration, clock: Clock) {
        let all_asked = async {
            while !self.dns.all_asked() {
                let update = self.dns.next().await;
                self.note(&update, clock);
            }
        };
        if timeout(at_most, all_asked).await.is_err() {
            tracing::warn!("DNS has not answered yet: the mesh is taken up without some endpoints");
        }
    }

    /// Waits for the next service that has got other endpoints. Safe to cancel.
    pub(super) async fn next_change(&mut self, clock: Clock) -> String {
        loop {
            let update = self.dns.next().await;
            if self.note(&update, clock) {
                return update.service;
            }
        }
    }

    /// Books a look-up; true when it has changed the endpoints.
    fn note(&mut self, update: &Update, clock: Clock) -> bool {
        let Update { service, learned } = update;
        let (Some(name), Some(resolved), Some(status)) =
            (self.dns.name(service), self.resolved.get_mut(service), self.statuses.get(service))
        else {
            return false;
        };
        resolved.endpoints = name.endpoints();
        status.looked_up(learned.result, learned.result == "ok", name.trouble(), clock.now());
        match (&learned.news, name.trouble()) {
            (News::Trouble, Some(why)) => tracing::warn!(
                service,
                name = status.question,
                result = learned.result,
                why,
                endpoints = resolved.endpoints.len(),
                "{}",
                match (resolved.endpoints.is_empty(), learned.result) {
                    (_, "ok") => "a DNS name does not resolve wholly",
                    (true, _) => "a DNS name does not resolve: its service has no endpoints",
                    (false, _) => "a DNS name does not resolve: the last good endpoints stay",
                }
            ),
            (News::Recovered, _) => {
                tracing::info!(service, name = status.question, "a DNS name resolves again");
            }
            _ => {}
        }
        learned.changed
    }
}
