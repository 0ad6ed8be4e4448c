//! How connections of the app arrive: at a VIP listener, which stands for one alias; at the HTTP forward proxy, where
//! each request names its own; or redirected, where the address that the app dialled says where they belong.

pub mod accept;
pub mod detect;
pub mod first;
pub mod inbound;
pub mod ingress;
pub mod original;
pub mod proxy_protocol;
pub mod redirect;
pub mod watch;

use std::cell::{OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use bowline_api::model::AppProtocol;
use http::{Version, request};

use crate::cluster::Cluster;
use crate::error::Reason;
use crate::http::body::Bridged;
use crate::http::headers::{self, Scan};
use crate::limiter::Limiter;
use crate::pool::Upstream;
use crate::snapshot::{Service, SharedEndpoint};
use crate::tunnel::Tunnel;
use crate::worker::{Worker, has_port, normalise};
use inbound::{Inbound, Visitor};
use ingress::{Guest, Ingress};
use watch::Activity;

/// Where a connection was accepted.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// At the VIP listener of this alias, `dnsName:port`.
    Vip(Arc<str>),
    /// At the HTTP forward proxy.
    ForwardProxy,
    /// Redirected on its way to this address. Each request names its own alias, as at the forward proxy, and what is for
    /// none goes on to the address.
    Redirected(SocketAddr),
    /// In front of the app, by somebody who calls it.
    Inbound(Arc<Inbound>),
    /// At an entry into the mesh, by somebody outside of it.
    Ingress(Arc<Ingress>),
}

/// One connection of the app.
pub struct Downstream {
    worker: Rc<Worker>,
    arrival: Arrival,
    /// What the connection is doing, for those who look after idle and slow ones.
    pub activity: Arc<Activity>,
    /// The last answer to "which service?": it is the same one on most connections.
    last: RefCell<Option<LastRoute>>,
    /// What the connection becomes when its response has been sent.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// The response under way on a connection over HTTP/1.1, where it comes from an endpoint over HTTP/2.
    bridged: RefCell<Bridged>,
    /// Where a redirected connection was going, once a request has gone on to there.
    original: OnceCell<Rc<Upstream>>,
    /// Who calls the app, where it is the one that is called.
    visitor: Option<Visitor>,
    /// Who calls from outside of the mesh.
    guest: Option<Guest>,
}

struct LastRoute {
    generation: u64,
    authority: Box<str>,
    cluster: Rc<Cluster>,
}

fn is_tcp(cluster: &Cluster) -> bool {
    cluster.service().protocol == Some(AppProtocol::Tcp)
}

/// Why a request has no service to go to.
#[derive(Debug)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// For a person.
    pub text: String,
    /// The name is none that the mesh could have: whoever asks for it means somebody else.
    pub outside: bool,
}

impl Refusal {
    fn bad_request(text: impl Into<String>) -> Self {
        Refusal { reason: Reason::BadRequest, text: text.into(), outside: false }
    }

    fn unknown(host: &str) -> Self {
        let text = format!("no route of the ingress fits, and {host:?} is no name that it exposes");
        Refusal { reason: Reason::UnknownService, text, outside: false }
    }
}

impl Downstream {
    /// A connection that `worker` has been handed.
    pub fn new(worker: Rc<Worker>, arrival: Arrival, activity: Arc<Activity>) -> Self {
        Downstream {
            worker,
            arrival,
            activity,
            last: RefCell::default(),
            tunnel: RefCell::default(),
            bridged: RefCell::default(),
            original: OnceCell::new(),
            visitor: None,
            guest: None,
        }
    }

    /// A caller's connection to the app.
    pub fn visited(worker: Rc<Worker>, arrival: Arrival, visitor: Visitor, activity: Arc<Activity>) -> Self {
        Downstream { visitor: Some(visitor), ..Self::new(worker, arrival, activity) }
    }

    /// A connection from outside of the mesh.
    pub fn entered(worker: Rc<Worker>, arrival: Arrival, guest: Guest, activity: Arc<Activity>) -> Self {
        Downstream { guest: Some(guest), ..Self::new(worker, arrival, activity) }
    }

    /// Who calls the app, or from outside of the mesh; `None`: the app is the one that calls.
    #[inline]
    pub fn client(&self) -> Option<IpAddr> {
        match &self.visitor {
            Some(visitor) => Some(visitor.client),
            None => self.guest.as_ref().map(|guest| guest.client),
        }
    }

    /// Whether the app is the one that is called.
    #[inline]
    pub fn is_inbound(&self) -> bool {
        self.visitor.is_some()
    }

    /// Whether it has come from outside of the mesh.
    #[inline]
    pub fn is_ingress(&self) -> bool {
        self.guest.is_some()
    }

    /// The service of the mesh that the app is, where callers come in and its name is known.
    #[inline]
    pub fn called(&self) -> Option<Arc<Service>> {
        let name = self.visitor.as_ref()?.service.as_deref()?;
        self.worker.generation();
        Some(self.worker.cluster_by_name(name)?.service())
    }

    /// A response from an endpoint over HTTP/2 is about to be sent over HTTP/1.1.
    pub fn bridges(&self, body: Bridged) {
        *self.bridged.borrow_mut() = body;
    }

    /// Makes room in the endpoint's connection while the app can't be sent anything of such a response.
    #[inline]
    pub fn set_aside(&self, cx: &mut Context<'_>) {
        if let Some(body) = self.bridged.borrow().upgrade() {
            body.borrow_mut().set_aside(cx);
        }
    }

    /// After the response that is about to be sent the connection is a tunnel.
    pub fn set_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(Box::new(tunnel));
    }

    /// Whether it is about to become a tunnel.
    pub fn has_tunnel(&self) -> bool {
        self.tunnel.borrow().is_some()
    }

    /// The tunnel that the connection has become.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.borrow_mut().take()
    }

    /// The app speaks TLS, which is told in the log: the first time, and then ever less often.
    #[cold]
    pub fn tls_came(&self) {
        let seen = &self.worker.counters().tls;
        seen.inc();
        if seen.get().is_power_of_two() {
            let alias = match &self.arrival {
                Arrival::Vip(alias) => alias,
                Arrival::ForwardProxy => "the forward proxy",
                Arrival::Redirected(_) => "a redirected connection",
                Arrival::Inbound(_) => "the inbound listener",
                Arrival::Ingress(_) => "an ingress",
            };
            tracing::warn!(
                alias,
                times = seen.get(),
                "an app speaks TLS where plain HTTP is spoken: let it call http://, or declare appProtocol: tcp"
            );
        }
    }

    /// The worker that carries it.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The service behind the listener if it is a TCP service, or one that is bypassed: then nothing is detected.
    pub fn tcp_service(&self) -> Option<Rc<Cluster>> {
        let Arrival::Vip(alias) = &self.arrival else { return None };
        self.worker.generation();
        self.worker.cluster(alias).ok().filter(|cluster| is_tcp(cluster) || cluster.service().bypassed)
    }

    /// Whether it came in at the forward proxy.
    pub fn is_forward_proxy(&self) -> bool {
        matches!(self.arrival, Arrival::ForwardProxy)
    }

    /// The alias that stands in for `Host` where a request has none.
    pub fn alias(&self) -> &str {
        match &self.arrival {
            Arrival::Vip(alias) => alias,
            Arrival::ForwardProxy | Arrival::Redirected(_) => "",
            Arrival::Inbound(_) => self.visitor.as_ref().map_or("", |visitor| &visitor.authority),
            Arrival::Ingress(_) => self.guest.as_ref().map_or("", |guest| &guest.authority),
        }
    }

    /// The alias that a request for this host was sent to, `dnsName:port` in lower case.
    pub fn dialled(&self, host: &str) -> String {
        match &self.arrival {
            Arrival::Vip(alias) => alias.to_string(),
            // Without a port the name means the one that was dialled.
            Arrival::Redirected(original) if !has_port(host) => {
                normalise(&format!("{}:{}", host.trim_end_matches(':'), original.port()))
            }
            Arrival::ForwardProxy | Arrival::Redirected(_) | Arrival::Inbound(_) | Arrival::Ingress(_) => {
                normalise(host)
            }
        }
    }

    /// Where a request goes that is for nobody in the mesh, on a connection that was redirected on its way to there; as
    /// long as the connection lasts it is the same one. `version` is what the connection speaks.
    pub fn original(&self, version: Version) -> Option<&Rc<Upstream>> {
        let Arrival::Redirected(original) = self.arrival else { return None };
        Some(self.original.get_or_init(|| {
            let upstream = Upstream::new(SharedEndpoint::new(original), 0, &Arc::new(Limiter::default()));
            if version != Version::HTTP_2 {
                // Nobody would see when the other side closes a connection that is kept.
                upstream.retire();
            }
            upstream
        }))
    }

    /// Which service the request is for: the listener's own at a VIP, whatever `Host` says; else by the authority.
    ///
    /// # Errors
    /// The head is not one that can be forwarded, or the mesh has no such name.
    pub fn route(&self, head: &request::Parts, scan: &Scan) -> Result<Rc<Cluster>, Refusal> {
        let bad = |headers::BadHead(why)| Refusal::bad_request(why);
        headers::check_target(head).map_err(bad)?;
        let named = headers::authority(head, scan).map_err(bad)?;
        let authority = match (&self.arrival, named) {
            (Arrival::Vip(alias), _) => alias,
            (Arrival::ForwardProxy, Some(named)) => named,
            (Arrival::Redirected(original), named) => return self.route_redirected(named, *original),
            (Arrival::Inbound(_), _) => {
                let app = self.visitor.as_ref().map(|visitor| visitor.cluster.clone());
                return app.ok_or_else(|| Refusal::bad_request("nobody listens behind this proxy"));
            }
            (Arrival::Ingress(ingress), named) => return self.route_ingress(ingress, named, head),
            (Arrival::ForwardProxy, None) => return Err(bad(headers::BadHead("no Host header"))),
        };
        let generation = self.worker.generation();
        if let Some(last) = &*self.last.borrow()
            && last.generation == generation
            && *last.authority == *authority
        {
            return Ok(last.cluster.clone());
        }
        let cluster = self.worker.cluster(authority)?;
        if is_tcp(&cluster) {
            let text =
                format!("service {} is no HTTP service: use its VIP or CONNECT", cluster.service().name);
            return Err(Refusal::bad_request(text));
        }
        let last = LastRoute { generation, authority: authority.into(), cluster: cluster.clone() };
        *self.last.borrow_mut() = Some(last);
        Ok(cluster)
    }

    /// The service that was to guard the app, where this proxy does not know it.
    pub fn lacks_guard(&self) -> Option<&str> {
        let visitor = self.visitor.as_ref().filter(|visitor| visitor.is_guarded)?;
        visitor.service.as_deref().filter(|_| self.called().is_none())
    }

    /// The service that the ingress is, where a request came in at one.
    pub fn entry(&self) -> Option<Arc<Service>> {
        let Arrival::Ingress(ingress) = &self.arrival else { return None };
        Some(self.worker.cluster_by_name(&ingress.config.service)?.service())
    }

    /// Its service, if a route of that fits, or the exposed one that the request names.
    fn route_ingress(
        &self,
        ingress: &Ingress,
        named: Option<&str>,
        head: &request::Parts,
    ) -> Result<Rc<Cluster>, Refusal> {
        self.worker.generation();
        let name = &ingress.config.service;
        let Some(cluster) = self.worker.cluster_by_name(name) else {
            return Err(self.worker.no_service(name));
        };
        let service = cluster.service();
        let host = named.unwrap_or_else(|| self.alias());
        let is_there = |cluster: &Rc<Cluster>| !is_tcp(cluster);
        if service.entry.is_whole || service.rules.as_ref().is_some_and(|rules| rules.has_route(head, host)) {
            return Some(cluster).filter(is_there).ok_or_else(|| Refusal::unknown(host));
        }
        let exposed = service.entry.exposed(host).and_then(|name| self.worker.cluster_by_name(name));
        exposed.filter(is_there).ok_or_else(|| Refusal::unknown(host))
    }

    fn route_redirected(&self, named: Option<&str>, original: SocketAddr) -> Result<Rc<Cluster>, Refusal> {
        let named = named.unwrap_or_default();
        self.worker.http_cluster_at(named, original).ok_or_else(|| Refusal {
            reason: Reason::UnknownService,
            text: format!("{named:?}, redirected on its way to {original}, is no HTTP service of the mesh"),
            outside: true,
        })
    }
}
