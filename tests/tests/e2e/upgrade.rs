//! HTTP/1.1 upgrades: a tunnel after a 101, and only then.

use std::time::Duration;

use bowline_tests::wait::within;
use bowline_tests::{Backend, Gate, Proxy, Raw, Reply, TcpBackend, authority, service};
use rustix::process::Signal;
use serde_json::json;

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Kept: yes\r\n\r\n";

fn offer(more: &str) -> String {
    let host = authority("server");
    format!(
        "GET /chat HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n{more}\r\n"
    )
}

/// Takes every offer up and then sends back what it gets, behind a greeting that comes with the head.
async fn switching() -> TcpBackend {
    TcpBackend::start(|_, mut wire| async move {
        let head = wire.head().await?.expect("a request");
        assert_eq!(head.header("upgrade"), Some("websocket"), "{head:?}");
        assert_eq!(head.header("connection"), Some("Upgrade"), "{head:?}");
        assert_eq!(head.header("sec-websocket-key"), Some("abc"), "{head:?}");
        wire.send(format!("{SWITCHED}hello")).await?;
        loop {
            let byte = wire.exactly(1).await?;
            wire.send(byte).await?;
        }
    })
    .await
}

async fn proxy_to(backend: &TcpBackend) -> Proxy {
    crate::proxy().mesh(service("server").at(backend).retry(json!({}))).start().await
}

async fn exactly(raw: &mut Raw, n: usize) -> String {
    let bytes = within("bytes", raw.wire.exactly(n)).await.expect("bytes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What comes early on either side is part of the tunnel, whatever it looks like.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_101_bytes_are_passed_through_and_none_is_lost() {
    let backend = switching().await;
    let proxy = proxy_to(&backend).await;
    for addr in [proxy.outbound, proxy.vip("server").await] {
        let mut raw = Raw::connect(addr).await;
        let early = "GET /smuggled HTTP/1.1\r\n\r\n";
        raw.send(offer("Sec-WebSocket-Key: abc\r\n") + early).await;
        let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
        assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
        assert_eq!(head.header("upgrade"), Some("websocket"));
        assert_eq!(head.header("connection"), Some("Upgrade"));
        assert_eq!(head.header("x-kept"), Some("yes"));
        assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None));
        assert_eq!(exactly(&mut raw, 5).await, "hello");
        assert_eq!(exactly(&mut raw, early.len()).await, early);
        raw.send("more").await;
        assert_eq!(exactly(&mut raw, 4).await, "more");
    }
    proxy.metric_is("bowline_tunnels_ended_total", &[("service", "server"), ("end", "closed")], 2.0).await;
    proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
    proxy.metric_is("bowline_endpoint_connections", &[], 0.0).await;
    proxy.metric_is("bowline_downstream_connections", &[], 0.0).await;
    assert_eq!(proxy.metric("bowline_requests_total", &[("class", "other")]).await, 2.0);
}

/// Case 5: an offer that is not taken up changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_101_what_follows_is_a_request() {
    let backend = Backend::start(|request| Reply::ok(&request.target)).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let host = authority("server");
    raw.send(offer("") + &format!("GET /second HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(raw.response().await.expect(200).text(), "/chat");
    assert_eq!(raw.response().await.expect(200).text(), "/second");
    let third = raw.call(format!("GET /third HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!(third.expect(200).text(), "/third");
    assert_eq!(backend.accepts(), 1, "the connection to the endpoint is used again as well");
    assert_eq!(backend.requests()[0].header("upgrade"), Some("websocket"));
    assert_eq!(backend.requests()[1].header("upgrade"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_nobody_asked_for_is_no_answer() {
    let backend =
        Backend::start(|_| Reply::raw(SWITCHED).then(Reply::raw("free bytes")).then(Reply::hang())).await;
    let proxy =
        crate::proxy().mesh(service("server").at(&backend).retry(json!({ "retries": 0 }))).start().await;
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(502).header("x-bowline-error"), Some("invalid_response"));
    backend.was_left(1).await;
    // An offer that is not the kind to be passed on was not made, as far as the endpoint is concerned.
    for headers in ["Upgrade: websocket\r\n", "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"] {
        let answer = proxy.request("GET", "server", "/", headers, "").await;
        assert_eq!(answer.expect(502).header("x-bowline-error"), Some("invalid_response"));
    }
    let with_body = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    let answer = proxy.request("POST", "server", "/", with_body, "five!").await;
    assert_eq!(answer.expect(502).header("x-bowline-error"), Some("invalid_response"));
    assert!(backend.requests().iter().all(|request| request.header("upgrade").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_retried_before_the_101_and_times_out() {
    let hangs = Backend::start(|_| Reply::hang()).await;
    let mesh = service("server")
        .at(&hangs)
        .with("timeout", json!({ "responseHeadersSeconds": 0.3, "perAttemptSeconds": 0 }));
    let proxy = crate::proxy().mesh(mesh).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(offer("")).await;
    assert_eq!(raw.response().await.expect(504).header("x-bowline-error"), Some("response_timeout"));

    let backend = switching().await;
    let refuses = bowline_tests::sockets::refusing();
    let mesh = service("server")
        .at(refuses)
        .at(&backend)
        .with("loadBalancing", json!({ "policy": "roundRobin" }))
        .retry(json!({}));
    let proxy = crate::proxy().mesh(mesh).start().await;
    for _ in 0..2 {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(offer("Sec-WebSocket-Key: abc\r\n")).await;
        let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
        assert!(head.start.contains(" 101 "), "{head:?}");
    }
}

/// Timeouts for responses end with the head; from then on only silence counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_when_nothing_is_said_for_the_idle_timeout() {
    let backend = switching().await;
    let mesh = service("server").at(&backend).with(
        "timeout",
        json!({ "idleTimeoutSeconds": 2, "responseHeadersSeconds": 0.5, "perRequestTimeoutSeconds": 0.5 }),
    );
    let proxy = crate::proxy().mesh(mesh).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(offer("Sec-WebSocket-Key: abc\r\n")).await;
    within("a head", raw.wire.head()).await.expect("a head");
    exactly(&mut raw, 5).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        raw.send("x").await;
        exactly(&mut raw, 1).await;
    }
    raw.closed().await;
    proxy.logged("nothing passed for idleTimeoutSeconds").await;
    proxy.metric_is("bowline_tunnels_ended_total", &[("end", "idle")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_in_a_draining_proxy_is_still_one() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = TcpBackend::start(move |_, mut wire| {
        let gate = behind.clone();
        async move {
            wire.head().await?;
            gate.passed().await;
            wire.send(SWITCHED).await?;
            let byte = wire.exactly(1).await?;
            wire.send(byte).await
        }
    })
    .await;
    let mut proxy = proxy_to(&backend).await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(offer("")).await;
    proxy.metric_is("bowline_endpoint_in_flight", &[], 1.0).await;
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    gate.open();
    let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
    assert!(head.start.contains(" 101 "), "{head:?}");
    assert_eq!(head.header("connection"), Some("Upgrade"));
    raw.send("x").await;
    assert_eq!(exactly(&mut raw, 1).await, "x");
    drop(raw);
    assert!(proxy.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_a_success_for_the_breaker_and_sets_cookies() {
    let backend = switching().await;
    let balancing =
        json!({ "policy": "ringHash", "hash": { "cookie": { "name": "stick", "ttlSeconds": 60 } } });
    let server =
        service("server").at(&backend).with("circuitBreaker", json!({})).with("loadBalancing", balancing);
    let proxy = crate::proxy().mesh(server).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(offer("Sec-WebSocket-Key: abc\r\n")).await;
    let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert!(head.header("set-cookie").is_some_and(|cookie| cookie.starts_with("stick=")), "{head:?}");
    let calls = "bowline_circuit_breaker_calls_total";
    for (result, count) in [("fire", 1.0), ("success", 1.0), ("failure", 0.0)] {
        proxy.metric_is(calls, &[("result", result)], count).await;
    }
}
