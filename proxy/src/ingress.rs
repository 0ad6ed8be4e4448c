//! Callers from outside of the mesh, at an entry into it.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::listen::ingress::{Guest, Ingress};
use crate::listen::proxy_protocol;
use crate::listen::watch::Activity;
use crate::worker::Worker;

/// Who has come, once that is known. `None`: nobody who can be served.
pub async fn welcome(
    worker: &Worker,
    ingress: &Ingress,
    mut stream: TcpStream,
    activity: &Arc<Activity>,
) -> Option<(Guest, TcpStream)> {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return None };
    let mut client = peer;
    if ingress.config.accept_proxy {
        let mut drain = ingress.drain.clone();
        client = proxy_protocol::client(&mut stream, peer, worker.counters(), activity, &mut drain).await?;
    }
    let client = client.ip().to_canonical();
    Some((Guest { client, authority: local.to_string().into() }, stream))
}
