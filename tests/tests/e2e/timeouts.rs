//! Each timeout: it comes when it should, it says which one it was, and it does not come when it should not.

use std::time::{Duration, Instant};

use bowline_tests::h2_client::request;
use bowline_tests::sockets::BlackHole;
use bowline_tests::wait::within;
use bowline_tests::wire::Answer;
use bowline_tests::{Backend, H2Backend, H2Client, Proxy, Raw, Reply, TcpBackend, grpc, service, url};
use h2::Reason;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn connect() {
    let hole = BlackHole::open();
    let server = service("server")
        .at(hole.addr())
        .retry(json!({ "retries": 0 }))
        .with("timeout", json!({ "connectSeconds": 0.5 }));
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
    let server = service("server")
        .at_all([hole.addr(), backend.addr()])
        .retry(json!({}))
        .with("timeout", json!({ "connectSeconds": 0.2 }));
    let proxy = crate::proxy().mesh(server).start().await;
    for _ in 0..20 {
        proxy.request("POST", "server", "/", "", "body").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_headers() {
    let backend = Backend::start(|_| Reply::hang()).await;
    let server = service("server")
        .at(&backend)
        .with("timeout", json!({ "responseHeadersSeconds": 0.5, "perAttemptSeconds": 0 }));
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
    let server = service("server")
        .at(&backend)
        .with("timeout", json!({ "responseHeadersSeconds": 0.6, "perAttemptSeconds": 0.6 }));
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
    let backend = Backend::start(move |_| Reply::raw(head.clone()).then(Reply::flood())).await;
    let server = service("server").at(&backend).with("timeout", json!({ "perRequestTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
    let begun = Instant::now();
    within("the head", raw.wire.head()).await.expect("a head");
    while within("a piece", raw.wire.exactly(1 << 16)).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "no end after {:?}", begun.elapsed());
    }
    backend.was_left(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn per_attempt_holds_for_the_last_attempt_too() {
    let backend = Backend::start(|_| Reply::hang()).await;
    let server = service("server")
        .at(&backend)
        .retry(json!({ "retries": 1 }))
        .with("timeout", json!({ "perAttemptSeconds": 0.3 }));
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

/// Case 19: a head of which a byte comes now and then. Its limit is 30 s, and no byte prolongs it.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_in_is_answered_with_408() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\nSlow: ", url("server", "/"))).await;
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if raw.wire.send("s").await.is_err() {
                return;
            }
            // What has come is looked at by `try_read`: the answer must not be read away.
            if raw.wire.tcp.ready(tokio::io::Interest::READABLE).await.is_ok_and(|ready| ready.is_readable())
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(300), trickle).await.expect("the proxy has had enough");
    assert_eq!(raw.response().await.expect(408).header("x-bowline-error"), Some("request_head_timeout"));
    raw.closed().await;
    assert_eq!(backend.count(), 0);
    proxy.metric_is("bowline_downstream_errors_total", &[("kind", "timeout")], 1.0).await;
}

/// Case 19: a body of which nothing more comes, to endpoints of both kinds.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_that_stops_is_answered_with_408() {
    let h1 = Backend::start(|_| Reply::ok("")).await;
    let h2 = H2Backend::start(|mut stream| async move {
        while stream.body.data().await.is_some_and(|data| data.is_ok()) {}
    })
    .await;
    for server in [service("server").at(&h1), service("server").at(&h2).with("appProtocol", json!("http2"))] {
        let server = server.with("timeout", json!({ "idleTimeoutSeconds": 1 }));
        let proxy = crate::proxy().mesh(server).start().await;
        let mut raw = Raw::connect(proxy.outbound).await;
        let target = url("server", "/");
        raw.send(format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")).await;
        let answer = raw.response().await;
        assert_eq!(answer.expect(408).header("x-bowline-error"), Some("request_body_timeout"));
        raw.closed().await;
        let labels = [("service", "server"), ("reason", "request_body_timeout")];
        proxy.metric_is("bowline_local_responses_total", &labels, 1.0).await;
    }
    h1.was_left(1).await;
}

/// Case 18, over HTTP/1.1: an app that reads nothing of a large response.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_reads_nothing_is_left_after_the_idle_timeout() {
    let backend = Backend::start(|_| Reply::raw("HTTP/1.1 200 OK\r\n\r\n").then(Reply::flood())).await;
    let server = service("server").at(&backend).with("timeout", json!({ "idleTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
    backend.was_left(1).await;
    proxy.metric_is("bowline_downstream_errors_total", &[("kind", "timeout")], 1.0).await;
    proxy.metric_is("bowline_downstream_connections", &[], 0.0).await;
}

/// Sends far more than all buffers on the way hold, until an answer comes.
async fn upload(proxy: &Proxy, method: &str) -> Answer {
    let mut raw = Raw::connect(proxy.outbound).await;
    let target = url("server", "/");
    raw.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1u64 << 40))
        .await;
    let pour = async {
        let tcp = &raw.wire.tcp;
        loop {
            tokio::select! {
                biased;
                _ = tcp.readable() => return,
                _ = tcp.writable() => { let _ = tcp.try_write(&[b'x'; 1 << 16]); }
            }
        }
    };
    within("an answer to an upload", pour).await;
    raw.response().await
}

/// An endpoint whose window stays closed, as that of a process which is stopped: over HTTP/1.1 the socket's, over HTTP/2
/// the stream's.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_takes_nothing_of_an_upload_is_left_after_the_idle_timeout() {
    let h1 = TcpBackend::start(|_, wire| async move {
        let _open = wire;
        std::future::pending().await
    })
    .await;
    let h2 = H2Backend::start(|mut stream| async move { stream.until_reset().await }).await;
    for server in [service("server").at(&h1), service("server").at(&h2).http2()] {
        let server = server
            .with("timeout", json!({ "idleTimeoutSeconds": 1 }))
            .with("outlierDetection", json!({ "consecutiveFailures": 1 }))
            .retry(json!({}));
        let proxy = crate::proxy().mesh(server).start().await;
        let begun = Instant::now();
        let answer = upload(&proxy, "POST").await;
        assert_eq!(answer.expect(504).header("x-bowline-error"), Some("upload_timeout"));
        assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
        assert!(answer.text().contains("1 attempt failed"), "{}", answer.text());
        let failures = proxy.metric("bowline_attempt_failures_total", &[("reason", "upload_timeout")]).await;
        assert_eq!(failures, 1.0);
        proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
    }
    assert_eq!((h1.accepts(), h2.count()), (1, 1));
    assert_eq!(h2.was_reset().await, Reason::CANCEL);
}

/// Where the retry table allows it, what was kept of the request goes elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_an_endpoint_takes_nothing_of_is_tried_elsewhere_if_it_may_be() {
    let stopped = H2Backend::start(|mut stream| async move { stream.until_reset().await }).await;
    let backend = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        stream.answer(200, &[], body.len().to_string().as_bytes());
    })
    .await;
    let server = service("server")
        .at_all([&stopped, &backend])
        .http2()
        .retry(json!({ "maxBodyBytes": 1 << 20 }))
        .with("timeout", json!({ "idleTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let body = "x".repeat(200_000);
    while stopped.count() == 0 {
        let answer = proxy.request("PUT", "server", "/", "", &body).await;
        assert_eq!(answer.expect(200).text(), "200000");
    }
    assert_eq!(stopped.was_reset().await, Reason::CANCEL);
}

/// An app that is silent in the middle of a call, and an endpoint that takes it bit by bit: neither is an endpoint that
/// takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_call_and_a_slow_upload_are_no_upload_timeouts() {
    let backend = H2Backend::start(|mut stream| async move {
        let slow = stream.head.uri.path() == "/slow";
        let mut taken = 0;
        while let Some(piece) = stream.next().await {
            taken += piece.len();
            // Pieces may be of a byte.
            if slow && taken >= 16_384 {
                taken = 0;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        grpc::answer(&mut stream, &[b"well"]);
    })
    .await;
    let server = service("server").at(&backend).http2().with("timeout", json!({ "idleTimeoutSeconds": 3 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let (silent, mut sending) =
        client.open(request("POST", "server", "/silent", grpc::CALL), false).await.expect("a stream");
    sending.send_data(grpc::message(b"hi"), false).expect("the stream is open");
    // Seventy pauses and more, each of them followed by some room: longer than the idle timeout by far.
    let begun = Instant::now();
    let answer = client.call(request("POST", "server", "/slow", &[]), &[b'x'; 1_200_000]).await;
    assert_eq!(answer.status, 200);
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
    sending.send_data(grpc::message(b"bye"), true).expect("the stream is open");
    assert_eq!(H2Client::head(silent).await.status(), 200);
    assert_eq!(proxy.metric("bowline_attempt_failures_total", &[]).await, 0.0);
}
