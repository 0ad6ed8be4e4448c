//! A collector that does as it is told: gRPC by tonic, HTTP by hyper, over real sockets, on a runtime of its own so that
//! it can go away with all its connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;

use crate::env::Protocol;

/// What the collector does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Takes it.
    Take,
    /// Takes all but so many, and says why.
    Partial(i64, &'static str),
    /// gRPC: this status, with a RetryInfo of so many milliseconds.
    Status(tonic::Code, Option<u64>),
    /// HTTP: this status, with these headers.
    Http(u16, &'static [(&'static str, &'static str)]),
    /// Takes it, after so many milliseconds.
    Slow(u64),
    /// Never answers.
    Hang,
    /// HTTP: takes it, and closes the connection without having said that it will.
    TakeAndClose,
}

/// A request that has come.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) traces: ExportTraceServiceRequest,
    pub(super) metrics: ExportMetricsServiceRequest,
    pub(super) headers: HeaderMap,
    pub(super) path: String,
}

#[derive(Clone)]
struct State {
    script: Arc<Mutex<VecDeque<Reply>>>,
    received: mpsc::UnboundedSender<Received>,
    connections: Arc<Mutex<usize>>,
}

pub(super) struct Collector {
    pub(super) address: SocketAddr,
    /// Has the port while nobody listens there, else somebody would be given it who asks for any.
    _reserved: TcpSocket,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    state: State,
    received: mpsc::UnboundedReceiver<Received>,
    runtime: Option<Runtime>,
}

/// Listens there, as soon as nobody else does: a program that another test is starting has a copy of the socket that was
/// here, until it runs.
fn listen(address: SocketAddr) -> std::net::TcpListener {
    let begun = Instant::now();
    loop {
        match std::net::TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed().as_secs() < 20 => {
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => return bound.unwrap(),
        }
    }
}

impl Collector {
    /// One that listens, and does these things first. After them it takes everything.
    pub(super) fn start(protocol: Protocol, script: impl IntoIterator<Item = Reply>) -> Self {
        Self::with_tls(protocol, script, None)
    }

    pub(super) fn with_tls(
        protocol: Protocol,
        script: impl IntoIterator<Item = Reply>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let state = State { script, received: sender, connections: Arc::default() };
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseaddr(true).unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = reserved.local_addr().unwrap();
        let mut collector =
            Collector { address, _reserved: reserved, protocol, tls, state, received, runtime: None };
        collector.come_back();
        collector
    }

    /// Listens again, at the same address.
    pub(super) fn come_back(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (state, tls, protocol) = (self.state.clone(), self.tls.clone(), self.protocol);
        // Bound before anybody is told of it.
        let listener = listen(self.address);
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            match protocol {
                Protocol::Grpc => serve_grpc(listener, state).await,
                Protocol::HttpProtobuf => serve_http(listener, state, tls).await,
            }
        });
        self.runtime = Some(runtime);
    }

    /// Goes away, with all connections.
    pub(super) fn go(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It has nothing but async tasks: this returns as soon as they have reached an await.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)));
            ended.join().unwrap();
        }
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(20), self.received.recv()).await;
        next.expect("a request in time").expect("the collector lives")
    }

    /// Whether a request has come that nobody has asked for yet.
    pub(super) fn has_more(&mut self) -> bool {
        !self.received.is_empty()
    }

    /// How many connections were accepted (HTTP).
    pub(super) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn reply(&self) -> Reply {
        self.script.lock().unwrap().pop_front().unwrap_or(Reply::Take)
    }
}

async fn serve_grpc(listener: TcpListener, state: State) {
    let traces = TraceServiceServer::new(state.clone()).accept_compressed(CompressionEncoding::Gzip);
    let metrics = MetricsServiceServer::new(state).accept_compressed(CompressionEncoding::Gzip);
    tonic::transport::Server::builder()
        .add_service(traces)
        .add_service(metrics)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .unwrap();
}

/// What a reply is for gRPC: how many are rejected and why, or a status.
async fn grpc_reply(reply: Reply) -> Result<Option<(i64, String)>, tonic::Status> {
    match reply {
        Reply::Take => Ok(None),
        Reply::Partial(rejected, why) => Ok(Some((rejected, why.to_owned()))),
        Reply::Status(code, None) => Err(tonic::Status::new(code, "as told")),
        Reply::Status(code, Some(ms)) => {
            Err(tonic::Status::with_details(code, "as told", retry_info(ms).into()))
        }
        Reply::Slow(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(None)
        }
        Reply::Hang => std::future::pending().await,
        other => panic!("{other:?} is for HTTP"),
    }
}

/// google.rpc.Status with a google.rpc.RetryInfo, byte by byte.
fn retry_info(ms: u64) -> Vec<u8> {
    let (mut delay, mut info, mut any, mut status) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    crate::wire::number(&mut delay, 1, ms / 1000);
    crate::wire::number(&mut delay, 2, ms % 1000 * 1_000_000);
    crate::wire::bytes(&mut info, 1, &delay);
    crate::wire::bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    crate::wire::bytes(&mut any, 2, &info);
    crate::wire::bytes(&mut status, 3, &any);
    status
}

#[async_trait::async_trait]
impl TraceService for State {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (headers, _, traces) = request.into_parts();
        let (headers, metrics) = (headers.into_headers(), ExportMetricsServiceRequest::default());
        let reply = self.reply();
        let _ = self.received.send(Received { traces, metrics, headers, path: String::new() });
        let partial = grpc_reply(reply).await?;
        let partial_success = partial.map(|(rejected_spans, error_message)| ExportTracePartialSuccess {
            rejected_spans,
            error_message,
        });
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[async_trait::async_trait]
impl MetricsService for State {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let (headers, _, metrics) = request.into_parts();
        let (headers, traces) = (headers.into_headers(), ExportTraceServiceRequest::default());
        let reply = self.reply();
        let _ = self.received.send(Received { traces, metrics, headers, path: String::new() });
        let partial = grpc_reply(reply).await?;
        let partial_success = partial.map(|(rejected_data_points, error_message)| {
            ExportMetricsPartialSuccess { rejected_data_points, error_message }
        });
        Ok(tonic::Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

async fn serve_http(listener: TcpListener, state: State, tls: Option<TlsAcceptor>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        *state.connections.lock().unwrap() += 1;
        let (state, tls) = (state.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve_connection(stream, state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection<S>(stream: S, state: State)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let closing = Arc::new(Mutex::new(false));
    let service = hyper::service::service_fn(|request| answer_http(request, state.clone(), closing.clone()));
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service)
    );
    std::future::poll_fn(|context| {
        let polled = std::future::Future::poll(connection.as_mut(), context);
        // The response is written by the poll after the one that has made it.
        if polled.is_pending() && *closing.lock().unwrap() {
            return std::task::Poll::Ready(());
        }
        polled.map(drop)
    })
    .await;
}

async fn answer_http(
    request: Request<Incoming>,
    state: State,
    closing: Arc<Mutex<bool>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
    let mut bytes = body.to_bytes().to_vec();
    if head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let packed = std::mem::take(&mut bytes);
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut bytes).unwrap();
    }
    let path = head.uri.path().to_owned();
    let (mut traces, mut metrics) = Default::default();
    if path.ends_with("/v1/metrics") {
        metrics = ExportMetricsServiceRequest::decode(&*bytes).unwrap();
    } else {
        traces = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    }
    let reply = state.reply();
    let _ = state.received.send(Received { traces, metrics, headers: head.headers, path });
    let mut response = Response::new(Full::default());
    response.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
    match reply {
        Reply::Take => {}
        Reply::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Reply::TakeAndClose => *closing.lock().unwrap() = true,
        Reply::Partial(rejected_spans, why) => {
            let error_message = why.to_owned();
            let partial = ExportTracePartialSuccess { rejected_spans, error_message };
            let body = ExportTraceServiceResponse { partial_success: Some(partial) };
            *response.body_mut() = body.encode_to_vec().into();
        }
        Reply::Http(status, headers) => {
            *response.status_mut() = status.try_into().unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
        }
        Reply::Hang => std::future::pending().await,
        Reply::Status(..) => panic!("{reply:?} is for gRPC"),
    }
    Ok(response)
}
