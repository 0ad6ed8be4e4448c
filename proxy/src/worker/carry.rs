//! A connection from the moment a worker has it until it has ended.

use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpStream;

use super::Worker;
use crate::descriptors::Downstream as Place;
use crate::http::server::{Ended, serve};
use crate::listen::original::original_destination;
use crate::listen::{Arrival, Downstream};
use crate::telemetry::metrics::DownstreamCounters;
use crate::{inbound, ingress, redirected, tcp};

impl Worker {
    pub(super) fn carry(self: Rc<Self>, stream: StdTcpStream, arrival: Arrival, place: Place) {
        let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection broke before it was taken up");
                return;
            }
        };
        // Both come to one listener.
        let arrival = match arrival {
            Arrival::ForwardProxy => {
                original_destination(&stream).map_or(Arrival::ForwardProxy, Arrival::Redirected)
            }
            arrival => arrival,
        };
        match arrival {
            Arrival::Vip(_) => self.counters.accepts_vip.inc(),
            Arrival::ForwardProxy => self.counters.accepts_forward_proxy.inc(),
            Arrival::Redirected(_) => self.counters.accepts_redirected.inc(),
            Arrival::Inbound(_) => self.counters.accepts_inbound.inc(),
            Arrival::Ingress(_) => self.counters.accepts_ingress.inc(),
        }
        let activity = self.watched.borrow_mut().add();
        let drain = match &arrival {
            Arrival::Inbound(inbound) => inbound.drain.clone(),
            Arrival::Ingress(ingress) => ingress.drain.clone(),
            _ => self.shared.drain.clone(),
        };
        tokio::task::spawn_local(async move {
            let _open = (Open::new(self.counters.clone()), place);
            let counters = self.counters.clone();
            let (arrival, stream) = match arrival {
                Arrival::Inbound(inbound) => {
                    let carried = inbound::carry(&self, &inbound, stream, &activity);
                    let Some((visitor, stream)) = Box::pin(carried).await else { return };
                    let arrival = Arrival::Inbound(inbound);
                    let downstream = Downstream::visited(self, arrival, visitor, activity);
                    return account(&counters, serve(Rc::new(downstream), stream, drain).await);
                }
                Arrival::Ingress(ingress) => {
                    let welcomed = ingress::welcome(&self, &ingress, stream, &activity);
                    let Some((guest, stream)) = Box::pin(welcomed).await else { return };
                    let arrival = Arrival::Ingress(ingress);
                    let downstream = Downstream::entered(self, arrival, guest, activity);
                    return account(&counters, serve(Rc::new(downstream), stream, drain).await);
                }
                Arrival::Redirected(original) => {
                    let carried = redirected::carry(&self, original, stream, &activity, drain.clone());
                    match Box::pin(carried).await {
                        Some(for_mesh) => for_mesh,
                        None => return,
                    }
                }
                arrival => (arrival, stream),
            };
            let downstream = Rc::new(Downstream::new(self, arrival, activity));
            if let Some(cluster) = downstream.tcp_service() {
                return Box::pin(tcp::serve(downstream, cluster, stream, drain)).await;
            }
            account(&counters, serve(downstream, stream, drain).await);
        });
    }
}

/// Counts how a connection has ended.
fn account(counters: &DownstreamCounters, ended: Ended) {
    match ended {
        Ended::Well => {}
        Ended::Protocol(error) => {
            counters.protocol_errors.inc();
            tracing::debug!(%error, "a client did not speak HTTP");
        }
        Ended::Flood(error) => {
            counters.floods.inc();
            tracing::warn!(%error, "a client flooded its connection, which was closed");
        }
        Ended::Broken(error) => {
            counters.broken.inc();
            tracing::debug!(%error, "a client's connection broke");
        }
    }
}

/// Counts a connection while it is open, and notices when its task panics.
struct Open(Arc<DownstreamCounters>);

impl Open {
    fn new(counters: Arc<DownstreamCounters>) -> Self {
        counters.connections.add(1);
        Open(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.add(-1);
        if thread::panicking() {
            self.0.panics.inc();
        }
    }
}
