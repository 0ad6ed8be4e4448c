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
        // Whoever answers and closes at once ends the connection before anybody has looked at the answer.
        let mut connection = std::pin::pin!(connection);
        let mut ended = false;
        let mut response = std::pin::pin!(sender.send_request(request));
        let response = tokio::select! {
            response = response.as_mut() => response,
            _ = connection.as_mut() => {
                ended = true;
                response.await
            }
        };
        let response = response.map_err(io::Error::other)?;
        let status = response.status();
        let mut body = std::pin::pin!(Limited::new(response.into_body(), MAX_BODY).collect());
        let body = tokio::select! {
            body = body.as_mut() => body,
            // What came before the end is in the body's channel.
            _ = connection, if !ended => body.await,
        };
        Ok::<_, io::Error>((status, body.map_err(io::Error::other)?.to_bytes()))
    };
    match tokio::time::timeout(within, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("no answer at {addr}: {error}")),
        Err(_elapsed) => Err(format!("{addr} did not answer within {within:?}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Small apps do: HTTP/1.0, or `connection: close`, and the end in one packet with the answer.
    #[tokio::test]
    async fn an_answer_counts_though_the_connection_ends_with_it() {
        let answers: [(&[u8], &[u8]); 4] = [
            (b"HTTP/1.0 200 OK\r\n\r\n", b""),
            (b"HTTP/1.0 200 OK\r\n\r\nwell", b"well"),
            (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", b""),
            (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nwell", b"well"),
        ];
        for (answer, body) in answers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let app = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer).await.unwrap();
            });
            let heard = get(addr, "app", "/", Duration::from_secs(10)).await;
            assert_eq!(heard, Ok((StatusCode::OK, Bytes::from_static(body))));
            app.await.unwrap();
        }
    }
}
