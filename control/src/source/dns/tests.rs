//! Against a DNS server over real UDP that knows one name.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::*;

/// Answers every question of type A with these addresses, for one second; `None`: SERVFAIL.
struct Server {
    address: SocketAddr,
    says: Arc<Mutex<Option<Vec<Ipv4Addr>>>>,
}

impl Server {
    async fn start(first: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let says = Arc::new(Mutex::new(Some(first.to_vec())));
        let server = Server { address: socket.local_addr().unwrap(), says: says.clone() };
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let reply = reply(&buffer[..length], says.lock().unwrap().as_deref());
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        server
    }

    fn say(&self, what: Option<&[Ipv4Addr]>) {
        *self.says.lock().unwrap() = what.map(<[_]>::to_vec);
    }
}

fn reply(query: &[u8], addresses: Option<&[Ipv4Addr]>) -> Vec<u8> {
    // The question: labels, a zero byte, type and class.
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let answers = addresses.unwrap_or_default();
    let code = if addresses.is_some() { 0x80 } else { 0x82 };
    let mut out = vec![query[0], query[1], 0x81, code, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
    out.extend(&query[12..end]);
    for address in answers {
        // The name of the question; A, IN, TTL 1, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    out
}

fn mesh(text: &str) -> Arc<Mesh> {
    Arc::new(bowline_api::parse("mesh.yaml", text).unwrap())
}

async fn next(changes: &mut mpsc::Receiver<Change>) -> Change {
    tokio::time::timeout(Duration::from_secs(60), changes.recv()).await.expect("a change").unwrap()
}

/// The next list that is another than `before`.
async fn other(changes: &mut mpsc::Receiver<Change>, before: &[&str]) -> Vec<String> {
    loop {
        if let Change::Endpoints { service, endpoints, settled } = next(changes).await {
            assert_eq!((service.as_str(), settled), ("server", true));
            let found: Vec<_> = endpoints.iter().map(|e| e.address.to_string()).collect();
            if found != before {
                return found;
            }
        }
    }
}

/// The next trouble, with what was found in between.
async fn trouble(changes: &mut mpsc::Receiver<Change>) -> Option<String> {
    loop {
        if let Change::Trouble { service, source, why } = next(changes).await {
            assert_eq!((service.as_deref(), source), (Some("server"), "dns"));
            return why;
        }
    }
}

const SERVED: &str =
    "namespace: a\nservices: [{ discoveryName: server, endpoints: { dns: { name: s.test., port: 80 } } }]\n";
const STATIC: &str = "namespace: a\nservices: [{ discoveryName: server, endpoints: { static: [] } }]\n";

#[tokio::test]
async fn answers_are_endpoints_and_failures_leave_the_last_good_ones() {
    let [one, two] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
    let server = Server::start(&[one]).await;
    let (mesh_of, follow) = watch::channel(mesh(SERVED));
    let (report, mut changes) = mpsc::channel(8);
    tokio::spawn(DnsSource::new(Some(server.address), VipRange::DEFAULT).run(follow, report));

    assert_eq!(other(&mut changes, &[]).await, ["10.0.0.1:80"]);
    server.say(Some(&[one, two]));
    assert_eq!(other(&mut changes, &["10.0.0.1:80"]).await, ["10.0.0.1:80", "10.0.0.2:80"]);
    // Nothing but trouble comes while the server fails: no list, and so the last one stays.
    server.say(None);
    assert!(trouble(&mut changes).await.is_some_and(|why| !why.is_empty()));
    server.say(Some(&[two]));
    assert_eq!(other(&mut changes, &["10.0.0.1:80", "10.0.0.2:80"]).await, ["10.0.0.2:80"]);
    assert_eq!(trouble(&mut changes).await, None);
    // Trouble of a service that asks DNS no more is over.
    server.say(None);
    assert!(trouble(&mut changes).await.is_some());
    mesh_of.send(mesh(STATIC)).unwrap();
    while trouble(&mut changes).await.is_some() {}
    // Without a mesh to follow there is nothing to do.
    drop(mesh_of);
    assert!(tokio::time::timeout(Duration::from_secs(20), changes.recv()).await.expect("an end").is_none());
}
