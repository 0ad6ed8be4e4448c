//! The app's gRPC side: server streams, ten at a time, and unary calls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;

use super::tally::{Answer, Kind, Outcome, Shared, judge};
use super::{PATIENCE, Pace, Target, dial, endpoint, reason, text, unless_stopped};
use crate::grpc::{self, CONTENT_TYPE, Decoder, SAY, WATCH};

type Sender = SendRequest<Full<Bytes>>;

/// Messages a stream is asked for.
const MESSAGES: std::ops::Range<u32> = 6..12;
/// Time between two messages.
const PAUSE: Duration = Duration::from_millis(80);

/// Opens one stream after the other.
pub(super) async fn streams(
    target: Target,
    mut rng: fastrand::Rng,
    tally: Shared,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connection = None;
    // The streams are spread out from the start.
    let mut pause = PAUSE.mul_f64(rng.f64() * 8.0);
    while unless_stopped(&mut stopped, tokio::time::sleep(pause)).await {
        let messages = rng.u32(MESSAGES);
        stream(&target, &mut connection, messages, &tally).await;
        pause = PAUSE.mul_f64(rng.f64());
    }
}

/// Makes unary calls.
pub(super) async fn calls(target: Target, mut pace: Pace, tally: Shared, mut stopped: watch::Receiver<bool>) {
    let mut connection = None;
    while unless_stopped(&mut stopped, pace.wait()).await {
        let started = Instant::now();
        let message = grpc::frame("hello");
        let called = tokio::time::timeout(PATIENCE, call(&target, &mut connection, message)).await;
        let (outcome, endpoint) = called.unwrap_or_else(|_elapsed| {
            (Outcome::Failed("gRPC call: no answer from the proxy".to_owned()), None)
        });
        tally.lock().count(Kind::Call, outcome, started.elapsed(), endpoint);
    }
}

/// One unary call. An answer that has begun and breaks off may have been the work of an endpoint: nobody may call again.
async fn call(
    target: &Target,
    connection: &mut Option<Sender>,
    message: Bytes,
) -> (Outcome, Option<SocketAddr>) {
    let response = match open(target, connection, SAY, message).await {
        Ok(response) => response,
        Err(why) => return (Outcome::Failed(format!("gRPC call: {why}")), None),
    };
    let headers = response.headers().clone();
    let endpoint = endpoint(&headers);
    if let Some(code) = status(&headers) {
        return (judge(Kind::Call, Answer::Grpc(code), reason(&headers)), endpoint);
    }
    let code = match response.into_body().collect().await {
        Ok(body) => body.trailers().and_then(status),
        Err(_) => None,
    };
    let outcome = match code {
        Some(code) => judge(Kind::Call, Answer::Grpc(code), None),
        None => Outcome::NotRepeatable("gRPC call whose answer broke off".to_owned()),
    };
    (outcome, endpoint)
}

async fn stream(target: &Target, connection: &mut Option<Sender>, messages: u32, tally: &Shared) {
    let started = Instant::now();
    let order = grpc::frame(&grpc::order(messages, PAUSE));
    let opened = tokio::time::timeout(PATIENCE, open(target, connection, WATCH, order)).await;
    let count = |outcome, endpoint| tally.lock().count(Kind::Stream, outcome, started.elapsed(), endpoint);
    let failed = |why: &str| count(Outcome::Failed(format!("gRPC stream: {why}")), None);
    let response = match opened {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => return failed(&why),
        Err(_elapsed) => return failed("no answer from the proxy"),
    };
    let headers = response.headers();
    if let Some(code) = status(headers) {
        return count(judge(Kind::Stream, Answer::Grpc(code), reason(headers)), endpoint(headers));
    }
    count(Outcome::Done, endpoint(headers));
    if follow(response.into_body(), messages, tally).await.is_none() {
        tally.lock().cut += 1;
    }
}

/// Receives a stream to its end; `None`: it was cut.
async fn follow(mut body: Incoming, expected: u32, tally: &Shared) -> Option<()> {
    let mut decoder = Decoder::default();
    let mut received = 0;
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.ok()??.ok()?;
        match frame.into_data() {
            Ok(data) => {
                decoder.push(&data);
                while decoder.next().ok()?.is_some() {
                    received += 1;
                    tally.lock().messages += 1;
                }
            }
            Err(frame) => {
                let code = frame.trailers_ref().and_then(status);
                return (code == Some(0) && received == expected).then_some(());
            }
        }
    }
}

/// Sends the request and waits for the response head.
async fn open(
    target: &Target,
    connection: &mut Option<Sender>,
    method: &str,
    message: Bytes,
) -> Result<Response<Incoming>, String> {
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
    let mut request = Request::new(Full::new(message));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let uri = format!("http://{}{method}", target.authority);
    *request.uri_mut() = uri.parse().expect("made of a checked name");
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    sender.send_request(request).await.map_err(|error| format!("the connection broke: {error}"))
}

async fn connect(target: &Target) -> Result<Sender, String> {
    let stream = dial(target).await.map_err(|error| format!("no connection to the proxy: {error}"))?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP/2 with the proxy: {error}"))?;
    tokio::spawn(connection);
    Ok(sender)
}

fn status(headers: &HeaderMap) -> Option<u16> {
    text(headers, "grpc-status")?.parse().ok()
}
