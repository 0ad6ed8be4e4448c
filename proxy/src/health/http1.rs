//! A page by HTTP/1.1.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ask::{Answer, Bad, Page, USER_AGENT, is_enough};

pub(super) async fn get(stream: TcpStream, addr: SocketAddr, page: &Page) -> Result<Answer, Bad> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Bad::from)?;
    let host = match &page.host {
        Some(host) => host.clone(),
        None => HeaderValue::try_from(addr.to_string()).map_err(Bad::from)?,
    };
    let request = Request::get(page.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(Bad::from)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(Bad::from)?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while !is_enough(page, &body) {
            let Some(frame) = incoming.frame().await else { break };
            if let Ok(data) = frame.map_err(Bad::from)?.into_data() {
                body.extend_from_slice(&data);
            }
        }
        Ok(Answer { status, body })
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        answer = exchange.as_mut() => answer,
        // Whoever answers and closes at once ends the connection before anybody has looked at the answer.
        _ = connection.as_mut() => exchange.await,
    }
}
