//! A GET to somewhere near: the admin port of a proxy, the app's health page, the task metadata.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

/// More of an answer than this is of no interest.
const MAX_BODY: usize = 1024 * 1024;

/// Asks and reads the whole answer.
///
/// # Errors
/// No connection, no answer in time, or none that is HTTP: in words.
pub async fn get(
    addr: SocketAddr,
    host: &str,
    path: &str,
    within: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let asking = async {
        let stream = tokio::net::TcpStream::connect(addr).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request = Request::get(path)
            .header(header::HOST, host)
            .body(Full::<Bytes>::default())
            .map_err(io::Error::other)?;
        let mut connection = std::pin::pin!(connection);
        let response = tokio::select! {
            response = sender.send_request(request) => response.map_err(io::Error::other)?,
            _ = connection.as_mut() => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        let status = response.status();
        let mut body = std::pin::pin!(Limited::new(response.into_body(), MAX_BODY).collect());
        let body = tokio::select! {
            body = body.as_mut() => body,
            // What came before the end is in the body's channel.
            _ = connection => body.await,
        };
        Ok::<_, io::Error>((status, body.map_err(io::Error::other)?.to_bytes()))
    };
    match tokio::time::timeout(within, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("no answer at {addr}: {error}")),
        Err(_elapsed) => Err(format!("{addr} did not answer within {within:?}")),
    }
}
