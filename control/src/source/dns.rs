//! Endpoints from DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bowline_api::Mesh;
use bowline_api::model::{DnsSource as Question, Endpoints};
use bowline_api::vip::VipRange;
use bowline_sources::dns::{Dns, Update};
use tokio::sync::{mpsc, watch};

use super::{Change, Source};

const SOURCE: &str = "dns";

/// The services whose endpoints come from DNS. Names are looked up again as their TTLs run out; the last good answer stays
/// while they can't be.
#[derive(Debug)]
pub struct DnsSource {
    dns: Dns,
    /// Services with trouble that was reported.
    troubled: BTreeSet<String>,
}

impl DnsSource {
    /// `resolver`: asked instead of the system's. Addresses in `vips` are never endpoints.
    pub fn new(resolver: Option<SocketAddr>, vips: VipRange) -> Self {
        DnsSource { dns: Dns::new(resolver.into(), vips), troubled: BTreeSet::new() }
    }

    /// From now on the names of this mesh are looked up; gives the troubles that are none any more, since nobody asks.
    fn follow(&mut self, mesh: &Mesh) -> Vec<Change> {
        let wanted: BTreeMap<&str, &Question> = mesh
            .services
            .iter()
            .filter_map(|service| match &service.endpoints {
                Endpoints::Dns(question) => Some((service.discovery_name.as_str(), question)),
                _ => None,
            })
            .collect();
        self.dns.want(wanted.iter().map(|(service, question)| (*service, *question)));
        let gone: Vec<String> =
            self.troubled.iter().filter(|service| !wanted.contains_key(service.as_str())).cloned().collect();
        gone.into_iter().filter_map(|service| self.trouble(&service, None)).collect()
    }

    /// What is to be reported of a look-up.
    fn outcome(&mut self, update: &Update) -> Vec<Change> {
        let service = &update.service;
        let Some(name) = self.dns.name(service) else { return Vec::new() };
        let (trouble, endpoints) = (name.trouble().map(str::to_owned), name.endpoints());
        let known = name.last_good().is_some();
        let mut changes = Vec::new();
        // The first good answer counts, even if it has brought no endpoint that can be used.
        if known && (update.learned.changed || update.learned.result == "ok") {
            let (service, endpoints) = (service.clone(), endpoints.to_vec());
            changes.push(Change::Endpoints { service, endpoints, settled: true });
        }
        changes.extend(self.trouble(service, trouble));
        changes
    }

    fn trouble(&mut self, service: &str, why: Option<String>) -> Option<Change> {
        let before = match why {
            Some(_) => !self.troubled.insert(service.to_owned()),
            None => self.troubled.remove(service),
        };
        (why.is_some() || before).then(|| Change::Trouble {
            service: Some(service.to_owned()),
            source: SOURCE,
            why,
        })
    }
}

impl Source for DnsSource {
    async fn run(mut self, mut mesh: watch::Receiver<Arc<Mesh>>, changes: mpsc::Sender<Change>) {
        let first = mesh.borrow_and_update().clone();
        let mut news = self.follow(&first);
        loop {
            for change in news.drain(..) {
                if changes.send(change).await.is_err() {
                    return;
                }
            }
            news = tokio::select! {
                update = self.dns.next() => self.outcome(&update),
                more = mesh.changed() => match more {
                    Ok(()) => {
                        let now = mesh.borrow_and_update().clone();
                        self.follow(&now)
                    }
                    Err(_) => return,
                },
                () = changes.closed() => return,
            };
        }
    }
}

#[cfg(test)]
mod tests;
