//! A key set behind a URL.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;

use super::file::MOST;
use super::trust;

/// Fetches it. Redirects are not followed: the URL is the one that is trusted. `authorities`: a file with those that are
/// trusted beside the public ones.
///
/// # Errors
/// Why it can't be had, in words.
pub(super) async fn get(url: &str, authorities: Option<&Path>) -> Result<Vec<u8>, String> {
    let url: Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
    let authority = url.authority().ok_or("the URL names no host")?;
    let is_tls = url.scheme_str() == Some("https");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| chain(&error))?;
    if !is_tls {
        return ask(stream, &url).await;
    }
    // Read each time, since certificates are replaced while proxies run.
    let roots = trust::authorities(authorities)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| chain(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| chain(&error))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    ask(connected.map_err(|error| chain(&error))?, &url).await
}

async fn ask<S>(stream: S, url: &Uri) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    // What stands before an @ is nobody's host.
    let host = url.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let request = Request::get(target)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("bowline-proxy/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| chain(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer was {}", response.status().as_u16()));
        }
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| chain(&error))?.into_data() else { continue };
            if text.len() + data.len() > MOST {
                return Err(format!("the answer is larger than {MOST} bytes"));
            }
            text.extend_from_slice(&data);
        }
        Ok(text)
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        text = exchange.as_mut() => text,
        // Whoever answers and closes at once ends the connection before anybody has looked at the answer.
        _ = connection.as_mut() => exchange.await,
    }
}

/// An error with all that caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
