//! Reads the proxy's admin pages.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::http::{Request, header};
use bowline_api::admin::{EndpointSummary, Endpoints, Services};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::metrics::Metrics;

const WITHIN: Duration = Duration::from_secs(2);

/// What `/endpoints` says.
pub(super) async fn endpoints(admin: SocketAddr) -> io::Result<Vec<EndpointSummary>> {
    let page: Endpoints = serde_json::from_slice(&get(admin, "/endpoints").await?)?;
    Ok(page.endpoints)
}

/// What `/metrics` says.
pub(super) async fn metrics(admin: SocketAddr) -> io::Result<Metrics> {
    Ok(Metrics::parse(&String::from_utf8_lossy(&get(admin, "/metrics").await?)))
}

/// The VIP of each name, from `/services`.
pub(crate) async fn vips(admin: SocketAddr) -> io::Result<BTreeMap<String, Ipv4Addr>> {
    let page: Services = serde_json::from_slice(&get(admin, "/services").await?)?;
    let aliases = page.services.into_iter().flat_map(|service| service.aliases);
    Ok(aliases.map(|alias| (alias.dns_name, alias.vip)).collect())
}

async fn get(admin: SocketAddr, path: &str) -> io::Result<Bytes> {
    let asking = async {
        let stream = TcpStream::connect(admin).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header(header::HOST, admin.to_string())
            .body(Full::<Bytes>::default())
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(io::Error::other(format!("{path}: {status}"))) }
    };
    tokio::time::timeout(WITHIN, asking).await.map_err(|_elapsed| io::ErrorKind::TimedOut)?
}
