//! A backend that speaks HTTP/1.1 as a test tells it to, byte by byte where it must, and keeps what it received.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::crowd::Crowd;
use crate::mesh::Endpoint;
use crate::sockets::{Reserved, listen, reset_on_close};
use crate::wait::{Gate, eventually};
use crate::wire::{Head, Payload, Wire};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The how-manieth connection it came on, from 0.
    pub connection: usize,
    /// The how-manieth request of the backend it is, from 0.
    pub index: usize,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub payload: Payload,
}

impl Received {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.payload.body
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Await(Gate),
    Pass(Crowd, Duration),
    Flood,
    Hang,
    Close,
    Reset,
    ReadBody,
}

/// What a backend does about a request: steps, one after the other. After the last one it reads the next request.
#[derive(Clone, Debug, Default)]
pub struct Reply(Vec<Step>);

impl Reply {
    /// 200 with this body.
    #[must_use]
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Reply::new(200, &[], body)
    }

    /// This status and a word as the body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Reply::new(status, &[], "status")
    }

    /// A response with `Content-Length`.
    #[must_use]
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n", body.len());
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        Reply::raw(bytes)
    }

    /// These bytes, whatever they are.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Reply(vec![Step::Send(bytes.into())])
    }

    /// Bytes, as fast as they are taken, for ever.
    #[must_use]
    pub fn flood() -> Self {
        Reply(vec![Step::Flood])
    }

    /// Nothing, and an orderly close.
    #[must_use]
    pub fn close() -> Self {
        Reply(vec![Step::Close])
    }

    /// Nothing, and a reset.
    #[must_use]
    pub fn reset() -> Self {
        Reply(vec![Step::Reset])
    }

    /// Nothing at all until the peer goes away.
    #[must_use]
    pub fn hang() -> Self {
        Reply(vec![Step::Hang])
    }

    /// The body of the request is read now; only of use in a reply to a head.
    #[must_use]
    pub fn read_body() -> Self {
        Reply(vec![Step::ReadBody])
    }

    /// Waits before it begins.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.0.insert(0, Step::Pause(pause));
        self
    }

    /// Begins when the gate is open.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.0.insert(0, Step::Await(gate.clone()));
        self
    }

    /// Begins when it has passed through the crowd, with so long at its desk.
    #[must_use]
    pub fn through(mut self, crowd: &Crowd, time: Duration) -> Self {
        self.0.insert(0, Step::Pass(crowd.clone(), time));
        self
    }

    /// And then this.
    #[must_use]
    pub fn then(mut self, next: Reply) -> Self {
        self.0.extend(next.0);
        self
    }

    /// And then closes the connection.
    #[must_use]
    pub fn then_close(self) -> Self {
        self.then(Reply::close())
    }
}

type Handler = Box<dyn Fn(&Received) -> Reply + Send + Sync>;
type HeadHandler = Box<dyn Fn(&Received) -> Option<Reply> + Send + Sync>;
type AcceptHandler = Box<dyn Fn(usize) -> Option<Reply> + Send + Sync>;

/// How a backend behaves, before it is started.
#[derive(Default)]
pub struct Builder {
    accept: Option<AcceptHandler>,
    head: Option<HeadHandler>,
    handler: Option<Handler>,
    ip: Option<IpAddr>,
    port: u16,
}

struct State {
    accepts: AtomicUsize,
    gone: AtomicUsize,
    requests: Mutex<Vec<Received>>,
    script: Builder,
}

/// A running backend.
pub struct Backend {
    addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
    /// Nobody else gets the port when the listener is gone.
    reserved: Option<Reserved>,
}

impl Builder {
    /// What happens to the nth connection before anything is read from it; `None`: nothing.
    #[must_use]
    pub fn on_accept(mut self, accept: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> Self {
        self.accept = Some(Box::new(accept));
        self
    }

    /// What happens when a head is there, before the body is read; `None`: the body is read.
    #[must_use]
    pub fn on_head(mut self, head: impl Fn(&Received) -> Option<Reply> + Send + Sync + 'static) -> Self {
        self.head = Some(Box::new(head));
        self
    }

    /// On this port, where another backend has been.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// At this address; port 0: any.
    #[must_use]
    pub fn at(mut self, addr: SocketAddr) -> Self {
        self.ip = Some(addr.ip());
        self.port(addr.port())
    }

    /// Starts it; `handler` replies to whole requests.
    ///
    /// # Panics
    /// The port is taken.
    pub async fn start(self, handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Backend {
        let ip = self.ip();
        let reserved = (self.port == 0).then(|| Reserved::at(ip).expect("a free port"));
        let addr = reserved.as_ref().map_or((ip, self.port).into(), Reserved::addr);
        let mut backend = self.run(listen(addr).await, handler).expect("its address");
        backend.reserved = reserved;
        backend
    }

    /// The same where the port may be taken.
    ///
    /// # Errors
    /// It is.
    pub async fn try_start(
        self,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Backend> {
        let listener = TcpListener::bind((self.ip(), self.port)).await?;
        self.run(listener, handler)
    }

    fn ip(&self) -> IpAddr {
        self.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn run(
        mut self,
        listener: TcpListener,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Backend> {
        self.handler = Some(Box::new(handler));
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            accepts: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            requests: Mutex::default(),
            script: self,
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Ok(Backend { addr, state, task, reserved: None })
    }
}

impl Backend {
    /// One that does more than to answer whole requests.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// One that answers whole requests.
    pub async fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Backend {
        Builder::default().start(handler).await
    }

    /// Several of the same kind; each is told its number.
    pub async fn several<const N: usize>(
        handler: impl Fn(usize, &Received) -> Reply + Send + Sync + Clone + 'static,
    ) -> [Backend; N] {
        let mut backends = Vec::new();
        for n in 0..N {
            let handler = handler.clone();
            backends.push(Backend::start(move |request| handler(n, request)).await);
        }
        backends.try_into().unwrap_or_else(|_| unreachable!("N of them"))
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All requests so far, whole or broken off.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.received().clone()
    }

    /// How many of them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.received().len()
    }

    /// The only request.
    ///
    /// # Panics
    /// There is none, or there are several.
    #[must_use]
    pub fn only_request(&self) -> Received {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.into_iter().next().expect("one")
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepts(&self) -> usize {
        self.state.accepts.load(SeqCst)
    }

    /// Waits until so many requests have come.
    pub async fn has_received(&self, n: usize) {
        eventually("the backend receives requests", async || (self.count() >= n).then_some(())).await;
    }

    /// Waits until the proxy has closed so many connections on which an answer, or the rest of a request, was due.
    pub async fn was_left(&self, n: usize) {
        eventually("the proxy leaves the backend", async || {
            (self.state.gone.load(SeqCst) >= n).then_some(())
        })
        .await;
    }

    /// Closes the listener and all connections, with whatever is under way on them. From now on its address refuses
    /// connections, until another backend starts there.
    pub async fn stop(mut self) {
        if let Some(reserved) = self.reserved.take() {
            reserved.keep();
        }
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Endpoint for Backend {
    fn address(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let number = state.accepts.fetch_add(1, SeqCst);
        let state = state.clone();
        connections.spawn(async move {
            // A connection that breaks is what many tests are about: nothing to report.
            let _ = converse(tcp, number, &state).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(tcp: TcpStream, connection: usize, state: &State) -> io::Result<()> {
    let mut wire = Wire::new(tcp);
    let script = &state.script;
    if let Some(reply) = script.accept.as_ref().and_then(|accept| accept(connection)) {
        perform(&mut wire, reply, &mut Received::default(), state).await?;
    }
    while let Some(head) = wire.head().await? {
        let mut words = head.start.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Received { connection, method, target, head, ..Received::default() };
        request.index = {
            let mut requests = state.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push(request.clone());
            requests.len() - 1
        };
        let early = script.head.as_ref().and_then(|head| head(&request));
        match early {
            Some(reply) => perform(&mut wire, reply, &mut request, state).await?,
            None => perform(&mut wire, Reply::read_body(), &mut request, state).await?,
        }
        if let Some(handler) = &script.handler {
            let reply = handler(&request);
            perform(&mut wire, reply, &mut request, state).await?;
        }
    }
    Ok(())
}

async fn perform(wire: &mut Wire, reply: Reply, request: &mut Received, state: &State) -> io::Result<()> {
    let over = |kind: io::ErrorKind| Err(io::Error::from(kind));
    for step in reply.0 {
        match step {
            Step::Send(bytes) => wire.send(bytes).await.inspect_err(|_| left(state))?,
            Step::Pause(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = wire.peer_gone() => { left(state); return over(io::ErrorKind::BrokenPipe) }
            },
            Step::Await(gate) => tokio::select! {
                () = gate.passed() => {}
                () = wire.peer_gone() => { left(state); return over(io::ErrorKind::BrokenPipe) }
            },
            Step::Pass(crowd, time) => tokio::select! {
                () = crowd.pass(time) => {}
                () = wire.peer_gone() => { left(state); return over(io::ErrorKind::BrokenPipe) }
            },
            Step::Flood => {
                let bytes = vec![b'x'; 1 << 16];
                loop {
                    wire.send(&bytes).await.inspect_err(|_| left(state))?;
                }
            }
            Step::Hang => {
                wire.peer_gone().await;
                left(state);
                return over(io::ErrorKind::BrokenPipe);
            }
            Step::Close => return over(io::ErrorKind::ConnectionAborted),
            Step::Reset => {
                reset_on_close(&wire.tcp);
                return over(io::ErrorKind::ConnectionAborted);
            }
            Step::ReadBody => {
                request.payload = wire.request_body(&request.head).await.inspect_err(|_| left(state))?;
                let mut requests = state.requests.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(kept) = requests.get_mut(request.index) {
                    kept.payload = request.payload.clone();
                }
            }
        }
    }
    Ok(())
}

fn left(state: &State) {
    state.gone.fetch_add(1, SeqCst);
}
