//! Callers of the app: connections that are accepted in front of its port, and passed on to it.
//!
//! The app is a service of one endpoint that stands in no mesh: what is known of requests to services (metrics, body
//! handling, half-closes, keep-alive races) holds here too. What its callers decide for themselves (timeouts, and
//! retries of what the app has answered) is left to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::model::AppProtocol;
use bytes::Bytes;
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::drain::Phase;
use crate::error::Fault;
use crate::listen::first::{First, look};
use crate::listen::inbound::{Inbound, Visitor};
use crate::listen::original::original_destination;
use crate::listen::proxy_protocol;
use crate::listen::watch::Activity;
use crate::telemetry::metrics::RedirectRefused;
use crate::tunnel::Tunnel;
use crate::worker::Worker;
use crate::{net, tcp};

/// How long a caller has to say something before the app is asked whether it is the one to begin. A caller whose server
/// speaks first waits this much longer, where `protocol=tcp` is not said.
const FIRST_BYTES_WITHIN: Duration = Duration::from_millis(300);
/// Carries a connection whose bytes are passed through to its end, or gives it back as one that carries requests.
pub async fn carry(
    worker: &Rc<Worker>,
    inbound: &Inbound,
    mut stream: TcpStream,
    activity: &Arc<Activity>,
) -> Option<(Visitor, TcpStream)> {
    let mut drain = inbound.drain.clone();
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return None };
    let dialled = original_destination(&stream).unwrap_or(local);
    let Some(app) = app_of(inbound, dialled, local) else {
        refuse(worker, &stream, peer, dialled);
        return None;
    };
    let mut client = peer;
    if inbound.config.accept_proxy {
        client = proxy_protocol::client(&mut stream, peer, worker.counters(), activity, &mut drain).await?;
    }
    let declared = inbound.config.protocol.or_else(|| inbound.apps.declared(app.port()));
    let cluster =
        worker.app(&inbound.apps, app, declared.filter(|protocol| *protocol != AppProtocol::Tcp))?;
    let looked = match declared {
        Some(AppProtocol::Tcp) => Looked::Bytes(None),
        Some(AppProtocol::Http | AppProtocol::Http2 | AppProtocol::Grpc) => Looked::Requests,
        None => tokio::select! {
            first = look(&stream) => match first {
                Ok(First::Http1(_) | First::Http2) => Looked::Requests,
                Ok(First::Other) => Looked::Bytes(None),
                Err(_) => return None,
            },
            opened = unless_caller_speaks(worker, &cluster) => Looked::Bytes(Some(Box::new(opened))),
            () = activity.close_wanted() => return None,
            () = drain.reached(Phase::Closing) => return None,
        },
    };
    let opened = match looked {
        Looked::Requests => {
            let authority = app.to_string().into();
            let named = inbound.config.service.as_deref().or_else(|| inbound.apps.service(app.port()));
            return Some((
                Visitor {
                    cluster,
                    client: client.ip().to_canonical(),
                    is_guarded: inbound.config.service.is_some(),
                    service: named.map(Into::into),
                    authority,
                },
                stream,
            ));
        }
        Looked::Bytes(Some(opened)) => *opened,
        Looked::Bytes(None) => tcp::open(worker, &cluster).await,
    };
    match opened {
        Ok(tunnel) => {
            let header = match inbound.config.send_proxy {
                true => proxy_protocol::header(client, dialled).into(),
                false => Bytes::new(),
            };
            tunnel.run(stream, header, activity, drain).await;
        }
        Err(fault) => {
            tracing::debug!(%app, %client, %fault, "a caller can't be passed on to the app");
            net::reset_on_close(&stream);
        }
    }
    None
}

/// What a connection carries.
enum Looked {
    Requests,
    /// Bytes; the app's side is open already where it had to be asked.
    Bytes(Option<Box<Result<Tunnel, Fault>>>),
}

/// Where the app listens for this caller.
fn app_of(inbound: &Inbound, dialled: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
    inbound.config.app.or_else(|| {
        // Not redirected: nobody has said what it wants.
        let is_redirected = dialled.port() != local.port();
        is_redirected.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, dialled.port())))
    })
}

async fn unless_caller_speaks(worker: &Rc<Worker>, cluster: &Rc<Cluster>) -> Result<Tunnel, Fault> {
    tokio::time::sleep(FIRST_BYTES_WITHIN).await;
    let tunnel = tcp::open(worker, cluster).await?;
    tunnel.spoken_to().await;
    Ok(tunnel)
}

#[cold]
fn refuse(worker: &Worker, stream: &TcpStream, from: SocketAddr, to: SocketAddr) {
    net::reset_on_close(stream);
    let times = worker.counters().redirect_refused.inc(RedirectRefused::Loop.as_str());
    if times.is_power_of_two() {
        tracing::warn!(
            %from, %to, times,
            "a caller dialled the inbound listener itself, to which others are redirected, and was reset: it has to dial \
             the app's port, or the listener needs to be told of it (--inbound ADDR=PORT)"
        );
    }
}
