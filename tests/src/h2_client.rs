//! A client that speaks HTTP/2 with prior knowledge, stream by stream.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::h2_backend::read;
use crate::mesh::url;
use crate::wait::within;

/// A connection.
pub struct H2Client {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A whole response.
#[derive(Debug)]
pub struct H2Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl H2Answer {
    /// A header, else a trailer, of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let trailer = || self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        self.headers.get(name).or_else(trailer).and_then(|value| value.to_str().ok())
    }
}

/// A request for `path` of a service, as a client of the forward proxy sends it.
#[must_use]
pub fn request(method: &str, service: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(url(service, path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid request")
}

impl H2Client {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens, or it doesn't speak HTTP/2.
    pub async fn connect(addr: SocketAddr) -> Self {
        let tcp = within("connecting", TcpStream::connect(addr))
            .await
            .unwrap_or_else(|error| panic!("{addr}: {error}"));
        let _ = tcp.set_nodelay(true);
        // h2 gives up connections on which many small frames wait to be read; other libraries don't, and tests read
        // late on purpose.
        let mut builder = h2::client::Builder::new();
        let handshake =
            builder.initial_connection_window_size(64 << 20).data_frame_budget(1 << 40).handshake(tcp);
        let (sender, io) = within("the handshake", handshake).await.expect("HTTP/2");
        H2Client { sender, driver: tokio::spawn(io) }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The connection takes none any more.
    pub async fn open(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut sender = within("room for a stream", self.sender.clone().ready()).await?;
        sender.send_request(request, end)
    }

    /// Sends a whole request and reads the whole response.
    ///
    /// # Errors
    /// It was reset, or the connection broke.
    pub async fn try_call(
        &self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<H2Answer, h2::Error> {
        let end = body.is_empty() && trailers.is_none();
        let (response, mut stream) = self.open(request, end).await?;
        // The answer may be there before the request is: then nobody wants the rest.
        if !body.is_empty() {
            let _ = stream.send_data(Bytes::copy_from_slice(body), trailers.is_none());
        }
        if let Some(trailers) = trailers {
            let _ = stream.send_trailers(trailers);
        }
        let (head, mut body) = within("a response", response).await?.into_parts();
        let (body, trailers) = within("the response's body", read(&mut body)).await?;
        Ok(H2Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
    }

    /// The same where it must succeed.
    ///
    /// # Panics
    /// It did not.
    pub async fn call(&self, request: Request<()>, body: &[u8]) -> H2Answer {
        self.try_call(request, body, None).await.expect("a response")
    }

    /// Waits for an interim response, such as 103; `None`: the response itself has come.
    ///
    /// # Panics
    /// The stream is broken.
    pub async fn interim(response: &mut ResponseFuture) -> Option<Response<()>> {
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
        within("an interim response", interim).await.map(|response| response.expect("the stream is open"))
    }

    /// Waits for the response head.
    ///
    /// # Panics
    /// None came.
    pub async fn head(response: ResponseFuture) -> Response<RecvStream> {
        within("a response head", response).await.expect("a response head")
    }

    /// Waits until the connection has ended; false: in an error.
    pub async fn ended(self) -> bool {
        drop(self.sender);
        within("the connection ends", self.driver).await.is_ok_and(|result| result.is_ok())
    }
}
