//! Active health checks, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bowline_tests::backend::Received;
use bowline_tests::grpc;
use bowline_tests::mesh::Service;
use bowline_tests::sockets::{BlackHole, refusing};
use bowline_tests::{Backend, H2Backend, Proxy, Raw, Reply, TcpBackend, eventually, service, url};
use serde_json::{Value, json};

/// Often enough for a test, with thresholds of one unless `more` says otherwise.
pub(crate) fn check(way: &Value, more: Value) -> Value {
    let mut check = json!({
        "intervalSeconds": 0.1, "timeoutSeconds": 0.1, "healthyThreshold": 1, "unhealthyThreshold": 1
    });
    for keys in [way.clone(), more] {
        if let (Some(check), Value::Object(keys)) = (check.as_object_mut(), keys) {
            check.extend(keys);
        }
    }
    check
}

pub(crate) fn http(more: Value) -> Value {
    let mut http = json!({ "path": "/ready" });
    if let (Some(http), Value::Object(more)) = (http.as_object_mut(), more) {
        http.extend(more);
    }
    json!({ "http": http })
}

/// Patient enough for a loaded machine.
pub(crate) fn patient() -> Value {
    json!({ "intervalSeconds": 5, "timeoutSeconds": 5 })
}

pub(crate) fn is_check(request: &Received) -> bool {
    request.header("user-agent").is_some_and(|agent| agent.starts_with("bowline-health-check/"))
}

/// A backend whose page says what the switch says.
pub(crate) async fn switched(well: &Arc<AtomicBool>, name: &'static str) -> Backend {
    let well = well.clone();
    Backend::start(move |request| match is_check(request) {
        true if well.load(SeqCst) => Reply::ok("ready"),
        true => Reply::status(500),
        false => Reply::ok(name),
    })
    .await
}

pub(crate) fn calls(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| !is_check(request)).count()
}

pub(crate) fn checks(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| is_check(request)).count()
}

pub(crate) async fn gets(proxy: &Proxy, n: usize) {
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..n {
        raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await.expect(200);
    }
}

pub(crate) async fn health_is(proxy: &Proxy, backend: &Backend, state: &str) -> Value {
    eventually(&format!("{} is {state}", backend.addr()), async || {
        let endpoint = proxy.endpoint(backend.addr()).await?;
        (endpoint["health"]["state"] == state).then_some(endpoint)
    })
    .await
}

fn random(server: Service) -> Service {
    server.with("loadBalancing", json!({ "policy": "random" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_says_it_is_not_well_gets_nothing_and_comes_back() {
    let well = Arc::new(AtomicBool::new(true));
    let (one, other) = (switched(&well, "one").await, Backend::start(|_| Reply::ok("other")).await);
    let server = random(service("server").at(&one).at(&other))
        .with("healthCheck", check(&http(json!({})), json!({ "timeoutSeconds": 0.1 })));
    // The timeout is as short as the interval: a slow machine may miss one, so three bad ones are asked for.
    let mut patient = check(&http(json!({})), json!({ "unhealthyThreshold": 3 }));
    patient["intervalSeconds"] = json!(0.2);
    patient["timeoutSeconds"] = json!(0.2);
    let proxy =
        crate::proxy().arg("--workers").arg("2").mesh(server.with("healthCheck", patient)).start().await;
    health_is(&proxy, &one, "healthy").await;
    let request = one.requests().into_iter().find(is_check).expect("a check");
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/ready"));
    assert_eq!(request.header("host"), Some(one.addr().to_string().as_str()));
    assert_eq!(request.header("connection"), Some("close"));
    well.store(false, SeqCst);
    let page = proxy.endpoint_is(one.addr(), "unhealthy").await;
    assert!(page["health"]["why"].as_str().is_some_and(|why| why.contains("/ready answers 500")), "{page}");
    let line = proxy.logged("endpoint unhealthy").await;
    assert!(line.contains("/ready answers 500") && line.contains(&one.addr().to_string()), "{line}");
    let before = calls(&one);
    gets(&proxy, 60).await;
    assert_eq!(calls(&one), before, "on both workers");
    let addr = one.addr().to_string();
    let labels = [("service", "server"), ("endpoint", addr.as_str())];
    assert_eq!(proxy.metric("bowline_endpoint_healthy", &labels).await, 0.0);
    assert!(proxy.metric("bowline_health_checks_total", &[("result", "failed")]).await >= 3.0);
    let explained = proxy.page(&format!("/explain?url={}", url("server", "/"))).await;
    let not = explained["notCandidates"].to_string();
    assert!(not.contains(&addr) && not.contains("unhealthy: /ready answers 500"), "{explained}");
    well.store(true, SeqCst);
    proxy.endpoint_is(one.addr(), "active").await;
    proxy.logged("endpoint healthy again").await;
    gets(&proxy, 60).await;
    assert!(calls(&one) > before);
    assert_eq!(proxy.metric("bowline_endpoint_healthy", &labels).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_an_answer_can_matter() {
    for (way, reply, well) in [
        (http(json!({})), Reply::ok("x"), true),
        (http(json!({})), Reply::status(204), false),
        (http(json!({ "status": [204, 301] })), Reply::status(301), true),
        (http(json!({ "body": "\"UP\"" })), Reply::ok("{\"status\":\"UP\"}"), true),
        (http(json!({ "body": "\"UP\"" })), Reply::ok("{\"status\":\"DOWN\"}"), false),
        // Beyond 64 KiB nothing is looked at, and a body without end is not waited for.
        (http(json!({ "body": "UP" })), Reply::new(200, &[], [&[b'x'; 70_000][..], b"UP"].concat()), false),
        (http(json!({ "body": "UP" })), Reply::new(200, &[], [&[b'x'; 60_000][..], b"UP"].concat()), true),
        (http(json!({})), Reply::raw("HTTP/1.1 200 OK\r\n\r\n").then(Reply::hang()), true),
        (http(json!({ "body": "UP" })), Reply::raw("HTTP/1.1 200 OK\r\n\r\nUP").then(Reply::hang()), true),
        (http(json!({})), Reply::raw("HTTP/1.0 200 OK\r\n\r\n").then_close(), true),
        (http(json!({})), Reply::close(), false),
        (http(json!({})), Reply::reset(), false),
        (http(json!({})), Reply::raw("no HTTP at all\r\n\r\n").then_close(), false),
        (json!({ "tcp": {} }), Reply::close(), true),
    ] {
        let backend = Backend::start(move |_| reply.clone()).await;
        let server = service("server").at(&backend).with("healthCheck", check(&way, patient()));
        let proxy = crate::proxy().mesh(server).start().await;
        let state = if well { "healthy" } else { "unhealthy" };
        let page = health_is(&proxy, &backend, state).await;
        assert_eq!(page["health"].get("why").is_some(), !well, "{way}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_port_and_host_are_asked() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let beside = Backend::start(|_| Reply::ok("")).await;
    let way = http(json!({ "host": "health.internal" }));
    let more = json!({ "port": beside.addr().port(), "intervalSeconds": 5, "timeoutSeconds": 5 });
    let server = service("server").at(&app).with("healthCheck", check(&way, more));
    let proxy = crate::proxy().mesh(server).start().await;
    health_is(&proxy, &app, "healthy").await;
    assert_eq!((checks(&app), beside.requests()[0].header("host")), (0, Some("health.internal")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_nobody_who_answers_are_unhealthy() {
    let (hole, closed) = (BlackHole::open(), refusing());
    let mute = TcpBackend::start(|_, wire| async move {
        // Accepts, and never says a word.
        let _wire = wire;
        std::future::pending().await
    })
    .await;
    let well = Backend::start(|_| Reply::ok("")).await;
    let server = service("server").at(hole.addr()).at(closed).at(&mute).at(&well);
    let more = json!({ "timeoutSeconds": 1, "intervalSeconds": 1 });
    let server = server.with("healthCheck", check(&http(json!({})), more));
    let server = server.with("loadBalancing", json!({ "policy": "random", "panicPercent": 10 }));
    let proxy = crate::proxy().mesh(server).start().await;
    for (addr, why) in
        [(hole.addr(), "no answer within 1 s"), (closed, "refused"), (mute.addr(), "no answer within 1 s")]
    {
        let page = proxy.endpoint_is(addr, "unhealthy").await;
        let said = page["health"]["why"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{page}");
    }
    assert!(proxy.metric("bowline_health_checks_total", &[("result", "timeout")]).await >= 2.0);
    gets(&proxy, 40).await;
    assert_eq!(proxy.metric("bowline_retries_total", &[("service", "server")]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_asked_by_its_own_protocol() {
    // 1: SERVING, 2: NOT_SERVING.
    let status = Arc::new(AtomicUsize::new(1));
    let now = status.clone();
    let backend = H2Backend::start(move |mut stream| {
        let now = now.clone();
        async move {
            let (body, _) = stream.read().await;
            let asked = stream.head.uri.path() == "/grpc.health.v1.Health/Check";
            let known = grpc::messages(&body) == [b"\x0a\x09shop.Cart".to_vec()];
            match now.load(SeqCst) {
                _ if !asked || !known => grpc::fail(&mut stream, 5),
                12 => grpc::fail(&mut stream, 12),
                status => grpc::answer(&mut stream, &[&[8, status as u8]]),
            }
        }
    })
    .await;
    let more = json!({ "timeoutSeconds": 0.5, "intervalSeconds": 0.5, "unhealthyThreshold": 2 });
    let way = json!({ "grpc": { "service": "shop.Cart" } });
    let server = service("server").at(backend.addr()).with("appProtocol", json!("grpc"));
    let proxy = crate::proxy().mesh(server.with("healthCheck", check(&way, more))).start().await;
    let is = async |state: &str, why: &str| {
        eventually(&format!("it is {state}: {why}"), async || {
            let endpoint = proxy.endpoint(backend.addr()).await?;
            let said = endpoint["health"]["why"].as_str().unwrap_or_default().to_owned();
            (endpoint["health"]["state"] == state && said.contains(why)).then_some(())
        })
        .await;
    };
    is("healthy", "").await;
    status.store(2, SeqCst);
    is("unhealthy", "NOT_SERVING").await;
    status.store(12, SeqCst);
    is("unhealthy", "UNIMPLEMENTED").await;
    status.store(1, SeqCst);
    is("healthy", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_speaks_http2_is_asked_by_it() {
    let backend = H2Backend::start(|mut stream| async move {
        let well = stream.head.uri.path() == "/ready";
        stream.answer(if well { 200 } else { 404 }, &[], b"it is UP");
    })
    .await;
    let way = http(json!({ "body": "UP" }));
    let server = service("server").at(backend.addr()).http2().with("healthCheck", check(&way, patient()));
    let proxy = crate::proxy().mesh(server).start().await;
    proxy.metric_is("bowline_endpoint_healthy", &[("service", "server")], 1.0).await;
    eventually("the connection is closed", async || (backend.accepts() >= 1).then_some(())).await;
}
