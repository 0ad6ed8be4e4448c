//! The limits of a service: how much is in use at a time, who waits, who is turned away, and that every place comes back.

use std::time::Duration;

use bowline_tests::grpc::{self, CALL, message};
use bowline_tests::h2_client::request;
use bowline_tests::sockets::refusing;
use bowline_tests::wait::within;
use bowline_tests::{
    Backend, Crowd, Gate, H2Backend, H2Client, Mesh, Proxy, Raw, Reply, authority, eventually, seeded,
    service, url,
};
use serde_json::json;
use tokio::task::JoinSet;

const NO_TIME: Duration = Duration::ZERO;

pub(crate) fn get(service: &str, path: &str) -> String {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url(service, path), authority(service))
}

/// Sends a GET on a connection of its own and leaves its answer for later.
async fn send(proxy: &Proxy, path: &str) -> Raw {
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(get("server", path)).await;
    raw
}

pub(crate) async fn waiting(proxy: &Proxy, n: usize) {
    proxy.metric_is("bowline_requests_waiting", &[], n as f64).await;
}

pub(crate) async fn in_flight(proxy: &Proxy, n: usize) {
    proxy.metric_is("bowline_limit_in_use", &[("limit", "requests")], n as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_max_requests_are_at_the_endpoints_at_once() {
    for workers in ["1", "3"] {
        let crowd = Crowd::with_desks(100);
        let inside = crowd.clone();
        let backends: [Backend; 2] =
            Backend::several(move |_, _| Reply::ok("well").through(&inside, Duration::from_millis(2))).await;
        let server = service("server").at_all(&backends).limits(1000, 1000, 5);
        let proxy = crate::proxy().arg("--workers").arg(workers).mesh(server).start().await;
        let mut clients = JoinSet::new();
        for _ in 0..40 {
            let mut raw = Raw::connect(proxy.outbound).await;
            clients.spawn(async move {
                for _ in 0..15 {
                    raw.call(get("server", "/")).await.expect(200);
                }
            });
        }
        clients.join_all().await;
        assert_eq!(crowd.most(), 5, "{workers} workers");
        in_flight(&proxy, 0).await;
        waiting(&proxy, 0).await;
        let waited = &proxy.metrics().await.families["bowline_queue_duration_seconds"];
        let count = waited.samples.iter().find(|sample| sample.name.ends_with("_count"));
        assert!(count.expect("it is there").value > 100.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_served_in_the_order_of_coming() {
    let crowd = Crowd::with_desks(0);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, NO_TIME)).await;
    let proxy = crate::proxy()
        .arg("--workers")
        .arg("3")
        .mesh(service("server").at(&backend).limits(9, 99, 1))
        .start()
        .await;
    let mut clients = vec![send(&proxy, "/0").await];
    crowd.counts(1).await;
    for n in 1..8 {
        // Each on a connection of its own, on all of the workers.
        clients.push(send(&proxy, &format!("/{n}")).await);
        waiting(&proxy, n).await;
    }
    crowd.open(1);
    for client in &mut clients {
        client.response().await.expect(200);
    }
    let paths: Vec<_> = backend.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(paths, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_queue_requests_are_turned_away_with_the_limit_in_words() {
    let crowd = Crowd::with_desks(0);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, NO_TIME)).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).limits(9, 1, 1)).start().await;
    let mut first = send(&proxy, "/").await;
    crowd.counts(1).await;
    let mut second = send(&proxy, "/").await;
    waiting(&proxy, 1).await;
    let shed = proxy.get("server", "/").await;
    assert_eq!(shed.expect(503).header("x-bowline-error"), Some("overloaded"));
    assert_eq!(shed.header("retry-after"), Some("1"));
    for words in [
        "service server",
        "1 requests in flight (maxRequests)",
        "1 wait (maxPendingRequests)",
        "raise its limits",
    ] {
        assert!(shed.text().contains(words), "{words}: {}", shed.text());
    }
    let h2 = H2Client::connect(proxy.outbound).await;
    let shed = h2.call(request("GET", "server", "/", &[]), b"").await;
    assert_eq!((shed.status, shed.field("x-bowline-error")), (503, Some("overloaded")));
    let shed = h2.call(request("POST", "server", "/pkg.Greeter/Hello", CALL), &message(b"hi")).await;
    // Not UNAVAILABLE, which callers would try again.
    assert_eq!((shed.status, shed.field("grpc-status")), (200, Some("8")));
    assert!(shed.field("grpc-message").expect("one").contains("maxRequests"), "{shed:?}");
    assert_eq!(proxy.metric("bowline_shed_total", &[("reason", "queue_full")]).await, 3.0);
    assert_eq!(proxy.metric("bowline_local_responses_total", &[("reason", "overloaded")]).await, 3.0);
    let limits = &proxy.page("/services").await["services"][0]["limits"];
    assert_eq!(limits["requests"], 1);
    assert_eq!((&limits["maxPendingRequests"], &limits["pendingRequests"]), (&json!(1), &json!(1)));
    crowd.open(1);
    first.response().await.expect(200);
    second.response().await.expect(200);
    // None of it was the endpoint's fault.
    assert_eq!(proxy.endpoint(backend.addr()).await.expect("it is there")["consecutiveFailures"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_gives_its_place_in_the_queue_up() {
    let crowd = Crowd::with_desks(0);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, NO_TIME)).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).limits(9, 2, 1)).start().await;
    let mut first = send(&proxy, "/first").await;
    crowd.counts(1).await;
    let gone = send(&proxy, "/gone").await;
    waiting(&proxy, 1).await;
    let h2 = H2Client::connect(proxy.outbound).await;
    let (response, mut stream) =
        h2.open(request("GET", "server", "/gone", &[]), true).await.expect("a stream");
    waiting(&proxy, 2).await;
    drop(gone);
    waiting(&proxy, 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    waiting(&proxy, 0).await;
    let mut last = send(&proxy, "/last").await;
    waiting(&proxy, 1).await;
    crowd.open(1);
    first.response().await.expect(200);
    last.response().await.expect(200);
    assert!(backend.requests().iter().all(|request| request.target != "/gone"));
    in_flight(&proxy, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_no_longer_than_it_could_be_answered() {
    let backend = Backend::start(|_| Reply::hang()).await;
    let server = service("server")
        .at(&backend)
        .limits(9, 9, 1)
        .with("timeout", json!({ "responseHeadersSeconds": 1 }));
    let proxy = crate::proxy().mesh(server.clone().retry(json!({ "retries": 0 }))).start().await;
    let mut first = Raw::connect(proxy.outbound).await;
    // A request whose body is not complete is not late.
    first
        .send(format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe", url("server", "/")))
        .await;
    in_flight(&proxy, 1).await;
    let shed = proxy.get("server", "/").await;
    assert_eq!(shed.expect(503).header("x-bowline-error"), Some("overloaded"));
    assert!(shed.text().contains("has waited for 0.5"), "{}", shed.text());
    assert_eq!(proxy.metric("bowline_shed_total", &[("reason", "waited_too_long")]).await, 1.0);
}

/// Every way in which a request can end gives its place back.
#[tokio::test(flavor = "multi_thread")]
async fn places_come_back_however_a_request_ends() {
    let mut rng = seeded();
    let backend = Backend::start(|request| {
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
        match request.target.as_str() {
            "/reset" => Reply::reset(),
            "/close" => Reply::close(),
            "/garbage" => Reply::raw("SSH-2.0\r\n\r\n").then(Reply::hang()),
            "/hang" => Reply::hang(),
            "/half" => Reply::raw(half).then_close(),
            "/half-reset" => Reply::raw(half).then(Reply::reset()),
            "/half-hang" => Reply::raw(half).then(Reply::hang()),
            "/error" => Reply::status(503),
            _ => Reply::ok("well"),
        }
    })
    .await;
    let server = service("server")
        .at_all([backend.addr(), refusing()])
        .no_ejections()
        .retry(json!({}))
        .limits(6, 50, 4)
        .with("timeout", json!({ "responseHeadersSeconds": 2, "perAttemptSeconds": 0.1 }));
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(server).start().await;
    let ends = ["/reset", "/close", "/garbage", "/hang", "/half", "/half-reset", "/half-hang", "/error", "/"];
    let mut clients = JoinSet::new();
    for n in 0..120 {
        let path = ends[n % ends.len()];
        let (outbound, patience) = (proxy.outbound, Duration::from_millis(rng.u64(0..400)));
        let over_h2 = rng.bool();
        clients.spawn(async move {
            let call = async {
                if over_h2 {
                    let client = H2Client::connect(outbound).await;
                    let _ = client.try_call(request("GET", "server", path, &[]), b"", None).await;
                } else if let Ok(mut raw) = Raw::try_connect(outbound).await {
                    raw.send(get("server", path)).await;
                    let _ = raw.try_response("GET").await;
                }
            };
            // Some go away in the middle.
            let _ = tokio::time::timeout(patience, call).await;
        });
    }
    clients.join_all().await;
    in_flight(&proxy, 0).await;
    waiting(&proxy, 0).await;
    // And they are really there.
    let mut all: Vec<_> = Vec::new();
    for _ in 0..4 {
        all.push(send(&proxy, "/").await);
    }
    for raw in &mut all {
        // The retry budget may be used up, and one of the two endpoints is dead.
        assert_ne!(raw.response().await.header("x-bowline-error"), Some("overloaded"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_in_flight_until_it_ends() {
    let gate = Gate::shut();
    let open = gate.clone();
    let backend = H2Backend::start(move |mut stream| {
        let gate = gate.clone();
        async move {
            let mut body = stream.head(grpc::head());
            let _ = body.send_data(message(b"first"), false);
            gate.passed().await;
            let _ = body.send_trailers(grpc::status(0));
        }
    })
    .await;
    let server = service("server").at(&backend).with("appProtocol", json!("grpc")).limits(9, 0, 1);
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let (response, mut sending) =
        client.open(request("POST", "server", "/pkg.Greeter/Hello", CALL), false).await.expect("a stream");
    let _ = sending.send_data(message(b"hi"), true);
    let (_, mut body) = H2Client::head(response).await.into_parts();
    let shed = client.call(request("POST", "server", "/pkg.Greeter/Hello", CALL), &message(b"hi")).await;
    assert_eq!(shed.field("grpc-status"), Some("8"));
    open.open();
    within("the stream ends", bowline_tests::h2_backend::read(&mut body)).await.expect("its end");
    in_flight(&proxy, 0).await;
    let answer = client.call(request("POST", "server", "/pkg.Greeter/Hello", CALL), &message(b"hi")).await;
    assert_eq!(answer.field("grpc-status"), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_part_of_their_request() {
    let backends: [Backend; 3] = Backend::several(|_, _| Reply::status(503)).await;
    let server = service("server").at_all(&backends).no_ejections().retry(json!({})).limits(9, 0, 1);
    let proxy = crate::proxy().mesh(server).start().await;
    for n in 1..=3 {
        assert_eq!(proxy.get("server", "/").await.expect(503).header("x-bowline-error"), None);
        assert_eq!(backends.iter().map(Backend::count).sum::<usize>(), 3 * n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_limits_hold_at_once_and_end_nothing() {
    let crowd = Crowd::with_desks(0);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, NO_TIME)).await;
    let server = |requests| Mesh::from(service("server").at(&backend).limits(100, 100, requests));
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(server(1)).start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(send(&proxy, "/").await);
    }
    waiting(&proxy, 7).await;
    proxy.apply(server(5)).await;
    crowd.counts(5).await;
    waiting(&proxy, 3).await;
    // Fewer than are in: they stay, and nobody comes in.
    proxy.apply(server(2)).await;
    assert_eq!((crowd.now(), proxy.metric("bowline_limit", &[("limit", "requests")]).await), (5, 2.0));
    // Without limits all come in.
    proxy.apply(Mesh::from(service("server").at(&backend))).await;
    crowd.counts(8).await;
    crowd.open(8);
    for client in &mut clients {
        client.response().await.expect(200);
    }
    proxy.apply(server(1)).await;
    in_flight(&proxy, 0).await;
}

/// A service that leaves the mesh while requests wait for it, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_a_service_that_is_removed_are_served() {
    let crowd = Crowd::with_desks(0);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, NO_TIME)).await;
    let server = || Mesh::from(service("server").at(&backend).limits(100, 100, 1));
    let proxy = crate::proxy().mesh(server()).start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(send(&proxy, "/").await);
    }
    waiting(&proxy, 2).await;
    proxy.apply(Mesh::from(service("other").at(&backend))).await;
    crowd.open(1);
    for client in &mut clients {
        client.response().await.expect(200);
    }
    proxy.apply(server()).await;
    eventually("it is back", async || (proxy.get("server", "/").await.status == 200).then_some(())).await;
    in_flight(&proxy, 0).await;
}
