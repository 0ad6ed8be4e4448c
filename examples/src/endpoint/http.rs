//! The HTTP endpoint: says hello, and counts what it is sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Behaviour, NAME_HEADER, name};

/// Serves one connection of the proxy.
pub(super) async fn connection(stream: TcpStream, own: SocketAddr, behaviour: Arc<Behaviour>) {
    let service = service_fn(|request| {
        let behaviour = behaviour.clone();
        async move { Ok::<_, Infallible>(answer(request, own, &behaviour).await) }
    });
    // An error is the proxy closing its side: nothing that anyone must know.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, own: SocketAddr, behaviour: &Behaviour) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let received = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let (status, text) = match behaviour.fails_with() {
        // Failing is fast, as it is in life: a balancer that only looks at latency falls for it.
        Some(status) => (status, format!("{own} was told to fail\n")),
        None => {
            behaviour.work().await;
            let text = match head.method {
                Method::POST => format!("{own} took {received} bytes\n"),
                _ => format!("hello from {own}\n"),
            };
            (200, text)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(NAME_HEADER, name(own));
    response
}
