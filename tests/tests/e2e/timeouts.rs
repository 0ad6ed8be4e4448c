//! Each timeout: it comes when it should, it says which one it was, and it does not come when it should not.

use std::time::{Duration, Instant};

use bowline_tests::sockets::BlackHole;
use bowline_tests::wait::within;
use bowline_tests::{Backend, Raw, Reply, service, url};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn connect() {
    let hole = BlackHole::open();
    let server = service("server").at(hole.addr()).retry(json!({ "retries": 0 })).with("timeout", json!({ "connectSeconds": 0.5 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let begun = Instant::now();
    let answer = proxy.request("POST", "server", "/", "", "body").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("connect_timeout"));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(10), "{took:?}");
    assert!(answer.text().contains(&hole.addr().to_string()), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_swallows_connections_costs_time_but_no_request() {
    let hole = BlackHole::open();
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let server = service("server").at_all([hole.addr(), backend.addr()]).retry(json!({})).with("timeout", json!({ "connectSeconds": 0.2 }));
    let proxy = crate::proxy().mesh(server).start().await;
    for _ in 0..20 {
        proxy.request("POST", "server", "/", "", "body").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_headers() {
    let backend = Backend::start(|_| Reply::hang()).await;
    let server = service("server").at(&backend).with("timeout", json!({ "responseHeadersSeconds": 0.5, "perAttemptSeconds": 0 }));
    let proxy = crate::proxy().mesh(server).start().await;
    for method in ["GET", "POST"] {
        let begun = Instant::now();
        let answer = proxy.request(method, "server", "/", "", "").await;
        assert_eq!(answer.expect(504).header("x-bowline-error"), Some("response_timeout"));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(10), "{took:?}");
    }
    // It is over all attempts, so there is no second one; and the endpoint is told.
    assert_eq!(backend.count(), 2);
    backend.was_left(2).await;
}

/// It counts from the end of the request's body: an app that uploads slowly is not late.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_is_no_response_timeout() {
    let backend = Backend::start(|request| Reply::ok(request.body())).await;
    let server = service("server").at(&backend).with("timeout", json!({ "responseHeadersSeconds": 0.6 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", url("server", "/"))).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        raw.send("x").await;
    }
    raw.response().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_response_body_is_no_response_timeout() {
    let pieces = (0..10).fold(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), |reply, _| {
        reply.then(Reply::raw("x").after(Duration::from_millis(150)))
    });
    let backend = Backend::start(move |_| pieces.clone()).await;
    let server = service("server").at(&backend).with("timeout", json!({ "responseHeadersSeconds": 0.6, "perAttemptSeconds": 0.6 }));
    let proxy = crate::proxy().mesh(server).start().await;
    assert_eq!(proxy.get("server", "/").await.expect(200).body, b"xxxxxxxxxx");
}

#[tokio::test(flavor = "multi_thread")]
async fn per_request_bounds_the_wait_for_the_head() {
    let backend = Backend::start(|_| Reply::hang()).await;
    let server = service("server").at(&backend).with("timeout", json!({ "perRequestTimeoutSeconds": 0.5 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let begun = Instant::now();
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(504).header("x-bowline-error"), Some("request_timeout"));
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    assert_eq!(backend.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn per_request_bounds_the_whole_body() {
    // For ever, piece by piece: nothing but the bound on the whole can end it.
    let pieces = (0..200).fold(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), |reply, _| {
        reply.then(Reply::raw("x").after(Duration::from_millis(100)))
    });
    let backend = Backend::start(move |_| pieces.clone()).await;
    let server = service("server").at(&backend).with("timeout", json!({ "perRequestTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let begun = Instant::now();
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
    within("the head", raw.wire.head()).await.expect("a head");
    raw.closed().await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(12), "{took:?}");
    backend.was_left(1).await;
}

/// A body that pours without a pause must not outrun the bound on the whole.
#[tokio::test(flavor = "multi_thread")]
async fn per_request_bounds_a_body_that_never_pauses() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 40);
    let pieces = (0..2000).fold(Reply::raw(head), |reply, _| reply.then(Reply::raw(vec![b'x'; 1 << 16])));
    let backend = Backend::start(move |_| (0..6).fold(pieces.clone(), |all, _| all.then(pieces.clone()))).await;
    let server = service("server").at(&backend).with("timeout", json!({ "perRequestTimeoutSeconds": 0.3 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
    let begun = Instant::now();
    let mut received = 0u64;
    // All 786 MB take seconds in any build; the bound is 0.3 s.
    while let Ok(piece) = within("a piece", raw.wire.exactly(1 << 16)).await {
        received += piece.len() as u64;
        if begun.elapsed() > Duration::from_secs(8) {
            panic!("{received} bytes, and no end");
        }
    }
    assert!(received < 700 << 20, "{received} bytes came in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn per_attempt_holds_for_the_last_attempt_too() {
    let backend = Backend::start(|_| Reply::hang()).await;
    let server = service("server").at(&backend).retry(json!({ "retries": 1 })).with("timeout", json!({ "perAttemptSeconds": 0.3 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let begun = Instant::now();
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(504).header("x-bowline-error"), Some("attempt_timeout"));
    assert!(answer.text().contains("2 attempts failed"), "{}", answer.text());
    assert_eq!(backend.count(), 2);
    assert!(begun.elapsed() >= Duration::from_millis(550), "{:?}", begun.elapsed());
}

/// `auto`, before anything is known of the service: 5 s, then elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_left_for_another_in_time() {
    let hanging = Backend::start(|_| Reply::hang()).await;
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let server = service("server").at_all([&hanging, &backend]).retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let begun = Instant::now();
    while hanging.count() == 0 {
        proxy.get("server", "/").await.expect(200);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(14), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_the_app_is_closed() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let server = service("server").at(&backend).with("timeout", json!({ "idleTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let begun = Instant::now();
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await.expect(200);
    raw.closed().await;
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    // And so are those to the endpoint.
    proxy.metric_is("bowline_endpoint_connections", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_not_idle() {
    let backend = Backend::start(|_| Reply::ok("well").after(Duration::from_secs(4))).await;
    let server = service("server").at(&backend).with("timeout", json!({ "idleTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    proxy.get("server", "/").await.expect(200);
}
