//! HTTP/1.1 as bytes: reads heads and bodies off a socket without judging them, so that a test sees what was sent.
//!
//! Header names and values are kept as Latin-1 text: one char a byte, so nothing is lost.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One char a byte.
#[must_use]
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The start line and the headers of a message.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Every byte, the empty line included.
    pub raw: Vec<u8>,
    /// The first line.
    pub start: String,
    /// In order, with the case and the values they came with.
    pub headers: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let text = latin1(&raw);
        let mut lines = text.split("\r\n").map_while(|line| Some(line).filter(|line| !line.is_empty()));
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| match line.split_once(':') {
                Some((name, value)) => (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()),
                None => (line.to_owned(), String::new()),
            })
            .collect();
        Head { raw, start, headers }
    }

    /// The first value of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of this name, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The names as they were written, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.header("content-length").and_then(|value| value.parse().ok())
    }
}

/// A response as it came.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Statuses of 1xx responses that came before it.
    pub interim: Vec<u16>,
}

impl Answer {
    /// The first value of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks the status, and shows all there is when it is another.
    ///
    /// # Panics
    /// It is another.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "\n{}{}", latin1(&self.head.raw), self.text());
        self
    }
}

/// The body of a message and what follows it.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// Without framing.
    pub body: Vec<u8>,
    /// Sizes of the chunks.
    pub chunks: Vec<usize>,
    /// What came after the last chunk.
    pub trailers: Vec<(String, String)>,
}

/// A socket and what has been read of it but not yet used.
#[derive(Debug)]
pub struct Wire {
    /// The socket.
    pub tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Wraps a socket.
    #[must_use]
    pub fn new(tcp: TcpStream) -> Self {
        // Without this Nagle's algorithm delays what tests send in pieces.
        let _ = tcp.set_nodelay(true);
        Wire { tcp, buffer: Vec::new() }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.tcp.write_all(bytes.as_ref()).await
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.tcp.read_buf(&mut self.buffer).await
    }

    /// Waits until the peer closes or resets the connection; what it sends is kept.
    pub async fn peer_gone(&mut self) {
        while matches!(self.more().await, Ok(1..)) {}
    }

    /// Reads all there is until the peer closes.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more().await? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// Those of the socket, and the end of it.
    pub async fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < n {
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.buffer.split_off(n);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads up to and with `end`; `None`: the peer has closed before the first byte.
    async fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut from = 0;
        loop {
            if let Some(at) = self.buffer[from..].windows(end.len()).position(|window| window == end) {
                return self.exactly(from + at + end.len()).await.map(Some);
            }
            from = self.buffer.len().saturating_sub(end.len() - 1);
            if self.more().await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads one head; `None`: the peer has closed.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        Ok(self.until(b"\r\n\r\n").await?.map(Head::parse))
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// Those of the socket, and the end of it.
    pub async fn request_body(&mut self, head: &Head) -> io::Result<Payload> {
        match (head.is_chunked(), head.length()) {
            (true, _) => self.chunked().await,
            (false, Some(n)) => Ok(Payload { body: self.exactly(n).await?, ..Payload::default() }),
            (false, None) => Ok(Payload::default()),
        }
    }

    async fn chunked(&mut self) -> io::Result<Payload> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let mut payload = Payload::default();
        loop {
            let line = latin1(&self.until(b"\r\n").await?.ok_or_else(eof)?);
            let size = usize::from_str_radix(line.trim_end().split(';').next().unwrap_or_default(), 16)
                .map_err(|_| bad(&format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            payload.chunks.push(size);
            payload.body.extend(self.exactly(size).await?);
            if self.exactly(2).await? != b"\r\n" {
                return Err(bad("a chunk is longer than it says"));
            }
        }
        loop {
            let line = latin1(&self.until(b"\r\n").await?.ok_or_else(eof)?);
            match line.trim_end().split_once(':') {
                Some((name, value)) => payload.trailers.push((name.to_owned(), value.trim().to_owned())),
                None => return Ok(payload),
            }
        }
    }

    /// Reads one response to a request with this method, 1xx before it included.
    ///
    /// # Errors
    /// Those of the socket, and the end of it.
    pub async fn response(&mut self, method: &str) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let head = self.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status: u16 = head.start.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("no status line: {:?}", head.start))
            })?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let payload = match () {
                () if method == "HEAD" || matches!(status, 204 | 304) => Payload::default(),
                () if head.is_chunked() => self.chunked().await?,
                () if head.length().is_some() => self.request_body(&head).await?,
                () => Payload { body: self.rest().await?, ..Payload::default() },
            };
            return Ok(Answer { status, head, body: payload.body, trailers: payload.trailers, interim });
        }
    }
}
