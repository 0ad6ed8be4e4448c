//! The one acceptor: it takes connections from all listeners and hands them to the workers in turn. Letting each worker
//! accept by itself (`SO_REUSEPORT`) would leave the few long-lived connections of an app wherever they happen to land.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::Arrival;
use crate::descriptors::{self, Descriptor, Downstream, Full, Spare};
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::ProxyCounters;
use crate::worker::Handle;

/// Connections that may wait to be accepted. The kernel cuts it down to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Binds a listener.
///
/// # Errors
/// Those of the system, in words that say what to do.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr).and_then(|()| socket.listen(BACKLOG)).map_err(|error| explain(addr, &error))
}

fn explain(addr: SocketAddr, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} is taken on this address, or by a program that listens on 0.0.0.0:{0}, which shuts out every \
             address of the port: give the alias another port, or move that program",
            addr.port()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "ports below {} need the sysctl net.ipv4.ip_unprivileged_port_start=0 (ECS: systemControls) or the \
             capability NET_BIND_SERVICE",
            1024
        ),
        io::ErrorKind::AddrNotAvailable => "no interface of this host has the address".to_owned(),
        _ => return io::Error::new(error.kind(), format!("{addr} can't be bound: {error}")),
    };
    io::Error::new(error.kind(), format!("{addr} can't be bound: {error}; {advice}"))
}

/// The workers, taken in turn.
#[derive(Clone, Debug)]
pub struct Workers {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
    spare: Arc<Mutex<Spare>>,
    counters: Arc<ProxyCounters>,
}

impl Workers {
    /// All of them.
    pub fn new(handles: Vec<Handle>, counters: Arc<ProxyCounters>) -> Self {
        Workers { handles: handles.into(), next: Arc::default(), spare: Arc::default(), counters }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Handle> {
        self.handles.iter()
    }

    fn hand_over(&self, stream: TcpStream, arrival: Arrival) {
        let place = match Downstream::try_count() {
            Ok(place) => place,
            Err(full) => {
                refuse(&stream);
                return self.refused(full);
            }
        };
        let at = self.next.fetch_add(1, Relaxed) % self.handles.len();
        // The socket leaves this thread's event loop for the worker's.
        match stream.into_std() {
            Ok(stream) => self.handles[at].connection(stream, arrival, place),
            Err(error) => tracing::warn!(%error, "a connection was lost on its way to a worker"),
        }
    }

    /// Counts a connection that was refused, and says so in the log, once in a while.
    fn refused(&self, full: Full) {
        let count = self.counters.connections_refused.inc(full.as_str());
        if count.is_power_of_two() {
            tracing::warn!(count, "connections of apps are refused: {}", full.advice());
        }
    }

    /// No file descriptor is left: whoever is next in the listener's queue is told at once. False: there is still none.
    async fn shed_one(&self, listener: &TcpListener) -> bool {
        let shed = std::future::poll_fn(|cx| {
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            Poll::Ready(spare.lend(|| match listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, _))) => {
                    refuse(&stream);
                    true
                }
                // Whoever waited has gone.
                Poll::Pending => true,
                Poll::Ready(Err(_)) => false,
            }))
        });
        let shed = shed.await;
        if shed {
            self.refused(Full::Descriptors);
        }
        shed
    }
}

/// Resets a connection when it is closed, the nearest thing to a refused one: an app that dials sees at once that it
/// can't, and nothing of it is left in TIME_WAIT.
fn refuse(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Accepts for ever.
pub async fn accept(listener: TcpListener, arrival: Arrival, workers: Workers) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => workers.hand_over(stream, arrival.clone()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if descriptors::is_exhaustion(&error) && workers.shed_one(&listener).await => {
                // Others have work to do on this thread.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "connections can't be accepted; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The VIP listeners, kept in step with the mesh.
#[derive(Debug)]
pub struct VipListeners {
    workers: Workers,
    open: HashMap<SocketAddr, (Arc<str>, JoinHandle<()>, Descriptor)>,
    /// Those that could not be bound, so that it is said once and not every time.
    failed: HashMap<SocketAddr, String>,
}

impl VipListeners {
    /// None yet.
    pub fn new(workers: Workers) -> Self {
        VipListeners { workers, open: HashMap::new(), failed: HashMap::new() }
    }

    /// Binds what the mesh has gained, closes what it has lost; connections that are open stay. What can't be bound is
    /// logged and tried again at the next call. Returns how many are missing.
    pub fn update(&mut self, snapshot: &Snapshot) -> usize {
        let wanted: HashMap<SocketAddr, Arc<str>> = snapshot
            .vip_listeners()
            .map(|(addr, name)| (addr, format!("{name}:{}", addr.port()).into()))
            .collect();
        self.open.retain(|addr, (alias, task, _)| {
            let stays = wanted.get(addr) == Some(alias);
            if !stays {
                task.abort();
            }
            stays
        });
        self.failed.retain(|addr, _| wanted.contains_key(addr));
        for (addr, alias) in wanted {
            if self.open.contains_key(&addr) {
                continue;
            }
            match bind(addr) {
                Ok(listener) => {
                    let arrival = Arrival::Vip(alias.clone());
                    let task = tokio::spawn(accept(listener, arrival, self.workers.clone()));
                    self.failed.remove(&addr);
                    self.open.insert(addr, (alias, task, Descriptor::count()));
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.failed.get(&addr) != Some(&error) {
                        tracing::warn!(%alias, %error, "no VIP listener for an alias: apps reach it through the forward proxy only");
                        self.failed.insert(addr, error);
                    }
                }
            }
        }
        self.failed.len()
    }
}
