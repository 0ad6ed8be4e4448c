//! Sockets, TLS and HTTP: one connection to the collector, opened when there is something to send, kept while it works.

use std::error::Error;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::payload::Payload;
use super::tls::{self, StartError, Tls};
use crate::env::{Protocol, Target};

/// More than this of a response is not read: it says how many were rejected, and why.
const MAX_RESPONSE: usize = 64 << 10;
/// Bytes that the stream may send ahead, if the collector lets us.
const SEND_BUFFER: usize = 256 << 10;

/// Where to, and the request but for its body.
#[derive(Clone)]
pub(super) struct Collector {
    pub(super) target: Target,
    tls: Option<Tls>,
}

impl Collector {
    pub(super) fn new(target: Target) -> Result<Self, StartError> {
        let tls = tls::of(&target)?;
        Ok(Collector { target, tls })
    }

    fn request(&self, payload: Payload) -> Request<Payload> {
        let target = &self.target;
        let mut request = Request::new(payload);
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        let agent = concat!("bowline-otlp/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        match target.protocol {
            Protocol::Grpc => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
                if target.gzip {
                    headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
                }
                *request.uri_mut() = target.url.clone();
            }
            Protocol::HttpProtobuf => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                if target.gzip {
                    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                let authority = target.url.authority().map(|authority| authority.as_str());
                if let Ok(host) = HeaderValue::try_from(authority.unwrap_or_default()) {
                    headers.insert(header::HOST, host);
                }
                *request.uri_mut() =
                    target.url.path_and_query().map_or_else(Uri::default, |path| path.clone().into());
            }
        }
        // The operator's win: a gateway may want another User-Agent.
        for (name, value) in &target.headers {
            request.headers_mut().insert(name, value.clone());
        }
        request
    }

    async fn connect(&self) -> Result<Open, String> {
        let url = &self.target.url;
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream =
            TcpStream::connect((tls::host(&self.target), port)).await.map_err(|error| chain(&error))?;
        // A batch is written as soon as it is there.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.speak(stream).await,
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), stream).await;
                self.speak(stream.map_err(|error| chain(&error))?).await
            }
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<Open, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = TokioIo::new(stream);
        match self.target.protocol {
            Protocol::Grpc => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_send_buf_size(SEND_BUFFER);
                let (sender, connection) = builder.handshake(stream).await.map_err(|error| chain(&error))?;
                let task = tokio::spawn(async move { drop(connection.await) });
                Ok(Open { sender: Sender::Http2(sender), task, used: false })
            }
            Protocol::HttpProtobuf => {
                let (sender, connection) = http1::handshake(stream).await.map_err(|error| chain(&error))?;
                let task = tokio::spawn(async move { drop(connection.await) });
                Ok(Open { sender: Sender::Http1(sender), task, used: false })
            }
        }
    }
}

/// A connection, or none yet.
pub(super) struct Connection {
    pub(super) collector: Arc<Collector>,
    open: Option<Open>,
}

struct Open {
    sender: Sender,
    task: JoinHandle<()>,
    /// Something has been answered on it.
    used: bool,
}

enum Sender {
    Http1(http1::SendRequest<Payload>),
    Http2(http2::SendRequest<Payload>),
}

impl Drop for Open {
    fn drop(&mut self) {
        // Whoever lets go of a connection doesn't trust it any more, or has come to the end.
        self.task.abort();
    }
}

impl Connection {
    pub(super) fn new(collector: Arc<Collector>) -> Self {
        Connection { collector, open: None }
    }

    /// Sends one request and reads the whole response. A connection that is cancelled in the middle of it is not used
    /// again.
    ///
    /// # Errors
    /// Why there is no response, in words.
    pub(super) async fn send(&mut self, payload: &Payload) -> Result<Answer, String> {
        // Collectors close connections that were idle for long, and it may not have been noticed yet.
        if let Some(mut open) = self.open.take().filter(Open::is_usable)
            && let Ok(answer) = open.send(self.collector.request(payload.clone())).await
        {
            self.open = Some(open);
            return Ok(answer);
        }
        let mut open = self.collector.connect().await?;
        let answer = open.send(self.collector.request(payload.clone())).await?;
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    fn is_usable(&self) -> bool {
        let closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        };
        self.used && !closed
    }

    async fn send(&mut self, request: Request<Payload>) -> Result<Answer, String> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
        };
        let answer = read(response.map_err(|error| chain(&error))?).await?;
        self.used = true;
        Ok(answer)
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, mut body) = response.into_parts();
    let mut answer = Answer { status: head.status, headers: head.headers, ..Answer::default() };
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| chain(&error))?.into_data() {
            Ok(data) => {
                let room = MAX_RESPONSE - answer.body.len();
                if data.len() > room {
                    return Err("a response that is far too long".to_owned());
                }
                answer.body.extend_from_slice(&data);
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    answer.trailers = trailers;
                }
            }
        }
    }
    Ok(answer)
}

/// An error with all that caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
