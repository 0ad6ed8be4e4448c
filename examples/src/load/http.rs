//! One keep-alive HTTP/1.1 connection of the app.

use std::time::{Duration, Instant};

use ::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::tally::{Answer, Kind, Outcome, Shared, judge};
use super::{PATIENCE, Pace, Target, dial, endpoint, reason, unless_stopped};

type Sender = SendRequest<Full<Bytes>>;

/// Sends requests one after the other until told to stop.
pub(super) async fn run(target: Target, mut pace: Pace, tally: Shared, mut stopped: watch::Receiver<bool>) {
    let mut connection = None;
    while unless_stopped(&mut stopped, pace.wait()).await {
        let kind = if pace.rng.u8(0..10) == 0 { Kind::Post } else { Kind::Get };
        let number = pace.rng.u32(..);
        let started = Instant::now();
        let result = tokio::time::timeout(PATIENCE, exchange(&target, &mut connection, kind, number)).await;
        let latency = started.elapsed();
        if !matches!(result, Ok(Ok(_))) {
            connection = None;
        }
        let (outcome, endpoint) = match result {
            Ok(Ok((status, headers))) => {
                (judge(kind, Answer::Http(status.as_u16()), reason(&headers)), endpoint(&headers))
            }
            // Whatever becomes of endpoints, the proxy must answer, and its answer must come whole.
            Ok(Err(why)) => (Outcome::Failed(format!("{}: {why}", kind.as_str())), None),
            Err(_elapsed) => (Outcome::Failed(format!("{}: no answer from the proxy", kind.as_str())), None),
        };
        tally.lock().count(kind, outcome, latency, endpoint);
    }
}

async fn exchange(
    target: &Target,
    connection: &mut Option<Sender>,
    kind: Kind,
    number: u32,
) -> Result<(StatusCode, HeaderMap), String> {
    let usable = match connection {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    if !usable {
        *connection = None;
    }
    let sender = match connection {
        Some(sender) => sender,
        None => connection.insert(connect(target).await?),
    };
    let request = request(target, kind, number);
    let response =
        sender.send_request(request).await.map_err(|error| format!("the connection broke: {error}"))?;
    let (head, body) = response.into_parts();
    body.collect().await.map_err(|error| format!("the response broke off: {error}"))?;
    Ok((head.status, head.headers))
}

async fn connect(target: &Target) -> Result<Sender, String> {
    let refused = |error: std::io::Error| format!("no connection to the proxy: {error}");
    let stream = tokio::time::timeout(Duration::from_secs(5), dial(target))
        .await
        .map_err(|_elapsed| "no connection to the proxy in 5 s".to_owned())?
        .map_err(refused)?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(target: &Target, kind: Kind, number: u32) -> Request<Full<Bytes>> {
    let path = format!("/orders/{number}");
    let uri = if target.absolute { format!("http://{}{path}", target.authority) } else { path };
    let (method, body) = match kind {
        Kind::Post => (Method::POST, format!("order {number}")),
        _ => (Method::GET, String::new()),
    };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().expect("made of a checked name and a number");
    let host = target.authority.parse().expect("a checked name and a port");
    request.headers_mut().insert(header::HOST, host);
    request
}
