//! The live picture: what proxies report, as it is shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bowline_api::admin::Explanation;
use bowline_api::picture::{Endpoint, Failure, History, Picture, Service};
use bowline_tests::{
    Backend, BackendProcess, Control, Load, Mesh, Proxy, Raw, Reply, authority, eventually, service, url,
};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{BACKEND, client, control, has_mesh, registered};

async fn get<T: DeserializeOwned>(control: &Control, path: &str) -> T {
    serde_json::from_value(control.page(path).await).expect("the page is as it is documented")
}

async fn picture(control: &Control) -> Picture {
    get(control, "/picture").await
}

async fn explain(control: &Control, name: &str) -> Explanation {
    let url = url(name, "/path").replace(':', "%3A").replace('/', "%2F");
    get(control, &format!("/explain?url={url}")).await
}

fn find<'a>(picture: &'a Picture, service: &str) -> &'a Service {
    picture.services.iter().find(|one| one.service == service).expect("it is in the mesh")
}

async fn named(control: &Control, id: &str) -> Proxy {
    let proxy = client(&[control]).arg("--node-id").arg(id).start().await;
    has_mesh(&proxy).await;
    proxy
}

/// A balancer that looks at failures leaves an endpoint alone, for seconds, before there are enough of them to eject it.
fn in_turns() -> Value {
    json!({ "policy": "roundRobin" })
}

/// One endpoint of three dies: the picture says which, how many proxies have ejected it, and why.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_endpoint_shows_with_its_reason() {
    let stay = [BackendProcess::start(BACKEND).await, BackendProcess::start(BACKEND).await];
    let mut dies = BackendProcess::start(BACKEND).await;
    let dead = dies.addr();
    let server = service("server").at(&stay[0]).at(&stay[1]).at(&dies);
    let ejections = json!({ "consecutiveFailures": 3, "baseEjectionSeconds": 5 });
    let server = server.with("outlierDetection", ejections).with("loadBalancing", in_turns());
    let control = control().mesh(server).start().await;
    let proxies = [named(&control, "app-1").await, named(&control, "app-2").await];
    let loads = proxies.each_ref().map(|proxy| Load::start(proxy.outbound, &url("server", "/"), 100, 4));
    let of = |picture: &Picture| -> Endpoint {
        let endpoints = &find(picture, "server").endpoints;
        endpoints.iter().find(|endpoint| endpoint.address == dead).cloned().expect("it is in the mesh")
    };
    let before = eventually("all three are called", async || {
        let picture = picture(&control).await;
        let server = find(&picture, "server");
        let called = server.endpoints.iter().all(|endpoint| endpoint.requests_per_second > 5.0);
        (called && server.requests_per_second > 150.0).then_some(picture)
    })
    .await;
    let server = find(&before, "server");
    assert_eq!(server.success_ratio, Some(1.0), "{server:?}");
    assert!(server.requests_per_second < 250.0, "two hundred a second are sent: {server:?}");
    assert!(
        server.p50_milliseconds <= server.p95_milliseconds && server.p95_milliseconds.is_some(),
        "{server:?}"
    );
    assert_eq!((of(&before).state.as_str(), of(&before).seen_by), ("active", 2));
    assert_eq!((server.source.as_str(), server.held, server.settled), ("static", false, true));
    assert_eq!(server.aliases, [authority("server")]);

    dies.kill().await;
    eventually("both have ejected it", async || {
        let endpoint = of(&picture(&control).await);
        (endpoint.state == "ejected" && endpoint.ejected_by == 2).then_some(())
    })
    .await;
    let failures = eventually("its failures are there", async || {
        let failures = picture(&control).await.failures;
        let has = |reason: &str| failures.iter().any(|f| f.reason == reason && f.endpoint == Some(dead));
        (has("connect_failure") && has("ejected")).then_some(failures)
    })
    .await;
    let is_refusal = |f: &&Failure| f.reason == "connect_failure" && f.endpoint == Some(dead);
    let refused = failures.iter().find(is_refusal).expect("it is there");
    assert!(
        refused.proxy.starts_with("app-") && refused.service == "server" && refused.times >= 1,
        "{refused:?}"
    );
    assert!(!refused.told, "it was tried again elsewhere");
    assert!(refused.detail.contains("refused"), "{refused:?}");
    let explained: Explanation = explain(&control, "server").await;
    assert_eq!(explained.service.as_deref(), Some("server"));
    for load in loads {
        load.stop().await.assert_none_failed(100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_comes_back_is_active_again() {
    let well = Arc::new(AtomicBool::new(false));
    let answers = well.clone();
    let good = Backend::start(|_| Reply::ok("")).await;
    let bad = Backend::start(move |_| Reply::status(if answers.load(Relaxed) { 200 } else { 503 })).await;
    let ejections = json!({ "consecutiveFailures": 3, "baseEjectionSeconds": 2 });
    let server = service("server").at(&good).at(&bad).with("outlierDetection", ejections);
    let server = server.with("loadBalancing", in_turns());
    let control = control().mesh(server).start().await;
    let proxy = named(&control, "app").await;
    let load = Load::start(proxy.outbound, &url("server", "/"), 100, 4);
    let state = async || {
        let picture = picture(&control).await;
        let endpoints = &find(&picture, "server").endpoints;
        endpoints.iter().find(|endpoint| endpoint.address == bad.addr()).expect("it is there").state.clone()
    };
    eventually("it is ejected", async || (state().await == "ejected").then_some(())).await;
    let failures = picture(&control).await.failures;
    assert!(failures.iter().any(|failure| failure.reason == "status_503"), "{failures:?}");
    well.store(true, Relaxed);
    eventually("it is active again", async || (state().await == "active").then_some(())).await;
    load.stop().await.assert_none_failed(20);
}

/// Two tasks that call each other; one of them goes.
#[tokio::test(flavor = "multi_thread")]
async fn who_calls_whom_is_shown_and_who_goes_disappears() {
    let [a, b] = Backend::several(|_, _| Reply::ok("")).await;
    let control = control().mesh(Mesh::of([registered("a"), registered("b")])).start().await;
    let task = async |name: &str, backend: &Backend| {
        let proxy = client(&[&control]).arg("--node-id").arg(format!("task-{name}"));
        let proxy = proxy.register(name, backend.addr()).start().await;
        control.has_endpoints(name, 1).await;
        proxy
    };
    let (at_a, at_b) = (task("a", &a).await, task("b", &b).await);
    let call = async |proxy: &Proxy, service: &str| {
        eventually("it is called", async || (proxy.get(service, "/").await.status == 200).then_some(()))
            .await;
    };
    let calls = eventually("both edges are there", async || {
        call(&at_a, "b").await;
        call(&at_b, "a").await;
        let calls = picture(&control).await.calls;
        (calls.len() >= 2).then_some(calls)
    })
    .await;
    let edges: Vec<_> = calls.iter().map(|call| (call.from.as_str(), call.to.as_str())).collect();
    assert_eq!(edges, [("a", "b"), ("b", "a")]);
    assert!(
        calls.iter().all(|call| call.requests_per_second > 0.0 && call.p50_milliseconds.is_some()),
        "{calls:?}"
    );
    let both = picture(&control).await;
    let callers: Vec<_> = both.callers.iter().map(|c| (c.caller.as_str(), c.proxies.join(" "))).collect();
    assert_eq!(callers, [("a", "task-a".to_owned()), ("b", "task-b".to_owned())]);
    let proxy = both.proxies.iter().find(|proxy| proxy.id == "task-b").expect("it is connected");
    assert_eq!((proxy.kind.as_str(), proxy.caller.as_str()), ("bowline", "b"));
    assert!(proxy.reported_seconds_ago.is_some_and(|ago| ago < 15.0), "{proxy:?}");
    assert_eq!(find(&both, "a").endpoints[0].seen_by, 1);

    drop(at_b);
    let left = eventually("the other one is gone, with all that stood with it", async || {
        let picture = picture(&control).await;
        let gone = picture.proxies.len() == 1 && find(&picture, "a").endpoints.iter().all(|e| e.seen_by == 0);
        gone.then_some(picture)
    })
    .await;
    assert_eq!(left.proxies[0].id, "task-a");
    assert_eq!(left.callers.len(), 1);
}

/// A load reporting client in a test's own hands.
struct Reporter {
    says: mpsc::Sender<LoadStatsRequest>,
    hears: Streaming<LoadStatsResponse>,
}

impl Reporter {
    async fn connect(control: &Control) -> Self {
        let mut client = LoadReportingServiceClient::connect(control.url()).await.expect("a connection");
        let (says, said) = mpsc::channel(4);
        let node = Node { id: "envoy-1".into(), cluster: "web".into(), ..Node::default() };
        let first = LoadStatsRequest { node: Some(node), cluster_stats: Vec::new() };
        says.send(first).await.expect("there is room");
        let hears = client.stream_load_stats(ReceiverStream::new(said)).await.expect("a stream").into_inner();
        Reporter { says, hears }
    }

    /// The next interval that is asked for, in seconds.
    async fn wanted(&mut self) -> i64 {
        let answer = bowline_tests::wait::within("the control plane asks for reports", self.hears.message());
        let answer = answer.await.expect("no error").expect("the stream goes on");
        assert!(answer.send_all_clusters && answer.report_endpoint_granularity, "{answer:?}");
        answer.load_reporting_interval.expect("an interval").seconds
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reports_is_asked_for_more_while_somebody_looks() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let mut envoy = Reporter::connect(&control).await;
    assert_eq!(envoy.wanted().await, 10);
    assert_eq!(picture(&control).await.calls, []);
    assert_eq!(envoy.wanted().await, 1, "somebody looks");
    let calls = eventually("its calls are there", async || {
        let locality = UpstreamLocalityStats {
            total_successful_requests: 30,
            total_error_requests: 10,
            ..UpstreamLocalityStats::default()
        };
        let stats = ClusterStats {
            cluster_name: "server".into(),
            upstream_locality_stats: vec![locality],
            ..ClusterStats::default()
        };
        let report = LoadStatsRequest { node: None, cluster_stats: vec![stats] };
        envoy.says.send(report).await.expect("it listens");
        let calls = picture(&control).await.calls;
        (!calls.is_empty()).then_some(calls)
    })
    .await;
    assert_eq!((calls[0].from.as_str(), calls[0].to.as_str()), ("web", "server"));
    assert_eq!(calls[0].success_ratio, Some(0.75));
    assert_eq!(calls[0].p50_milliseconds, None, "it says nothing of latencies");
}

/// Where a mesh may be tried, reports come every second all the time: it is judged by them.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_tries_meshes_always_wants_reports() {
    let control = control().arg("--hold-back").arg("10").start().await;
    assert_eq!(Reporter::connect(&control).await.wanted().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_what_it_asks_for_are_served() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let ask = async |path: &str, accept: &str| {
        let mut raw = Raw::connect(control.admin).await;
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nAccept: {accept}\r\n\r\n");
        raw.call(head).await
    };
    let kind = |answer: &bowline_tests::Answer| answer.header("content-type").unwrap_or_default().to_owned();
    assert_eq!(kind(&ask("/", "*/*").await), "text/plain; charset=utf-8");
    for path in ["/", "/ui"] {
        let page = ask(path, "text/html,*/*;q=0.8").await;
        assert_eq!(kind(page.expect(200)), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'self'"), "{policy}");
    }
    assert_eq!(kind(ask("/ui/page.js", "*/*").await.expect(200)), "text/javascript; charset=utf-8");
    assert_eq!(kind(ask("/ui/page.css", "*/*").await.expect(200)), "text/css; charset=utf-8");
    assert_eq!(ask("/ui/other.js", "*/*").await.status, 404);

    let all: History = get(&control, "/history").await;
    assert_eq!((all.service, all.step_seconds), (None, 10));
    let one: History = get(&control, "/history?service=server").await;
    assert_eq!(one.service.as_deref(), Some("server"));
    let wrong = control.admin("GET", "/history?service=servr", "").await;
    assert!(wrong.expect(404).text().contains("did you mean server?"), "{}", wrong.text());

    let explained: Explanation = explain(&control, "server").await;
    assert_eq!(explained.candidates, [backend.addr()]);
    let meant = format!("did you mean {}?", authority("server"));
    let unknown: Explanation = explain(&control, "servr").await;
    assert!(unknown.service.is_none() && unknown.steps[0].contains(&meant), "{unknown:?}");
    for query in ["", "?url=server.mesh.test"] {
        let wrong = control.admin("GET", &format!("/explain{query}"), "").await;
        assert!(wrong.expect(400).text().contains("http://server.hello-world.com:5000/"), "{}", wrong.text());
    }
}
