//! Clients that refuse everything, read nothing, ask for too much, or break off: the others do not notice.

use std::time::{Duration, Instant};

use bowline_tests::{Backend, Control, Mesh, Reply, eventually, service};
use bowline_xds::node::NodeInfo;
use bowline_xds::resource::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status as Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::{client, control, has_mesh};

/// A client in a test's own hands.
struct Stranger {
    says: mpsc::Sender<DeltaDiscoveryRequest>,
    hears: Streaming<DeltaDiscoveryResponse>,
}

fn node(id: &str) -> NodeInfo {
    NodeInfo {
        id: id.to_owned(),
        namespace: "mesh.test".to_owned(),
        zone: None,
        version: "0".to_owned(),
        caller: String::new(),
    }
}

fn first(id: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(id).to_node()),
        type_url: ResourceType::Cluster.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

impl Stranger {
    async fn connect(control: &Control, window: Option<u32>) -> Self {
        let endpoint = Endpoint::from_shared(control.url()).expect("a URL");
        let endpoint = endpoint.initial_stream_window_size(window).initial_connection_window_size(window);
        let channel: Channel = endpoint.connect().await.expect("a connection");
        let (says, said) = mpsc::channel(64);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let hears = client.delta_aggregated_resources(ReceiverStream::new(said)).await.expect("a stream");
        Stranger { says, hears: hears.into_inner() }
    }

    async fn say(&self, request: DeltaDiscoveryRequest) {
        self.says.send(request).await.expect("the stream is open");
    }
}

fn large(backend: &Backend, services: usize) -> Mesh {
    let filler = (0..services).map(|n| service(&format!("filler-{n}")).at(backend));
    Mesh::of(std::iter::once(service("server").at(backend)).chain(filler))
}

fn resident_mb(control: &Control) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", control.id())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") / 1024
}

/// Each push is refused, and asked for again at once: it is sent less and less often.
#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_everything_is_sent_less_and_less() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    let mut stranger = Stranger::connect(&control, None).await;
    stranger.say(first("refuses")).await;
    let (begun, mut heard) = (Instant::now(), 0);
    let mut version = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        // There is always something new to refuse.
        version += 1;
        let timeout = serde_json::json!({ "connectSeconds": 1 + version % 50 });
        control.replace_mesh(service("server").at(&backend).with("timeout", timeout));
        let Ok(response) = tokio::time::timeout(Duration::from_millis(300), stranger.hears.message()).await
        else {
            continue;
        };
        let response = response.expect("a response").expect("the stream stays open");
        heard += 1;
        let why = Refusal { code: 3, message: "not to my liking".to_owned(), ..Refusal::default() };
        let nack = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail: Some(why),
            ..DeltaDiscoveryRequest::default()
        };
        stranger.say(nack).await;
    }
    // 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 3.2 s of silence.
    assert!((2..=8).contains(&heard), "{heard} pushes in five seconds");
    let page = control.page("/clients").await;
    let all = page["clients"].as_array().expect("a list");
    let one = all.iter().find(|client| client["id"] == "refuses").expect("it is there");
    assert!(one["nacks"].as_u64() >= Some(2), "{one}");
    assert_eq!(one["lastNack"], "not to my liking");
    assert_eq!(app.get("server", "/").await.expect(200).status, 200);
}

/// Twenty of them at once, and twenty times everything changes.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_costs_little_and_delays_nobody() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let control = control().mesh(large(&backend, 200)).start().await;
    let app = client(&[&control]).arg("--services").arg("server").start().await;
    has_mesh(&app).await;
    let before = resident_mb(&control);
    let mut deaf = Vec::new();
    for n in 0..20 {
        // The smallest window there can be, and nobody looks at what comes.
        let stranger = Stranger::connect(&control, Some(65_535)).await;
        stranger.say(first(&format!("deaf-{n}"))).await;
        deaf.push(stranger);
    }
    eventually("they are connected", async || {
        (control.page("/clients").await["clients"].as_array()?.len() == 21).then_some(())
    })
    .await;
    for n in 0..20 {
        let moved = serde_json::json!({ "connectSeconds": 2 + n });
        let filler =
            (0..200).map(|n| service(&format!("filler-{n}")).at(&backend).with("timeout", moved.clone()));
        let server = service("server").at(&backend).with("timeout", moved.clone());
        control.replace_mesh(Mesh::of(std::iter::once(server).chain(filler)));
        eventually("the one that reads has it", async || {
            let page = app.page("/config").await;
            (page["mesh"]["services"][0]["timeout"]["connectSeconds"] == 2 + n).then_some(())
        })
        .await;
    }
    let after = resident_mb(&control);
    eprintln!("{before} MB before, {after} MB after");
    assert!(after < before + 60, "{before} MB before, {after} MB after");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_keep_to_the_protocol_is_told_and_cut_off() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    // No node.
    let mut nobody = Stranger::connect(&control, None).await;
    nobody.say(DeltaDiscoveryRequest { node: None, ..first("nobody") }).await;
    let status = nobody.hears.message().await.expect_err("no node");
    assert!(status.message().contains("no node"), "{status}");
    // Far too many names.
    let mut greedy = Stranger::connect(&control, None).await;
    greedy.say(first("greedy")).await;
    let names = (0..10_001).map(|n| format!("name-{n}")).collect();
    let many = DeltaDiscoveryRequest {
        node: None,
        type_url: ResourceType::Endpoint.type_url().to_owned(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    };
    greedy.say(many).await;
    let status = loop {
        match greedy.hears.message().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert!(status.message().contains("more than 10000 names"), "{status}");
    assert!(control.metrics().await.sum("bowline_control_clients_cut_total", &[]) >= 1.0);
    // A stranger that breaks off in the middle leaves nothing behind.
    let gone = Stranger::connect(&control, None).await;
    gone.say(first("gone")).await;
    drop(gone);
    eventually("nobody is connected", async || {
        (control.page("/clients").await["clients"].as_array()?.is_empty()).then_some(())
    })
    .await;
}
