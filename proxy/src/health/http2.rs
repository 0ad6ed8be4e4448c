//! One exchange by HTTP/2 with prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, Request, Response, header};
use tokio::net::TcpStream;

use super::ask::{Answer, Bad, Page, USER_AGENT, is_enough};

pub(super) async fn get(stream: TcpStream, addr: SocketAddr, page: &Page) -> Result<Answer, Bad> {
    let authority = page.host.as_ref().and_then(|host| host.to_str().ok()?.parse().ok());
    let request = Request::get(uri(authority, addr, page.path.as_str())?)
        .header(header::USER_AGENT, USER_AGENT)
        .body(())
        .map_err(Bad::from)?;
    exchange(stream, request, None, async |response| {
        let status = response.status();
        let mut incoming = response.into_body();
        let body = read(&mut incoming, |body| is_enough(page, body)).await?;
        Ok(Answer { status, body })
    })
    .await
}

pub(super) fn uri(authority: Option<Authority>, addr: SocketAddr, path: &str) -> Result<Uri, Bad> {
    let authority = match authority {
        Some(authority) => authority,
        None => addr.to_string().parse().map_err(Bad::from)?,
    };
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path);
    uri.build().map_err(Bad::from)
}

/// Sends the request and has the response read; the connection lives as long as that takes.
pub(super) async fn exchange<T>(
    stream: TcpStream,
    request: Request<()>,
    body: Option<Bytes>,
    read: impl AsyncFnOnce(Response<RecvStream>) -> Result<T, Bad>,
) -> Result<T, Bad> {
    let (sender, connection) = h2::client::handshake(stream).await.map_err(Bad::from)?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(Bad::from)?;
        let (response, mut sending) = sender.send_request(request, body.is_none()).map_err(Bad::from)?;
        if let Some(body) = body {
            sending.send_data(body, true).map_err(Bad::from)?;
        }
        read(response.await.map_err(Bad::from)?).await
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        answer = exchange.as_mut() => answer,
        // What came before its end has still to be looked at.
        _ = connection.as_mut() => exchange.await,
    }
}

/// Reads until there is enough.
pub(super) async fn read(from: &mut RecvStream, is_enough: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Bad> {
    let mut body = Vec::new();
    while !is_enough(&body) {
        let Some(data) = from.data().await else { break };
        let data = data.map_err(Bad::from)?;
        from.flow_control().release_capacity(data.len()).map_err(Bad::from)?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// The trailers, once the body has been read.
pub(super) async fn trailers(from: &mut RecvStream) -> Result<HeaderMap, Bad> {
    Ok(from.trailers().await.map_err(Bad::from)?.unwrap_or_default())
}
