//! How a proxy begins and ends, and how it hears that a client has gone.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bowline_tests::h2_client::request;
use bowline_tests::proxy::{bare, run_to_end};
use bowline_tests::{Backend, Gate, H2Backend, H2Client, Proxy, Raw, Reply, service, url};
use h2::Reason;
use http::Response;
use rustix::process::Signal;
use serde_json::json;

fn get(path: &str) -> String {
    format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", path))
}

/// A backend whose answer waits, and a proxy with one request on its way to it.
async fn under_way() -> (Backend, Gate, Proxy, Raw) {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = Backend::start(move |request| {
        let reply = Reply::ok("late");
        if request.target == "/slow" { reply.behind(&behind) } else { reply }
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(get("/slow")).await;
    backend.has_received(1).await;
    (backend, gate, proxy, raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_what_is_under_way_finish() {
    let (_backend, gate, mut proxy, mut slow) = under_way().await;
    let mut idle = Raw::connect(proxy.outbound).await;
    idle.call(get("/")).await.expect(200);
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;

    // It is not ready any more, and says why; but it still takes work, and asks each client to go.
    let ready = proxy.admin("GET", "/health/ready").await;
    assert_eq!(ready.expect(503).json()["reasons"], json!(["draining"]));
    assert_eq!(proxy.admin("GET", "/health/live").await.status, 200);
    assert_eq!(proxy.metric("bowline_draining", &[]).await, 1.0);
    let answer = idle.call(get("/")).await;
    assert_eq!(answer.expect(200).header("connection"), Some("close"));
    idle.closed().await;

    // Longer than the two seconds in which it goes on accepting.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(proxy.runs());
    gate.open();
    assert_eq!(slow.response().await.expect(200).text(), "late");
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.logged("bye").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_requests_are_served_while_it_leaves() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let mut proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let vip = proxy.vip("server").await;
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    for addr in [proxy.outbound, vip] {
        let mut raw = Raw::connect(addr).await;
        let answer = raw.call(get("/")).await;
        assert_eq!(answer.expect(200).header("connection"), Some("close"));
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Case 33: everything is told to stop in the same moment, and the app, while it finishes its work, calls others: on a
/// connection it has kept, and on a new one.
#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_served_until_it_has_gone() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let mut proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let (mut kept, mut other) = (Raw::connect(proxy.outbound).await, Raw::connect(proxy.outbound).await);
    for raw in [&mut kept, &mut other] {
        raw.call(get("/")).await.expect(200);
    }
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    // Longer than it waits for an app of which nothing is to be seen.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(kept.call(get("/")).await.expect(200).header("connection"), Some("close"));
    Raw::connect(proxy.outbound).await.call(get("/")).await.expect(200);
    assert!(proxy.runs());
    // The app ends, and with it the last of its connections.
    drop((kept, other));
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(backend.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_are_told_to_go_away_and_their_streams_finish() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = H2Backend::start(move |mut stream| {
        let behind = behind.clone();
        async move {
            behind.passed().await;
            stream.answer(200, &[], b"late");
        }
    })
    .await;
    let mut proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let (response, _) = client.open(request("GET", "server", "/", &[]), true).await.expect("a stream");
    backend.has_received(1).await;
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    // The GOAWAY: sooner or later the connection takes no stream any more.
    bowline_tests::eventually("GOAWAY", async || {
        client.open(request("GET", "server", "/", &[]), true).await.is_err().then_some(())
    })
    .await;
    gate.open();
    let mut body = H2Client::head(response).await.into_body();
    assert_eq!(bowline_tests::h2_backend::read(&mut body).await.expect("the body").0, "late");
    assert!(client.ended().await, "the connection ends in good order");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_time_is_the_longest_that_anybody_waits() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = Backend::start(move |_| Reply::ok("").behind(&behind)).await;
    let mut proxy =
        crate::proxy().mesh(service("server").at(&backend)).arg("--drain-seconds").arg("3").start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(get("/")).await;
    backend.has_received(1).await;
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2900) && took < Duration::from_secs(20), "{took:?}");
    proxy.logged("connections are cut").await;
    raw.closed().await;
}

/// Case 34: a stream without an end is told that the connection goes away, may go on, and is cut when the time is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_stream_is_cut_when_the_drain_time_is_over() {
    let backend = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(Response::new(()));
        loop {
            let _ = body.send_data("more".into(), false);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let server = service("server").at(&backend).with("appProtocol", json!("http2"));
    let mut proxy = crate::proxy().mesh(server).arg("--drain-seconds").arg("4").start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let (response, _) = client.open(request("GET", "server", "/", &[]), true).await.expect("a stream");
    let mut body = H2Client::head(response).await.into_body();
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    bowline_tests::eventually("GOAWAY", async || {
        client.open(request("GET", "server", "/", &[]), true).await.is_err().then_some(())
    })
    .await;
    let mut after = 0;
    while let Some(Ok(data)) = bowline_tests::wait::within("data or the end", body.data()).await {
        let _ = body.flow_control().release_capacity(data.len());
        after += 1;
    }
    assert!(after > 0, "it went on after the GOAWAY");
    proxy.logged("connections are cut").await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (_backend, _gate, mut proxy, _slow) = under_way().await;
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    proxy.logged("second signal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_an_idle_proxy_at_once() {
    let mut proxy = crate::proxy().mesh(service("server")).start().await;
    let begun = Instant::now();
    proxy.signal(Signal::INT);
    assert_eq!(proxy.ended().await.code(), Some(0));
    // An orchestrator's SIGTERM would take two seconds.
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn post_drain_ends_it_too() {
    let mut proxy = crate::proxy().mesh(service("server")).start().await;
    proxy.admin("POST", "/drain").await.expect(200);
    proxy.logged("draining").await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_by_its_exit_code() {
    let mut proxy = crate::proxy().mesh(service("server")).start().await;
    let admin = proxy.admin.to_string();
    let health = async || run_to_end(bare(crate::PROGRAM.as_ref()).args(["health", "--admin", &admin])).await;
    let ended = health().await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    let ended = health().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("not ready: draining"), "{}", ended.err);
    proxy.ended().await;
    let ended = health().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains(&format!("no proxy answers at {admin}")), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_does_not_wait_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin = silent.local_addr().expect("its address").to_string();
    let mut command = bare(crate::PROGRAM.as_ref());
    let ended = run_to_end(command.args(["health", "--timeout-seconds", "1", "--admin", &admin])).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("did not answer within 1s"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_2() {
    for args in [
        &["run"][..],
        &["walk"],
        &[],
        &["run", "--mesh", "x", "--workers", "0"],
        &["run", "--mesh", "x", "--outbound", "nowhere"],
        &["run", "--mesh", "x", "--vip-range", "10.0.0.0/8"],
        &["run", "--mesh", "/does/not/exist.yaml"],
    ] {
        let ended = run_to_end(bare(crate::PROGRAM.as_ref()).args(args)).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.err);
        assert!(!ended.err.is_empty(), "{args:?}");
    }
    for args in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let ended = run_to_end(bare(crate::PROGRAM.as_ref()).args(args)).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.err);
        assert!(!ended.out.is_empty(), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_may_come_from_the_environment() {
    let proxy = crate::proxy().mesh(service("server")).start().await;
    let mut command = bare(crate::PROGRAM.as_ref());
    let ended = run_to_end(command.arg("health").env("BOWLINE_ADMIN", proxy.admin.to_string())).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_mesh_exits_2_with_all_its_problems() {
    let mesh = "namespace: mesh.test\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: localhost }] }\n    \
                tls: {}\n    retry: { retrys: 3 }\n  - discoveryName: a\n    endpoints: { static: [] }\n";
    let ended = crate::proxy().mesh_text(mesh).run_to_end().await;
    assert_eq!(ended.code, Some(2));
    for word in ["mesh.yaml:4:", "ip:port", "tls", "mesh.yaml:6:", "retrys", "retries", "nothing was started"]
    {
        assert!(ended.err.contains(word), "{word} is missing in:\n{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_exits_1_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("its address");
    for flag in ["--outbound", "--admin"] {
        let mut command = bare(crate::PROGRAM.as_ref());
        let dir = tempfile::tempdir().expect("a folder");
        let mesh = dir.path().join("mesh.yaml");
        std::fs::write(&mesh, "namespace: mesh.test\n").expect("a file");
        let other = if flag == "--admin" { "--outbound" } else { "--admin" };
        command.args(["run", flag, &addr.to_string(), other, "127.0.0.1:0", "--mesh"]).arg(&mesh);
        let ended = run_to_end(&mut command).await;
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains(&format!("port {} is taken", addr.port())), "{}", ended.err);
    }
}

/// A VIP listener that can't be bound is no reason not to start; when the port is free it is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_vip_port_is_told_and_tried_again() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let taken = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let server = service("server").at(&backend).alias("server.mesh.test", port);
    let proxy = crate::proxy().mesh(server).start().await;
    let line = proxy.logged("no VIP listener for an alias").await;
    assert!(line.contains("listens on 0.0.0.0"), "{line}");
    let host = format!("GET http://server.mesh.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    Raw::connect(proxy.outbound).await.call(&host).await.expect(200);
    drop(taken);
    let vip = proxy.vip("server").await;
    let mut raw =
        bowline_tests::eventually("the VIP is open", async || Raw::try_connect(vip).await.ok()).await;
    raw.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_is_heard_by_the_endpoint() {
    for reset in [false, true] {
        let (backend, _gate, proxy, slow) = under_way().await;
        if reset {
            slow.reset();
        } else {
            drop(slow);
        }
        backend.was_left(1).await;
        proxy.metric_is("bowline_requests_total", &[("class", "cancelled")], 1.0).await;
        proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
        let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
        assert_eq!(endpoint["consecutiveFailures"], 0, "that is not the endpoint's fault");
    }
}

/// Bytes behind the request, be it another one, do not hide that the client is gone once they have been read.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_between_two_requests_is_heard_by_the_endpoint() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = Backend::start(move |request| {
        if request.target == "/first" { Reply::ok("").behind(&behind) } else { Reply::hang() }
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(get("/first")).await;
    backend.has_received(1).await;
    raw.send(get("/second")).await;
    gate.open();
    backend.has_received(2).await;
    drop(raw);
    backend.was_left(1).await;
    proxy.metric_is("bowline_requests_total", &[("class", "cancelled")], 1.0).await;
    proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_mid_response_is_heard_by_the_endpoint() {
    let endless = (0..1000)
        .fold(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), |reply, _| {
            reply.then(Reply::raw("xxxxxxxxxx").after(Duration::from_millis(20)))
        });
    let backend = Backend::start(move |_| endless.clone()).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(get("/")).await;
    raw.wire.head().await.expect("a head");
    raw.reset();
    backend.was_left(1).await;
    proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
    let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
    assert_eq!(endpoint["consecutiveFailures"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_cancels_is_heard_by_both_kinds_of_endpoint() {
    let h2 = H2Backend::start(|mut stream| async move { stream.until_reset().await }).await;
    let h1 = Backend::start(|_| Reply::hang()).await;
    let mesh = bowline_tests::Mesh::of([
        service("h2").at(&h2).http2(),
        service("h1").at(&h1).with("appProtocol", json!("http")),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    for (name, h2_too) in [("h2", true), ("h1", false)] {
        let (response, mut sending) =
            client.open(request("GET", name, "/", &[]), true).await.expect("a stream");
        match h2_too {
            true => h2.has_received(1).await,
            false => h1.has_received(1).await,
        }
        sending.send_reset(Reason::CANCEL);
        drop(response);
    }
    assert_eq!(h2.was_reset().await, Reason::CANCEL);
    h1.was_left(1).await;
    // The connection to the HTTP/2 endpoint is not lost by it.
    assert_eq!(h2.accepts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_is_no_whole_request() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let backend = Backend::start(|_| Reply::ok("")).await;
        let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(format!(
            "PUT {} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n5\r\nfive!\r\n",
            url("server", "/")
        ))
        .await;
        backend.has_received(1).await;
        drop(raw);
        backend.was_left(1).await;
        // Nothing is sent again, and the endpoint is not blamed.
        proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
        assert_eq!(backend.count(), 1, "{framing}");
        assert!(backend.only_request().body().is_empty());
        assert_eq!(proxy.endpoint(backend.addr()).await.expect("it is there")["consecutiveFailures"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_upload_that_breaks_off_is_reset_at_the_endpoint() {
    let backend = H2Backend::start(|mut stream| async move { stream.until_reset().await }).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).http2()).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nfive!", url("server", "/")))
        .await;
    backend.has_received(1).await;
    drop(raw);
    assert_eq!(backend.was_reset().await, Reason::CANCEL);
}
