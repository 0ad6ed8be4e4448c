//! The listeners that come and go, and those that may be missing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config;
use crate::drain::Signal;
use crate::listen::Arrival;
use crate::listen::accept::{VipListeners, Workers, accept, bind};
use crate::listen::inbound::{Apps, Inbound};
use crate::listen::ingress::Ingress;
use crate::snapshot::Published;

/// How often VIP listeners that could not be bound are tried again.
const REBIND_EVERY: Duration = Duration::from_secs(5);

/// The same port on `[::1]`, where a listener is on 127.0.0.1: IPv6 connections of this host are redirected to there.
/// `None`: it is elsewhere, this host has no IPv6, or the port is taken there, which is said.
pub(super) fn beside(outbound: SocketAddr) -> Option<TcpListener> {
    if outbound.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return None;
    }
    match bind((Ipv6Addr::LOCALHOST, outbound.port()).into()) {
        Ok(listener) => Some(listener),
        Err(error) if is_without_ipv6(&error) => None,
        Err(error) => {
            tracing::warn!(%error, "IPv6 connections can't be redirected to this proxy");
            None
        }
    }
}

/// The kernel has no IPv6, or it is switched off.
fn is_without_ipv6(error: &io::Error) -> bool {
    let unsupported = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    unsupported || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Keeps the VIP listeners in step with the mesh.
pub(super) async fn keep_vips(
    mut vips: VipListeners,
    published: Arc<Published>,
    mut changes: watch::Receiver<()>,
) {
    loop {
        changes.mark_unchanged();
        let missing = vips.update(&published.current());
        if missing == 0 {
            if changes.changed().await.is_err() {
                return;
            }
        } else {
            // Whoever has the port may let go of it.
            let _ = tokio::time::timeout(REBIND_EVERY, changes.changed()).await;
        }
    }
}

/// Binds the listeners in front of the app.
pub(super) fn bind_inbound(configs: &[config::Inbound]) -> io::Result<Vec<(TcpListener, config::Inbound)>> {
    configs.iter().map(|config| Ok((bind(config.listen)?, config.clone()))).collect()
}

/// Accepts the app's callers, until the returned tasks are aborted.
pub(super) fn accept_inbound(
    listeners: Vec<(TcpListener, config::Inbound)>,
    apps: &Arc<Apps>,
    drain: &Signal,
    workers: &Workers,
) -> Vec<JoinHandle<()>> {
    let start = |(listener, config)| {
        let inbound = Arc::new(Inbound { config, apps: apps.clone(), drain: drain.clone() });
        tokio::spawn(accept(listener, Arrival::Inbound(inbound), workers.clone()))
    };
    listeners.into_iter().map(start).collect()
}

/// Binds the entries into the mesh.
pub(super) fn bind_ingress(
    configs: &[config::Ingress],
    drain: &Signal,
) -> io::Result<Vec<(TcpListener, Arc<Ingress>)>> {
    let bind_one = |config: &config::Ingress| {
        let listener = bind(config.listen)?;
        let listen = listener.local_addr()?;
        Ok((listener, Arc::new(Ingress { config: config.clone(), listen, drain: drain.clone() })))
    };
    configs.iter().map(bind_one).collect()
}

/// Accepts callers from outside, until the returned tasks are aborted.
pub(super) fn accept_ingress(
    listeners: Vec<(TcpListener, Arc<Ingress>)>,
    workers: &Workers,
) -> Vec<JoinHandle<()>> {
    let start =
        |(listener, ingress)| tokio::spawn(accept(listener, Arrival::Ingress(ingress), workers.clone()));
    listeners.into_iter().map(start).collect()
}

/// Says in the log which of them lead nowhere, and when that changes.
pub(super) async fn tell_of_ingress(
    entries: Vec<Arc<Ingress>>,
    published: Arc<Published>,
    mut changes: watch::Receiver<()>,
) {
    let mut told = vec![None; entries.len()];
    loop {
        changes.mark_unchanged();
        let snapshot = published.current();
        for (entry, told) in entries.iter().zip(&mut told) {
            let trouble = entry.trouble(&snapshot);
            match (&trouble, &told) {
                (Some(why), _) if trouble != *told => tracing::warn!("{why}"),
                (None, Some(_)) => {
                    tracing::info!(service = entry.config.service, "an ingress has its service now");
                }
                _ => {}
            }
            *told = trouble;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
