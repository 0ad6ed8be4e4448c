//! The retry table of the design over HTTP/2 and gRPC: refused streams, GOAWAY, resets, UNAVAILABLE.

use bowline_tests::frames::{FrameBackend, goaway, ok, rst};
use bowline_tests::h2_client::request;
use bowline_tests::{H2Backend, H2Client, Proxy, grpc, service};
use h2::Reason;
use serde_json::{Value, json};

async fn h2_proxy(server: bowline_tests::mesh::Service) -> (Proxy, H2Client) {
    let proxy = crate::proxy().mesh(server.http2().no_ejections().retry(json!({}))).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    (proxy, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_tried_again_whatever_the_method() {
    let a = H2Backend::start(|mut stream| async move { stream.reset(Reason::REFUSED_STREAM) }).await;
    let b = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        stream.answer(200, &[], &body);
    })
    .await;
    let (_proxy, client) = h2_proxy(service("server").at_all([&a, &b])).await;
    for n in 0..10 {
        let method = if n % 2 == 0 { "POST" } else { "GET" };
        let answer = client.call(request(method, "server", "/", &[]), b"body").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"body"[..]));
    }
    assert!(a.count() > 0, "the balancer has never asked the one that refuses");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goaway_leaves_out_is_tried_again_whatever_the_method() {
    // Every stream is told that it was not processed, once; on the next connection all is well.
    let backend = FrameBackend::start(|stream, before| match before {
        0 => goaway(0),
        _ => ok(stream),
    })
    .await;
    for method in ["GET", "POST"] {
        let (proxy, client) = h2_proxy(service("server").at(&backend)).await;
        assert_eq!(client.call(request(method, "server", "/", &[]), b"").await.status, 200);
        assert_eq!(proxy.metric("bowline_local_responses_total", &[]).await, 0.0);
    }
    assert_eq!(backend.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_stream_is_tried_again_for_idempotent_methods() {
    const INTERNAL_ERROR: u32 = 2;
    for (method, again) in [("GET", true), ("POST", false)] {
        let backend = FrameBackend::start(|stream, before| match before {
            0 => rst(stream, INTERNAL_ERROR),
            _ => ok(stream),
        })
        .await;
        let (_proxy, client) = h2_proxy(service("server").at(&backend)).await;
        let answer = client.call(request(method, "server", "/", &[]), b"").await;
        match again {
            true => assert_eq!((answer.status, backend.count()), (200, 2)),
            false => {
                assert_eq!((answer.status, backend.count()), (502, 1));
                assert_eq!(answer.field("x-bowline-error"), Some("reset"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_that_closes_without_a_response_is_tried_again_for_idempotent_methods() {
    for (method, again) in [("GET", true), ("POST", false)] {
        let backend = FrameBackend::start(|stream, before| match before {
            0 => Vec::new(),
            _ => ok(stream),
        })
        .await;
        let (_proxy, client) = h2_proxy(service("server").at(&backend)).await;
        let answer = client.call(request(method, "server", "/", &[]), b"").await;
        match again {
            true => assert_eq!((answer.status, backend.count()), (200, 2)),
            false => assert_eq!((answer.status, backend.count()), (502, 1)),
        }
    }
}

async fn unavailable_then_well(retry: Value) -> (H2Backend, Proxy, H2Client) {
    let backend = H2Backend::start(|mut stream| async move {
        match stream.index {
            0 => grpc::fail(&mut stream, 14),
            _ => grpc::answer(&mut stream, &[b"well"]),
        }
    })
    .await;
    let server =
        service("server").at(&backend).with("appProtocol", json!("grpc")).no_ejections().retry(retry);
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    (backend, proxy, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_unavailable_without_a_message_is_tried_again() {
    let (backend, _proxy, client) = unavailable_then_well(json!({})).await;
    let answer =
        client.call(request("POST", "server", "/pkg.Greeter/Hello", grpc::CALL), &grpc::message(b"hi")).await;
    assert_eq!(answer.field("grpc-status"), Some("0"));
    assert_eq!(grpc::messages(&answer.body), [b"well"]);
    assert_eq!(backend.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_unavailable_is_not_tried_again_where_on_does_not_name_it() {
    let (backend, _proxy, client) = unavailable_then_well(json!({ "on": ["connectFailure"] })).await;
    let answer =
        client.call(request("POST", "server", "/pkg.Greeter/Hello", grpc::CALL), &grpc::message(b"hi")).await;
    assert_eq!(answer.field("grpc-status"), Some("14"));
    assert_eq!(backend.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_unavailable_after_a_message_is_passed_on() {
    let backend = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        let _ = body.send_data(grpc::message(b"first"), false);
        let _ = body.send_trailers(grpc::status(14));
    })
    .await;
    let server = service("server").at(&backend).with("appProtocol", json!("grpc")).retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let answer =
        client.call(request("POST", "server", "/pkg.Greeter/Hello", grpc::CALL), &grpc::message(b"hi")).await;
    assert_eq!(grpc::messages(&answer.body), [b"first"]);
    assert_eq!(answer.field("grpc-status"), Some("14"));
    assert_eq!(backend.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_grpc_statuses_are_passed_on() {
    for code in [1, 2, 4, 5, 8, 13] {
        let backend = H2Backend::start(move |mut stream| async move { grpc::fail(&mut stream, code) }).await;
        let server =
            service("server").at(&backend).with("appProtocol", json!("grpc")).no_ejections().retry(json!({}));
        let proxy = crate::proxy().mesh(server).start().await;
        let client = H2Client::connect(proxy.outbound).await;
        let answer = client.call(request("POST", "server", "/a/B", grpc::CALL), &grpc::message(b"hi")).await;
        assert_eq!(answer.field("grpc-status"), Some(code.to_string().as_str()));
        assert_eq!(backend.count(), 1, "{code}");
    }
}

/// Case 51: one of three endpoints dies under calls on long-lived connections; those it had not answered yet fail by
/// the table (a POST that may have been acted on), all others succeed.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_after_an_endpoint_has_gone_all_succeed() {
    let start = || {
        H2Backend::start(|mut stream| async move {
            stream.read().await;
            grpc::answer(&mut stream, &[b"well"]);
        })
    };
    let (a, b, c) = (start().await, start().await, start().await);
    let server = service("server").at_all([&a, &b, &c]).with("appProtocol", json!("grpc")).retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    for n in 0..600 {
        // Nothing is under way while it goes.
        if n == 200 {
            a.stop().await;
        }
        let answer = client.call(request("POST", "server", "/a/B", grpc::CALL), &grpc::message(b"hi")).await;
        assert_eq!(answer.field("grpc-status"), Some("0"), "call {n}: {answer:?}");
    }
}
