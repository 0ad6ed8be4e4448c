//! Endpoints that tasks register themselves: the gRPC service that their proxies speak to, and the source over it.

mod announce;
mod service;

use std::collections::BTreeSet;
use std::sync::Arc;

use bowline_api::Mesh;
use bowline_api::model::Endpoints;
use bowline_api::vip::VipRange;
use tokio::sync::{mpsc, watch};

pub use self::service::RegistrationServer;
use super::{Change, Source};
use crate::store::{News, Store};
use crate::tokens::Tokens;

const SOURCE: &str = "registered";

/// The services whose endpoints register themselves.
#[derive(Debug)]
pub struct RegistrationSource {
    store: Arc<Store>,
}

impl RegistrationSource {
    /// The source, and the gRPC service that goes beside the others on the control plane's port. Whoever serves it must
    /// let it know where a request comes from, as tonic's own server does. What may be registered is what `mesh` says at
    /// that moment; addresses in `vips` never. At most one source for a store.
    pub fn new(
        store: Arc<Store>,
        tokens: Tokens,
        mesh: watch::Receiver<Arc<Mesh>>,
        vips: VipRange,
    ) -> (Self, RegistrationServer) {
        let server = RegistrationServer::new(store.clone(), tokens, mesh, vips);
        (RegistrationSource { store }, server)
    }

    fn endpoints(&self, service: &str) -> Change {
        let (endpoints, settled) = self.store.shared().endpoints(service);
        Change::Endpoints { service: service.to_owned(), endpoints, settled }
    }
}

/// The services of a mesh that are registered.
fn registered(mesh: &Mesh) -> BTreeSet<String> {
    let is = |service: &&bowline_api::Service| matches!(service.endpoints, Endpoints::Registered(_));
    mesh.services.iter().filter(is).map(|service| service.discovery_name.clone()).collect()
}

impl Source for RegistrationSource {
    async fn run(self, mut mesh: watch::Receiver<Arc<Mesh>>, changes: mpsc::Sender<Change>) {
        let mut wanted = registered(&mesh.borrow_and_update());
        let mut changed = wanted.clone();
        loop {
            for service in std::mem::take(&mut changed) {
                if changes.send(self.endpoints(&service)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                News { services, all, trouble } = self.store.shared().news() => {
                    if let Some(why) = trouble
                        && changes.send(Change::Trouble { service: None, source: SOURCE, why }).await.is_err()
                    {
                        return;
                    }
                    changed = match all {
                        true => wanted.clone(),
                        false => services.into_iter().filter(|service| wanted.contains(service)).collect(),
                    };
                }
                more = mesh.changed() => {
                    if more.is_err() {
                        return;
                    }
                    // All of them: one that was another source's for a while has been forgotten by whoever listens.
                    wanted = registered(&mesh.borrow_and_update());
                    changed = wanted.clone();
                }
                () = changes.closed() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
