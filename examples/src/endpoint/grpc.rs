//! The gRPC endpoint: one unary method, one that streams. Both take and give a text.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Request, Response, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Behaviour, NAME_HEADER, name};
use crate::grpc::{self, CONTENT_TYPE, Decoder, SAY, WATCH};

const OK: u16 = 0;
const INVALID_ARGUMENT: u16 = 3;
const UNIMPLEMENTED: u16 = 12;
const UNAVAILABLE: u16 = 14;

/// Serves one connection of the proxy.
pub(super) async fn connection(stream: TcpStream, own: SocketAddr, behaviour: Arc<Behaviour>) {
    let service = service_fn(|request| {
        let behaviour = behaviour.clone();
        async move { Ok::<_, Infallible>(answer(request, own, &behaviour).await) }
    });
    // An error is the proxy closing its side: nothing that anyone must know.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

type Reply = Response<Channel<Bytes>>;

async fn answer(request: Request<Incoming>, own: SocketAddr, behaviour: &Behaviour) -> Reply {
    let (head, body) = request.into_parts();
    if behaviour.fails_with().is_some() {
        return refusal(UNAVAILABLE, own);
    }
    let Some(text) = only_message(body).await else { return refusal(INVALID_ARGUMENT, own) };
    let (mut out, body) = Channel::new(8);
    match head.uri.path() {
        SAY => {
            behaviour.work().await;
            tokio::spawn(async move {
                if out.send_data(grpc::frame(&format!("{own} heard {text}"))).await.is_ok() {
                    let _ = out.send_trailers(status(OK)).await;
                }
            });
        }
        WATCH => {
            let Some((messages, pause)) = grpc::parse_order(&text) else {
                return refusal(INVALID_ARGUMENT, own);
            };
            tokio::spawn(stream(out, own, messages, pause));
        }
        _ => return refusal(UNIMPLEMENTED, own),
    }
    response(body, own)
}

async fn stream(mut out: Sender<Bytes>, own: SocketAddr, messages: u32, pause: Duration) {
    for n in 1..=messages {
        tokio::time::sleep(pause).await;
        if out.send_data(grpc::frame(&format!("{n} of {messages} from {own}"))).await.is_err() {
            return;
        }
    }
    let _ = out.send_trailers(status(OK)).await;
}

/// The text of a request that has one message and no more.
async fn only_message(body: Incoming) -> Option<String> {
    let mut decoder = Decoder::default();
    decoder.push(&body.collect().await.ok()?.to_bytes());
    let text = decoder.next().ok()??;
    decoder.is_empty().then_some(text)
}

fn status(code: u16) -> HeaderMap {
    HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), HeaderValue::from(code))])
}

/// An answer without a message: gRPC puts the status in the head then.
fn refusal(code: u16, own: SocketAddr) -> Reply {
    let (_, body) = Channel::new(1);
    let mut reply = response(body, own);
    reply.headers_mut().extend(status(code));
    reply
}

fn response(body: Channel<Bytes>, own: SocketAddr) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    reply.headers_mut().insert(NAME_HEADER, name(own));
    reply
}
