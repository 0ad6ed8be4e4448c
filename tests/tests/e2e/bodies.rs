//! Bodies both ways, their framing, their trailers, and the connections they come on.

use std::time::Duration;

use bowline_tests::wait::within;
use bowline_tests::{Backend, Gate, Raw, Reply, authority, service, url};
use serde_json::json;

const SIZES: [usize; 4] = [0, 1, 64 * 1024, 5 * 1024 * 1024];

/// Bytes that tell when a piece is missing, doubled or out of place.
fn pattern(size: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(size as u64);
    (0..size).map(|_| rng.u8(..)).collect()
}

fn head(method: &str, headers: &str) -> String {
    format!("{method} {} HTTP/1.1\r\nHost: x\r\n{headers}\r\n", url("server", "/"))
}

fn chunked(body: &[u8], piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(piece) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

async fn exchange(mut raw: Raw, bytes: Vec<u8>) -> bowline_tests::Answer {
    raw.send(bytes).await;
    raw.response().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_with_a_length_pass_both_ways() {
    let backend = Backend::start(|request| Reply::ok(request.body())).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for size in SIZES {
        let body = pattern(size);
        let mut bytes = head("POST", &format!("Content-Length: {size}\r\n")).into_bytes();
        bytes.extend_from_slice(&body);
        let answer = exchange(Raw::connect(proxy.outbound).await, bytes).await;
        let request = backend.requests().pop().expect("a request");
        assert_eq!(request.header("content-length"), Some(size.to_string().as_str()));
        assert_eq!(answer.expect(200).header("content-length"), Some(size.to_string().as_str()));
        assert!(request.body() == body && answer.body == body, "{size} bytes came changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_pass_both_ways() {
    let backend = Backend::start(|request| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend(chunked(request.body(), 3000));
        Reply::raw(bytes)
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for size in SIZES {
        let body = pattern(size);
        let mut bytes = head("POST", "Transfer-Encoding: chunked\r\n").into_bytes();
        bytes.extend(chunked(&body, 7000));
        let answer = exchange(Raw::connect(proxy.outbound).await, bytes).await;
        let request = backend.requests().pop().expect("a request");
        assert_eq!(request.header("content-length"), None);
        assert_eq!(answer.expect(200).header("transfer-encoding"), Some("chunked"));
        assert!(request.body() == body && answer.body == body, "{size} bytes came changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_with_the_connection_passes() {
    let body = pattern(300_000);
    let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    bytes.extend_from_slice(&body);
    let backend = Backend::start(move |_| Reply::raw(bytes.clone()).then_close()).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let answer = proxy.get("server", "/").await;
    assert!(answer.expect(200).body == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_that_are_announced_pass_both_ways() {
    let backend = Backend::start(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n")
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let head = head("POST", "TE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n");
    let answer = raw.call(format!("{head}5\r\nfive!\r\n0\r\nX-Sum: 5\r\n\r\n")).await;
    let lower = |trailers: &[(String, String)]| {
        trailers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(lower(&backend.only_request().payload.trailers), [("x-sum".to_owned(), "5".to_owned())]);
    assert_eq!(lower(&answer.expect(200).trailers), [("x-sum".to_owned(), "2".to_owned())]);
}

/// `Trailer` is a courtesy (RFC 9110 6.6.2: SHOULD), and not every server pays it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "bug: hyper sends no trailer that Trailer does not name"]
async fn trailers_that_are_not_announced_pass_both_ways() {
    let backend = Backend::start(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n")
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let head = head("POST", "TE: trailers\r\nTransfer-Encoding: chunked\r\n");
    let answer = raw.call(format!("{head}5\r\nfive!\r\n0\r\nX-Sum: 5\r\n\r\n")).await;
    assert_eq!(backend.only_request().payload.trailers.len(), 1);
    assert_eq!(answer.expect(200).trailers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_end_at_their_head() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\nX-Kind: none\r\n\r\n"),
        "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"e\"\r\n\r\n"),
        _ => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let mut call = async |method: &str, path: &str| {
        raw.send(format!("{method} {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", path))).await;
        raw.try_response(method).await.expect("a response")
    };
    for _ in 0..2 {
        assert_eq!(call("HEAD", "/").await.expect(200).header("content-length"), Some("1000"));
        assert_eq!(call("GET", "/204").await.expect(204).header("x-kind"), Some("none"));
        assert_eq!(call("GET", "/304").await.expect(304).header("etag"), Some("\"e\""));
    }
    // All on one connection: nobody waited for a body that would never come.
    assert_eq!(backend.accepts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_answered_and_passed_on() {
    let backend = Backend::builder()
        .on_head(|_| Some(Reply::raw("HTTP/1.1 100 Continue\r\n\r\n").then(Reply::read_body())))
        .start(|request| Reply::ok(request.body()))
        .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(head("POST", "Expect: 100-continue\r\nContent-Length: 5\r\n")).await;
    let interim = within("100 Continue", raw.wire.head()).await.expect("a head").expect("a head");
    assert!(interim.start.starts_with("HTTP/1.1 100"), "{interim:?}");
    raw.send("five!").await;
    assert_eq!(raw.response().await.expect(200).body, b"five!");
    assert_eq!(backend.only_request().header("expect"), Some("100-continue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_body_reaches_the_app_before_the_body() {
    let backend = Backend::builder()
        .on_head(|_| Some(Reply::new(401, &[("Connection", "close")], "no").then_close()))
        .start(|_| Reply::ok(""))
        .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(head("POST", "Expect: 100-continue\r\nContent-Length: 5\r\n")).await;
    let answer = raw.response().await;
    assert_eq!(answer.expect(401).text(), "no");
}

/// Case 7: what follows on the connection is not mistaken for the rest of the body.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_request_leaves_no_confusion() {
    let backend = Backend::builder()
        .on_head(|request| (request.target == "/early").then(|| Reply::status(413).then_close()))
        .start(|_| Reply::ok("well"))
        .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n", url("server", "/early")))
        .await;
    raw.response().await.expect(413);
    // The rest of the body looks like a request. It may be read as the body, or the connection closed.
    let _ = raw.wire.send("GET http://server.mesh.test:21500/x HTTP/").await;
    let _ = raw.wire.send(head("GET", "")).await;
    if let Ok(answer) = raw.try_response("GET").await {
        answer.expect(200);
    }
    assert!(backend.requests().iter().all(|request| request.target != "/x"), "{:?}", backend.requests());
}

/// Case 48.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_what_it_understands() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/chunked" => {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\n\r\n")
        }
        _ => Reply::ok("five!"),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for (path, keep, stays) in
        [("/", "", false), ("/chunked", "", false), ("/", "Connection: keep-alive\r\n", true)]
    {
        let mut raw = Raw::connect(proxy.outbound).await;
        let host = authority("server");
        raw.send(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{keep}\r\n")).await;
        if stays {
            let answer = raw.response().await;
            assert_eq!(
                answer.expect(200).header("connection").map(str::to_ascii_lowercase).as_deref(),
                Some("keep-alive")
            );
            continue;
        }
        let all = String::from_utf8(raw.rest().await).expect("text");
        assert!(all.contains(" 200 ") && all.ends_with("\r\n\r\nfive!"), "{all}");
        assert!(!all.to_ascii_lowercase().contains("transfer-encoding"), "{all}");
    }
    // To the endpoint the proxy speaks its own version.
    assert!(backend.requests().iter().all(|request| request.head.start.ends_with("HTTP/1.1")));
}

/// Old clients send no Host at all. At a VIP nobody needs it.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_without_host_is_served_at_a_vip() {
    let backend = Backend::start(|_| Reply::ok("five!")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("server").await).await;
    raw.send("GET / HTTP/1.0\r\n\r\n").await;
    raw.response().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|request| {
        let reply = Reply::ok(&request.target);
        // The first one takes longest.
        if request.target == "/0" { reply.after(Duration::from_millis(100)) } else { reply }
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let all: String = (0..10)
        .map(|n| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", &format!("/{n}"))))
        .collect();
    raw.send(all).await;
    for n in 0..10 {
        assert_eq!(raw.response().await.expect(200).text(), format!("/{n}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_endpoints_are_kept_and_used_again() {
    let backend = Backend::start(|request| Reply::ok(request.body())).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    // More than twice as many as a connection carries before it is renewed within.
    for n in 0..100 {
        let body = if n % 3 == 0 { format!("body {n}") } else { String::new() };
        let answer = proxy.request("POST", "server", "/", "", &body).await;
        assert_eq!(answer.expect(200).text(), body);
    }
    assert_eq!((backend.count(), backend.accepts()), (100, 1));
    let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
    assert_eq!((&endpoint["connections"], &endpoint["inFlight"]), (&json!(1), &json!(0)));
}

/// What a burst has opened is not kept for the minute that idle connections are: sixteen are, the others for ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_only_a_burst_needed_are_closed() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = Backend::start(move |_| Reply::ok("").behind(&behind)).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut burst = Vec::new();
    for _ in 0..40 {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
        burst.push(raw);
    }
    backend.has_received(40).await;
    gate.open();
    for raw in &mut burst {
        raw.response().await.expect(200);
    }
    assert_eq!(proxy.metric("bowline_endpoint_connections", &[]).await, 40.0);
    proxy.metric_is("bowline_endpoint_connections", &[], 16.0).await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!(backend.accepts(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_one_request_at_a_time() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = Backend::start(move |_| Reply::ok("").behind(&behind)).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(head("GET", "")).await;
        all.push(raw);
    }
    backend.has_received(10).await;
    assert_eq!(backend.accepts(), 10);
    proxy.metric_is("bowline_endpoint_in_flight", &[], 10.0).await;
    gate.open();
    for raw in &mut all {
        raw.response().await.expect(200);
    }
    proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
}

/// A response is passed on as it comes, not when it is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_streams() {
    let gate = Gate::shut();
    let rest = Reply::raw("5\r\nlater\r\n0\r\n\r\n").behind(&gate);
    let backend = Backend::start(move |_| {
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").then(rest.clone())
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(head("GET", "")).await;
    within("the head", raw.wire.head()).await.expect("a head");
    let first = within("the first chunk", raw.wire.exactly(10)).await.expect("a chunk");
    assert_eq!(first, b"5\r\nfirst\r\n");
    gate.open();
    assert!(raw.wire.exactly(15).await.expect("the rest").ends_with(b"later\r\n0\r\n\r\n"));
}

/// And so does a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_streams() {
    let backend = Backend::builder()
        .on_head(|_| Some(Reply::raw("").then(Reply::read_body())))
        .start(|request| Reply::ok(request.body()))
        .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(head("POST", "Transfer-Encoding: chunked\r\n")).await;
    // The head goes on before there is any body.
    backend.has_received(1).await;
    raw.send("5\r\nfive!\r\n0\r\n\r\n").await;
    assert_eq!(raw.response().await.expect(200).body, b"five!");
}

/// Case 18: a client that doesn't read must not make the proxy hold its response.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_the_endpoint_down() {
    let size = 64 * 1024 * 1024;
    let backend = Backend::start(move |_| Reply::ok(vec![b'x'; size])).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let before = proxy.metric("process_resident_memory_bytes", &[]).await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(head("GET", "")).await;
    within("the head", raw.wire.head()).await.expect("a head");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = proxy.metric("process_resident_memory_bytes", &[]).await - before;
    assert!(grown < 8e6, "{grown} bytes more");
    let body = within("the body", raw.wire.exactly(size)).await.expect("all of it");
    assert_eq!(body.len(), size);
}
