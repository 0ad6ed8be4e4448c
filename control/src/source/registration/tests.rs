//! The service on a real port, called by a gRPC client; time is real where a lease runs.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_xds::registration::{
    Announce, Heartbeat, REGISTER_PATH, RegisterRequest, RegisterResponse, Say, Withdraw,
};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::*;
use crate::store::StoreConfig;

const MESH: &str = "
namespace: a
services:
  - { discoveryName: server, endpoints: { registered: {} } }
  - { discoveryName: other, endpoints: { registered: {} } }
  - { discoveryName: fixed, endpoints: { static: [] } }
";

struct Control {
    at: SocketAddr,
    changes: mpsc::Receiver<Change>,
    mesh: watch::Sender<Arc<Mesh>>,
}

fn mesh(text: &str) -> Arc<Mesh> {
    Arc::new(bowline_api::parse("mesh.yaml", text).unwrap())
}

impl Control {
    async fn start(tokens: Tokens) -> Self {
        let store = Store::open(&StoreConfig { store: "memory".to_owned(), state_dir: None }).await.unwrap();
        let (mesh, follow) = watch::channel(mesh(MESH));
        let (source, server) =
            RegistrationSource::new(Arc::new(store), tokens, follow.clone(), VipRange::DEFAULT);
        let (report, changes) = mpsc::channel(64);
        tokio::spawn(source.run(follow, report));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(
            Server::builder().add_service(server).serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Control { at, changes, mesh }
    }

    /// The next list of a service for which this holds.
    async fn wait(&mut self, service: &str, holds: impl Fn(&[String], bool) -> bool) -> Vec<String> {
        let look = async {
            loop {
                let change = self.changes.recv().await.expect("a change");
                if let Change::Endpoints { service: of, endpoints, settled } = change
                    && of == service
                {
                    // Weight 0: known to be gone while the list is not settled.
                    let called = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
                    let shown: Vec<_> = called.map(|e| format!("{}*{}", e.address, e.weight)).collect();
                    if holds(&shown, settled) {
                        return shown;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(200), look).await.expect("it never came")
    }
}

struct Client {
    say: mpsc::Sender<RegisterRequest>,
    answers: Streaming<RegisterResponse>,
}

fn announce(service: &str, port: u16, weight: u32) -> RegisterRequest {
    let (service, address) = (service.to_owned(), format!("127.0.0.1:{port}"));
    RegisterRequest { say: Some(Say::Announce(Announce { service, address, weight, ..Announce::default() })) }
}

impl Client {
    async fn start(at: SocketAddr, token: Option<&str>) -> Self {
        let channel: Channel =
            Endpoint::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap();
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.unwrap();
        let (say, said) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(said));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let codec = ProstCodec::<RegisterRequest, RegisterResponse>::default();
        let path = PathAndQuery::from_static(REGISTER_PATH);
        let answers = grpc.streaming(request, path, codec).await.unwrap().into_inner();
        Client { say, answers }
    }

    async fn say(&self, say: RegisterRequest) {
        self.say.send(say).await.unwrap();
    }

    async fn heartbeat(&self) {
        self.say(RegisterRequest { say: Some(Say::Heartbeat(Heartbeat {})) }).await;
    }

    async fn withdraw(&self) {
        self.say(RegisterRequest { say: Some(Say::Withdraw(Withdraw {})) }).await;
    }

    async fn answer(&mut self) -> Result<Option<RegisterResponse>, Status> {
        tokio::time::timeout(Duration::from_secs(20), self.answers.message()).await.expect("an answer")
    }
}

async fn refused(at: SocketAddr, token: Option<&str>, service: &str) -> (Code, String) {
    let mut client = Client::start(at, token).await;
    client.say(announce(service, 80, 1)).await;
    let status = client.answer().await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_task_comes_changes_and_goes() {
    let mut control = Control::start(Tokens::default()).await;
    // What is known at the start may not be all.
    control.wait("server", |list, settled| list.is_empty() && !settled).await;
    let mut task = Client::start(control.at, None).await;
    task.say(announce("server", 9001, 1)).await;
    let answer = task.answer().await.unwrap().unwrap();
    assert_eq!((answer.lease_seconds, answer.address.as_str()), (15, "127.0.0.1:9001"));
    control.wait("server", |list, _| list == ["127.0.0.1:9001*1"]).await;
    // It says something else of itself, on the same stream; then it moves.
    task.say(announce("server", 9001, 5)).await;
    control.wait("server", |list, _| list == ["127.0.0.1:9001*5"]).await;
    task.say(announce("server", 9002, 1)).await;
    control.wait("server", |list, _| list == ["127.0.0.1:9002*1"]).await;
    let second = Client::start(control.at, None).await;
    second.say(announce("server", 9003, 1)).await;
    control.wait("server", |list, _| list.len() == 2).await;
    task.withdraw().await;
    control.wait("server", |list, _| list == ["127.0.0.1:9003*1"]).await;
    // The stream ends well: nothing but answers to the three announcements was in it.
    for _ in 0..2 {
        task.answer().await.unwrap().unwrap();
    }
    assert_eq!(task.answer().await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_it_to_the_lease_and_a_heartbeat_keeps_it() {
    let mut control = Control::start(Tokens::default()).await;
    let broken = Client::start(control.at, None).await;
    broken.say(announce("server", 9001, 1)).await;
    let alive = Client::start(control.at, None).await;
    alive.say(announce("server", 9002, 1)).await;
    control.wait("server", |list, _| list.len() == 2).await;
    let begun = tokio::time::Instant::now();
    drop(broken);
    let beat = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_secs(2));
        loop {
            every.tick().await;
            alive.heartbeat().await;
        }
    });
    // The first lease of the process ends before any other: the lists are complete, also those that nothing happens to.
    control.wait("other", |list, settled| list.is_empty() && settled).await;
    control.wait("server", |list, settled| list == ["127.0.0.1:9002*1"] && settled).await;
    // Not at once: fourteen seconds of the fifteen at least.
    assert!(begun.elapsed() > Duration::from_secs(14), "{:?}", begun.elapsed());
    beat.abort();
}

#[tokio::test]
async fn a_new_stream_takes_over_from_an_old_one() {
    let mut control = Control::start(Tokens::default()).await;
    let mut old = Client::start(control.at, None).await;
    old.say(announce("server", 9001, 1)).await;
    old.answer().await.unwrap().unwrap();
    let mut new = Client::start(control.at, None).await;
    new.say(announce("server", 9001, 2)).await;
    new.answer().await.unwrap().unwrap();
    control.wait("server", |list, _| list == ["127.0.0.1:9001*2"]).await;
    old.heartbeat().await;
    assert_eq!(old.answer().await.unwrap_err().code(), Code::Aborted);
    new.withdraw().await;
    control.wait("server", |list, _| list.is_empty()).await;
}

#[tokio::test]
async fn who_may_not_is_told_why() {
    let control = Control::start(Tokens::default()).await;
    let (code, why) = refused(control.at, None, "servr").await;
    assert!(code == Code::NotFound && why.contains("did you mean \"server\"?"), "{why}");
    let (code, why) = refused(control.at, None, "fixed").await;
    assert!(code == Code::FailedPrecondition && why.contains("registered: {}"), "{why}");
    let mut early = Client::start(control.at, None).await;
    early.heartbeat().await;
    assert_eq!(early.answer().await.unwrap_err().code(), Code::FailedPrecondition);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    std::fs::write(&file, "server: token-of-server\n").unwrap();
    let mut control = Control::start(Tokens::load(&file).unwrap()).await;
    assert_eq!(refused(control.at, None, "server").await.0, Code::Unauthenticated);
    assert_eq!(refused(control.at, Some("another-token"), "server").await.0, Code::PermissionDenied);
    assert_eq!(refused(control.at, Some("token-of-server"), "other").await.0, Code::PermissionDenied);
    let task = Client::start(control.at, Some("token-of-server")).await;
    task.say(announce("server", 9001, 1)).await;
    control.wait("server", |list, _| list == ["127.0.0.1:9001*1"]).await;
}

#[tokio::test]
async fn a_service_that_becomes_registered_is_reported() {
    let mut control = Control::start(Tokens::default()).await;
    let more = MESH.replace("static: []", "registered: {}");
    control.mesh.send(mesh(&more)).unwrap();
    control.wait("fixed", |list, _| list.is_empty()).await;
    let task = Client::start(control.at, None).await;
    task.say(announce("fixed", 9001, 1)).await;
    control.wait("fixed", |list, _| list.len() == 1).await;
    // Whoever listens has forgotten it meanwhile.
    control.mesh.send(mesh(MESH)).unwrap();
    control.mesh.send(mesh(&more)).unwrap();
    control.wait("fixed", |list, _| list.len() == 1).await;
}
