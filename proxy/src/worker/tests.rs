use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bowline_api::vip::VipRange;
use bowline_core::Tick;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};

use super::{Handle, Shared, normalise, spawn};
use crate::descriptors::Downstream as Place;
use crate::drain::{self, Drain};
use crate::listen::Arrival;
use crate::snapshot::{Published, Snapshot};

/// How a test makes a request's task panic: nothing that a client sends is known to.
const PANIC: &str = "x-panic-for-a-test";

/// Panics if the request wants it to, when it has got all that an attempt holds.
pub(crate) fn panic_on(head: &http::request::Parts) {
    assert!(!head.headers.contains_key(PANIC), "as this test wants it");
}

#[test]
fn authorities_are_normalised() {
    assert_eq!(normalise("Server.Hello-World.com:5000"), "server.hello-world.com:5000");
    assert_eq!(normalise("server.hello-world.com"), "server.hello-world.com:80");
    assert_eq!(normalise("server.hello-world.com."), "server.hello-world.com:80");
    assert_eq!(normalise("a.:1"), "a:1");
}

/// Answers every request with 200, a thread a connection; those for `/held` when the gate is dropped.
fn endpoint() -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (gate, behind): (_, Receiver<()>) = channel();
    let behind = Arc::new(Mutex::new(behind));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let behind = behind.clone();
            thread::spawn(move || {
                let mut stream = stream;
                while let Some(head) = read_head(&mut stream) {
                    if head.starts_with("GET /held ") {
                        let _ = behind.lock().unwrap().recv();
                    }
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (addr, gate)
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// `more`: other keys of the service.
fn worker(endpoint: SocketAddr, more: &str) -> (Handle, Drain) {
    let mesh = format!(
        "namespace: mesh.test\nservices:\n  - discoveryName: server\n    clientAliases: [{{ dnsName: server.mesh.test, \
         port: 80 }}]\n    endpoints: {{ static: [{{ address: \"{endpoint}\" }}] }}\n{more}"
    );
    let mesh = bowline_api::mesh_file::parse("mesh.yaml", &mesh).unwrap();
    let vips = BTreeMap::from([("server.mesh.test".to_owned(), Ipv4Addr::new(127, 255, 0, 7))]);
    let snapshot = Snapshot::new(mesh, &vips, &BTreeMap::new(), None, Tick::default());
    let (drain, signal) = drain::channel();
    let shared = Shared {
        published: Arc::new(Published::new(snapshot)),
        drain: signal,
        listeners: Arc::default(),
        vip_range: VipRange::DEFAULT,
        observers: crate::record::Observers::new().0,
        tracing: None,
        propagators: bowline_otlp::Propagators::default(),
        failures: Arc::default(),
        here: Arc::new(crate::snapshot::Here::new(None, None)),
    };
    (spawn(0, shared, 1).unwrap(), drain)
}

/// A client's connection that the worker carries.
fn connect(worker: &Handle) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let accepted = listener.accept().unwrap().0;
    accepted.set_nonblocking(true).unwrap();
    worker.connection(accepted, Arrival::ForwardProxy, Place::try_count().unwrap());
    client
}

fn get(client: &mut TcpStream, more: &str) -> Option<String> {
    write!(client, "GET / HTTP/1.1\r\nHost: server.mesh.test\r\n{more}\r\n").unwrap();
    let head = read_head(client)?;
    client.read_exact(&mut [0; 2]).unwrap();
    Some(head)
}

/// Case 24. One connection's task dies of a bug; the others, the worker and its pool live on, and it is counted.
#[test]
fn a_panic_ends_one_connection_and_no_other() {
    let (worker, _drain) = worker(endpoint().0, "");
    let (mut good, mut bad) = (connect(&worker), connect(&worker));
    assert!(get(&mut good, "").unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(&mut bad, "").unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(get(&mut bad, &format!("{PANIC}: 1\r\n")), None, "its connection is closed");
    assert!(get(&mut good, "").unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(&mut connect(&worker), "").unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(worker.counters.panics.get(), 1);
    let begun = Instant::now();
    while worker.counters.connections.get() > 1 && begun.elapsed() < Duration::from_secs(30) {
        thread::yield_now();
    }
    assert_eq!(worker.counters.connections.get(), 1, "the one that is still open");
}

/// A client's connection over HTTP/2.
struct Http2(SendRequest<Bytes>);

impl Http2 {
    async fn connect(worker: &Handle) -> Self {
        let client = connect(worker);
        client.set_nonblocking(true).unwrap();
        let (sender, io) =
            h2::client::handshake(tokio::net::TcpStream::from_std(client).unwrap()).await.unwrap();
        tokio::spawn(io);
        Http2(sender)
    }

    fn get(&mut self, path: &str, panic: bool) -> ResponseFuture {
        let mut request = http::Request::get(format!("http://server.mesh.test{path}"));
        if panic {
            request = request.header(PANIC, "1");
        }
        self.0.send_request(request.body(()).unwrap(), true).unwrap().0
    }
}

/// The status of a response; an error: the stream was reset.
async fn status(response: ResponseFuture) -> Result<u16, h2::Error> {
    let response = tokio::time::timeout(Duration::from_secs(30), response).await.expect("an end");
    response.map(|response| response.status().as_u16())
}

/// Case 24, over HTTP/2: one stream's task dies; the other streams of its connection go on.
#[tokio::test]
async fn a_panic_ends_one_stream_and_no_other() {
    let (endpoint, gate) = endpoint();
    let (worker, _drain) = worker(endpoint, "    appProtocol: http\n");
    let mut client = Http2::connect(&worker).await;
    let held = client.get("/held", false);
    assert_eq!(status(client.get("/", false)).await.unwrap(), 200);
    let error = status(client.get("/", true)).await.unwrap_err();
    assert!(error.is_reset() && error.is_remote(), "{error}");
    assert_eq!(worker.counters.panics.get(), 1);
    assert_eq!(status(client.get("/", false)).await.unwrap(), 200);
    drop(gate);
    assert_eq!(status(held).await.unwrap(), 200);
    assert_eq!(worker.counters.panics.get(), 1, "counted once");
    assert_eq!(worker.counters.connections.get(), 1);
}

/// What a request has taken of the limits comes back when its task dies, over either protocol.
#[tokio::test]
async fn a_panic_gives_back_the_place_of_its_request() {
    let (worker, _drain) = worker(endpoint().0, "    appProtocol: http\n    limits: { maxRequests: 1 }\n");
    let mut client = Http2::connect(&worker).await;
    for n in 1..=3 {
        assert_eq!(get(&mut connect(&worker), &format!("{PANIC}: 1\r\n")), None, "its connection is closed");
        assert!(get(&mut connect(&worker), "").unwrap().starts_with("HTTP/1.1 200"));
        status(client.get("/", true)).await.unwrap_err();
        assert_eq!(status(client.get("/", false)).await.unwrap(), 200);
        assert_eq!(worker.counters.panics.get(), 2 * n);
    }
}
