//! Requests that must not be forwarded: each is refused, nothing of it reaches the endpoint, and the process lives.

use bowline_tests::h2_client::request;
use bowline_tests::{Backend, H2Client, Proxy, Raw, Reply, authority, service};
use http::{Method, Request};

async fn server() -> (Backend, Proxy) {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    // Over HTTP/1.1 to the endpoint, whatever the client speaks: that is where requests can be smuggled.
    let server = service("server").at(&backend).with("appProtocol", serde_json::json!("http"));
    let proxy = crate::proxy().mesh(server).start().await;
    (backend, proxy)
}

/// Sends it to the forward proxy and to the VIP; it must be refused with one of these statuses, or by a close.
async fn refused(text: &str, statuses: &[u16]) {
    let (backend, mut proxy) = server().await;
    for addr in [proxy.outbound, proxy.vip("server").await] {
        let mut raw = Raw::connect(addr).await;
        raw.send(text).await;
        match raw.try_response("GET").await {
            Ok(answer) => {
                assert!(statuses.contains(&answer.status), "{text:?}: {} {}", answer.status, answer.text());
            }
            Err(_) => assert!(statuses.is_empty(), "{text:?}: closed without an answer"),
        }
    }
    assert_eq!(backend.count(), 0, "{text:?}: the endpoint got {:?}", backend.requests());
    proxy.get("server", "/").await.expect(200);
    assert!(proxy.runs());
    assert_eq!(proxy.metric("bowline_downstream_errors_total", &[("kind", "panic")]).await, 0.0);
}

/// Case 52: a VIP stands for a service, and takes nobody elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_at_a_vip() {
    let (backend, proxy) = server().await;
    let vip = proxy.vip("server").await;
    for name in [authority("server"), backend.addr().to_string()] {
        let connect = format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n");
        Raw::connect(vip).await.call(connect).await.expect(400);
    }
    assert_eq!(backend.accepts(), 0);
}

/// Case 6: bytes sent in the hope of a tunnel are not HTTP for anybody to act on, whatever they look like.
#[tokio::test(flavor = "multi_thread")]
async fn connect_with_early_data_is_refused_and_the_data_is_no_request() {
    let (backend, proxy) = server().await;
    let name = authority("server");
    let mut raw = Raw::connect(proxy.vip("server").await).await;
    raw.send(format!(
        "CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\nGET / HTTP/1.1\r\nHost: {name}\r\n\r\n"
    ))
    .await;
    let answer = raw.response().await;
    assert_eq!(answer.expect(400).header("connection"), Some("close"));
    raw.closed().await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_as_target_is_refused() {
    let name = authority("server");
    refused(&format!("GET {name} HTTP/1.1\r\nHost: {name}\r\n\r\n"), &[400]).await;
    refused(&format!("GET server HTTP/1.1\r\nHost: {name}\r\n\r\n"), &[400]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_with_get_is_refused_and_with_options_is_forwarded() {
    let name = authority("server");
    refused(&format!("GET * HTTP/1.1\r\nHost: {name}\r\n\r\n"), &[400]).await;
    let (backend, proxy) = server().await;
    Raw::connect(proxy.outbound)
        .await
        .call(format!("OPTIONS * HTTP/1.1\r\nHost: {name}\r\n\r\n"))
        .await
        .expect(200);
    assert_eq!(backend.only_request().head.start, "OPTIONS * HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_are_refused() {
    let name = authority("server");
    refused(&format!("GET / HTTP/1.1\r\nHost: {name}\r\nHost: {name}\r\n\r\n"), &[400]).await;
    refused(&format!("GET / HTTP/1.1\r\nHost: {name}\r\nhOST: other\r\n\r\n"), &[400]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_none_are_refused() {
    let name = authority("server");
    for host in [&format!("user@{name}"), &format!("user:word@{name}"), "", "a b", "a/b", "a\\b", "a\u{7f}"] {
        refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_name_in_the_target_is_refused() {
    let name = authority("server");
    refused(&format!("GET http://user@{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n"), &[400]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_without_host_is_refused() {
    refused("GET / HTTP/1.1\r\n\r\n", &[400]).await;
}

/// Case 3.
#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_are_none_are_refused() {
    let name = authority("server");
    for length in ["+5", "-5", "5,6", "5 5", "0x5", "five", "99999999999999999999", ""] {
        refused(&format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: {length}\r\n\r\nfive!"), &[400])
            .await;
    }
    refused(
        &format!("POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfive!"),
        &[400],
    )
    .await;
}

/// Case 2.
#[tokio::test(flavor = "multi_thread")]
async fn transfer_encodings_that_do_not_end_in_chunked_are_refused() {
    let name = authority("server");
    for encoding in
        ["gzip", "chunked, gzip", "identity", "xchunked", "chunked\r\nTransfer-Encoding: identity"]
    {
        refused(
            &format!("POST / HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: {encoding}\r\n\r\n0\r\n\r\n"),
            &[400],
        )
        .await;
    }
    refused(
        &format!("POST / HTTP/1.0\r\nHost: {name}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        &[400],
    )
    .await;
}

/// Case 1: refused, or one length is taken out and the connection closed; never both sent on.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_and_chunked_are_never_both_sent_on() {
    let name = authority("server");
    let both = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ];
    for headers in both {
        let (backend, proxy) = server().await;
        let mut raw = Raw::connect(proxy.outbound).await;
        // By the length the rest is a second request; by the chunks it is inside the first.
        raw.send(format!("POST / HTTP/1.1\r\nHost: {name}\r\n{headers}\r\n\r\n1e\r\nGET /smuggled HTTP/1.1\r\nX: y\r\n\r\n0\r\n\r\n")).await;
        let _ = raw.try_response("POST").await;
        for request in backend.requests() {
            assert_ne!(request.target, "/smuggled");
            let (length, chunked) = (request.header("content-length"), request.header("transfer-encoding"));
            assert!(length.is_none() || chunked.is_none(), "{:?}", request.head);
        }
        proxy.get("server", "/").await.expect(200);
    }
}

/// Case 4.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_none_never_reach_the_endpoint_whole() {
    let name = authority("server");
    for chunks in [
        "5\nfive!\r\n0\r\n\r\n",
        "5;a\nb\r\nfive!\r\n0\r\n\r\n",
        "g\r\n",
        "-5\r\nfive!\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nx",
    ] {
        let (backend, mut proxy) = server().await;
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(format!("POST / HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
            .await;
        match raw.try_response("POST").await {
            Ok(answer) => assert_eq!(answer.status, 400, "{chunks:?}"),
            Err(_) => raw.closed().await,
        }
        assert!(
            backend.requests().iter().all(|request| request.body().is_empty()),
            "{chunks:?}: {:?}",
            backend.requests()
        );
        proxy.get("server", "/").await.expect(200);
        assert!(proxy.runs());
    }
}

/// Case 11.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let name = authority("server");
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    refused(&format!("GET / HTTP/1.1\r\nHost: {name}\r\n{many}\r\n"), &[431]).await;
    let large = "y".repeat(80 * 1024);
    refused(&format!("GET / HTTP/1.1\r\nHost: {name}\r\nx: {large}\r\n\r\n"), &[431]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_50_kilobytes_and_90_headers_is_forwarded() {
    let (backend, proxy) = server().await;
    let value = "y".repeat(600);
    let many: String = (0..85).map(|n| format!("x-{n}: {value}\r\n")).collect();
    proxy.request("GET", "server", "/", &many, "").await.expect(200);
    assert_eq!(backend.only_request().header("x-84"), Some(value.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_refused_and_counted() {
    let (backend, proxy) = server().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(bytes).await;
        let answer = raw.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    proxy.metric_is("bowline_downstream_errors_total", &[("kind", "protocol")], 4.0).await;
    assert_eq!(backend.count(), 0);
}

/// Case 10: a response that could be read in two ways is not passed on.
#[tokio::test(flavor = "multi_thread")]
async fn responses_that_can_be_read_in_two_ways_are_not_passed_on() {
    let bad = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfive!!",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nfive!",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nfive!",
    ];
    for text in bad {
        let backend = Backend::start(move |_| Reply::raw(text).then(Reply::hang())).await;
        let proxy = crate::proxy()
            .mesh(service("server").at(&backend).retry(serde_json::json!({ "retries": 0 })))
            .start()
            .await;
        let answer = proxy.get("server", "/").await;
        assert_eq!(answer.expect(502).header("x-bowline-error"), Some("invalid_response"), "{text}");
        // Nobody else gets the rest of it.
        backend.was_left(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_and_chunks_in_a_response_are_never_both_passed_on() {
    let text =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\n\r\n";
    let backend = Backend::start(move |_| Reply::raw(text)).await;
    let proxy = crate::proxy()
        .mesh(service("server").at(&backend).retry(serde_json::json!({ "retries": 0 })))
        .start()
        .await;
    let answer = proxy.get("server", "/").await;
    let (length, chunked) = (answer.header("content-length"), answer.header("transfer-encoding"));
    assert!(length.is_none() || chunked.is_none(), "{:?}", answer.head);
    assert!(answer.status == 502 || answer.body == b"five!", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_that_contradict_themselves_are_refused() {
    let (backend, proxy) = server().await;
    let client = H2Client::connect(proxy.outbound).await;
    let differ = request("GET", "server", "/", &[("host", "other.mesh.test")]);
    assert_eq!(client.call(differ, b"").await.status, 400);
    let user = Request::get(format!("http://user@{}/", authority("server"))).body(()).expect("a request");
    assert!(client.try_call(user, b"", None).await.map_or(true, |answer| answer.status == 400));
    let connect =
        Request::builder().method(Method::CONNECT).uri(authority("server")).body(()).expect("a request");
    assert!(
        client
            .try_call(connect, b"", None)
            .await
            .map_or(true, |answer| matches!(answer.status, 400 | 405 | 501))
    );
    // The same connection goes on.
    assert_eq!(client.call(request("GET", "server", "/", &[]), b"").await.status, 200);
    assert_eq!(backend.count(), 1);
}

/// Case 8: a length that the DATA frames don't keep to must not become half of one HTTP/1.1 request and the start of
/// another.
#[tokio::test(flavor = "multi_thread")]
async fn an_http2_body_of_another_length_than_declared_is_no_request() {
    let (backend, proxy) = server().await;
    for declared in ["3", "8"] {
        let client = H2Client::connect(proxy.outbound).await;
        let result = client
            .try_call(request("POST", "server", "/", &[("content-length", declared)]), b"five!", None)
            .await;
        assert!(result.is_err() || result.is_ok_and(|answer| answer.status >= 400), "{declared}");
    }
    assert!(backend.requests().iter().all(|request| request.body().is_empty()), "{:?}", backend.requests());
    proxy.get("server", "/").await.expect(200);
}

/// Case 22: TLS where HTTP is spoken, whole, in pieces, or broken off.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_is_refused_whole_or_in_pieces() {
    let (backend, proxy) = server().await;
    // The beginning of a ClientHello of TLS 1.3 with a length that its bytes don't reach.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend([0x5a; 300]);
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(&hello).await;
    raw.rest().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    for byte in &hello[..20] {
        if raw.wire.send([*byte]).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    raw.rest().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(&hello[..3]).await;
    raw.reset();
    proxy.get("server", "/").await.expect(200);
    assert_eq!(backend.count(), 1);
    proxy.logged("an app speaks TLS where plain HTTP is spoken").await;
    assert_eq!(proxy.metric("bowline_downstream_errors_total", &[("kind", "panic")]).await, 0.0);
}
