//! The listeners in front of the app, and the app behind them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use bowline_api::model::AppProtocol;
use bowline_core::Tick;

use crate::cluster::Cluster;
use crate::config::Inbound as Config;
use crate::drain::Signal;
use crate::snapshot::{Published, Service};

/// Ports of the app that callers can be redirected from, at most: each keeps counters for good.
const MOST_APPS: usize = 64;

/// The app, once for each port that callers have come for.
#[derive(Debug)]
pub struct Apps {
    services: Mutex<BTreeMap<SocketAddr, Arc<Service>>>,
    /// Which service of the mesh a port is registered for: what it speaks is declared there.
    registered: BTreeMap<u16, String>,
    published: Arc<Published>,
}

impl Apps {
    /// None yet. `registered`: ports of the app by what `--register` says.
    pub fn new(registered: BTreeMap<u16, String>, published: Arc<Published>) -> Self {
        Apps { services: Mutex::default(), registered, published }
    }

    /// Those that have had callers, and those whose address is known from the start.
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The app at this address. `None`: callers have come for too many.
    pub fn at(&self, addr: SocketAddr, declared: Option<AppProtocol>, now: Tick) -> Option<Arc<Service>> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.get(&addr) {
            return Some(service.clone());
        }
        if services.len() >= MOST_APPS {
            return None;
        }
        let service = Arc::new(Service::of_app(addr, declared, now));
        services.insert(addr, service.clone());
        Some(service)
    }

    /// Where callers have come for the app.
    pub fn ports(&self) -> Vec<u16> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.keys().map(SocketAddr::port).chain(self.registered.keys().copied()).collect()
    }

    /// The service that the app is on this port.
    pub fn service(&self, port: u16) -> Option<&str> {
        self.registered.get(&port).map(String::as_str)
    }

    /// What the app is declared to speak on this port.
    pub fn declared(&self, port: u16) -> Option<AppProtocol> {
        let name = self.registered.get(&port)?;
        let snapshot = self.published.current();
        snapshot.services.iter().find(|service| service.name == *name)?.protocol
    }
}

/// One listener.
#[derive(Debug)]
pub struct Inbound {
    /// What `--inbound` says of it.
    pub config: Config,
    /// Behind it.
    pub apps: Arc<Apps>,
    /// When its callers are to go.
    pub drain: Signal,
}

/// A caller, when it is known for whom it comes.
pub struct Visitor {
    /// The app.
    pub cluster: Rc<Cluster>,
    /// Who calls.
    pub client: IpAddr,
    /// The service of the mesh that the app is, where that is known.
    pub service: Option<Box<str>>,
    /// `--inbound` names it: without it nobody is let in, as nobody could say who may be.
    pub is_guarded: bool,
    /// What stands in for `Host` where a request has none.
    pub authority: Box<str>,
}
