//! gRPC, on the wire: the four kinds of call, statuses, deadlines, and what a caller is told when there is no answer.

use std::time::{Duration, Instant};

use bowline_tests::grpc::{self, CALL, message, messages};
use bowline_tests::h2_backend::{next, read};
use bowline_tests::h2_client::request;
use bowline_tests::mesh::Endpoint;
use bowline_tests::sockets::refusing;
use bowline_tests::wait::within;
use bowline_tests::{H2Backend, H2Client, Proxy, service};
use h2::Reason;
use serde_json::json;

const METHOD: &str = "/pkg.Greeter/Hello";

async fn before(endpoint: impl Endpoint) -> (Proxy, H2Client) {
    let server = service("server").at(endpoint).with("appProtocol", json!("grpc")).retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    (proxy, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn unary() {
    let backend = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        assert_eq!(stream.head.headers["te"], "trailers");
        grpc::answer(&mut stream, &[&messages(&body)[0]]);
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    for size in [0, 10, 40_000] {
        let body = vec![b'm'; size];
        let answer = client.call(request("POST", "server", METHOD, CALL), &message(&body)).await;
        assert_eq!(messages(&answer.body), [body]);
        assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
        assert_eq!(answer.headers["content-type"], "application/grpc");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_streaming() {
    let backend = H2Backend::start(|mut stream| async move {
        stream.read().await;
        let all: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 100]).collect();
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        grpc::answer(&mut stream, &all);
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"go")).await;
    let all = messages(&answer.body);
    assert!(all.len() == 100 && all.iter().enumerate().all(|(n, one)| one == &vec![n as u8; 100]));
    assert_eq!(answer.field("grpc-status"), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_streaming() {
    let backend = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        grpc::answer(&mut stream, &[messages(&body).len().to_string().as_bytes()]);
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let (response, mut sending) =
        client.open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
    for n in 0..100 {
        sending.send_data(message(&[b'x'; 50]), n == 99).expect("the stream is open");
    }
    let (_, mut body) = H2Client::head(response).await.into_parts();
    let (body, trailers) = within("the answer", read(&mut body)).await.expect("the answer");
    assert_eq!(messages(&body), [b"100"]);
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
}

/// Each message is answered before the next one is sent: nothing on the way may wait for more.
#[tokio::test(flavor = "multi_thread")]
async fn bidirectional_streaming_is_an_echo_while_the_call_is_open() {
    let backend = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        while let Some(data) = stream.next().await {
            let _ = body.send_data(data, false);
        }
        let _ = body.send_trailers(grpc::status(0));
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let (response, mut sending) =
        client.open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
    let (_, mut body) = H2Client::head(response).await.into_parts();
    for n in 0..50u8 {
        sending.send_data(message(&[n]), false).expect("the stream is open");
        assert_eq!(within("the echo", next(&mut body)).await.as_deref(), Some(&message(&[n])[..]));
    }
    sending.send_data("".into(), true).expect("the stream is open");
    let (_, trailers) = within("the end", read(&mut body)).await.expect("the end");
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_message_keeps_its_words() {
    let backend = H2Backend::start(|mut stream| async move {
        let headers = [
            ("content-type", "application/grpc"),
            ("grpc-status", "5"),
            ("grpc-message", "no such thing %C3%BC"),
            ("x-detail-bin", "AAEC"),
        ];
        stream.answer(200, &headers, b"");
    })
    .await;
    let (proxy, client) = before(&backend).await;
    let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"hi")).await;
    assert_eq!(answer.field("grpc-status"), Some("5"));
    assert_eq!(answer.field("grpc-message"), Some("no such thing %C3%BC"));
    assert_eq!(answer.field("x-detail-bin"), Some("AAEC"));
    assert_eq!(answer.field("x-bowline-error"), None);
    assert_eq!(proxy.metric("bowline_requests_total", &[("class", "grpc_error")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_messages_keeps_its_trailers() {
    let backend = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        let _ = body.send_data(message(b"one"), false);
        let mut trailers = grpc::status(9);
        trailers.insert("grpc-message", "half way".parse().expect("a value"));
        let _ = body.send_trailers(trailers);
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"hi")).await;
    assert_eq!(messages(&answer.body), [b"one"]);
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(
        (trailers["grpc-status"].as_bytes(), trailers["grpc-message"].as_bytes()),
        (&b"9"[..], &b"half way"[..])
    );
}

/// Case 50: a caller of gRPC is told in gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_live_endpoint_the_caller_gets_unavailable_with_a_message() {
    let (_proxy, client) = before(refusing()).await;
    let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"hi")).await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")));
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    assert_eq!(answer.field("x-bowline-error"), Some("connect_failure"));
    let words = answer.field("grpc-message").expect("a message");
    assert!(words.contains("service server") && words.contains("3 attempts failed"), "{words}");
    // And at once, again and again: nothing is waited for. The fastest, as the machine may be busy.
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"hi")).await;
        assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")));
        fastest = fastest.min(begun.elapsed());
    }
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_service_is_told_in_grpc_too() {
    let (_proxy, client) = before(refusing()).await;
    let answer = client.call(request("POST", "severs", METHOD, CALL), &message(b"hi")).await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")));
    assert!(answer.field("grpc-message").expect("a message").contains("did you mean server.mesh.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_timeout_is_kept_to_and_passed_on() {
    let backend = H2Backend::start(|mut stream| async move { stream.until_reset().await }).await;
    let (_proxy, client) = before(&backend).await;
    let begun = Instant::now();
    let headers = [CALL, &[("grpc-timeout", "700m")]].concat();
    let answer = client.call(request("POST", "server", METHOD, &headers), &message(b"hi")).await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("4")));
    assert!(begun.elapsed() >= Duration::from_millis(650), "{:?}", begun.elapsed());
    assert_eq!(backend.heads()[0].headers["grpc-timeout"], "700m");
    assert_eq!(backend.was_reset().await, Reason::CANCEL);
    assert_eq!(backend.count(), 1);
}

/// Without `grpc-timeout` there is none: a streaming server may take its time to the first message.
#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_without_a_deadline_may_take_longer_than_a_request() {
    let backend = H2Backend::start(|mut stream| async move {
        tokio::time::sleep(Duration::from_secs(17)).await;
        grpc::answer(&mut stream, &[b"late"]);
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"hi")).await;
    assert_eq!(messages(&answer.body), [b"late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_cancels_is_heard_by_the_endpoint() {
    let backend = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        let _ = body.send_data(message(b"first"), false);
        stream.until_body_reset(&mut body).await;
    })
    .await;
    let (proxy, client) = before(&backend).await;
    let (response, mut sending) =
        client.open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
    let mut body = H2Client::head(response).await.into_body();
    within("the first message", next(&mut body)).await.expect("the first message");
    sending.send_reset(Reason::CANCEL);
    assert_eq!(backend.was_reset().await, Reason::CANCEL);
    proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_endpoint_in_mid_stream_reaches_the_caller() {
    let gate = bowline_tests::Gate::shut();
    let behind = gate.clone();
    let backend = H2Backend::start(move |mut stream| {
        let behind = behind.clone();
        async move {
            let mut body = stream.head(grpc::head());
            let _ = body.send_data(message(b"first"), false);
            // A reset overtakes what waits to be sent.
            behind.passed().await;
            stream.reset(Reason::ENHANCE_YOUR_CALM);
        }
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let (response, _sending) =
        client.open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
    let mut body = H2Client::head(response).await.into_body();
    within("the first message", next(&mut body)).await.expect("the first message");
    gate.open();
    let error = within("the reset", read(&mut body)).await.expect_err("a reset");
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
}

/// A call whose endpoint dies in mid-stream ends as it would without a proxy: UNAVAILABLE, behind what has come. A reset
/// of the stream would be INTERNAL to the caller, which nobody retries.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_endpoint_dies_in_mid_stream_is_unavailable() {
    let backend = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        let _ = body.send_data(message(b"first"), false);
        std::future::pending::<()>().await;
    })
    .await;
    let (proxy, client) = before(&backend).await;
    let (response, _sending) =
        client.open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
    let mut body = H2Client::head(response).await.into_body();
    let first = within("the first message", body.data()).await.expect("a message").expect("a message");
    assert_eq!(first, message(b"first"));
    backend.stop().await;
    let (rest, trailers) = within("the end", read(&mut body)).await.expect("no reset");
    assert_eq!(rest, "");
    let trailers = trailers.expect("trailers");
    assert_eq!(trailers["grpc-status"], "14");
    assert!(trailers["grpc-message"].to_str().is_ok_and(|text| text.contains("broke off")), "{trailers:?}");
    proxy.metric_is("bowline_broken_bodies_total", &[("service", "server")], 1.0).await;
}

/// More calls at once than a connection to the endpoint takes: a second connection is opened, and no call fails.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_at_once() {
    let gate = bowline_tests::Gate::shut();
    let behind = gate.clone();
    let backend = H2Backend::start(move |mut stream| {
        let behind = behind.clone();
        async move {
            stream.read().await;
            behind.passed().await;
            grpc::answer(&mut stream, &[b"well"]);
        }
    })
    .await;
    let (proxy, client) = before(&backend).await;
    let clients = [client, H2Client::connect(proxy.outbound).await];
    let mut waiting = Vec::new();
    for n in 0..200 {
        let (response, mut sending) =
            clients[n % 2].open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
        sending.send_data(message(b"hi"), true).expect("the stream is open");
        waiting.push(response);
    }
    backend.has_received(200).await;
    assert_eq!(backend.accepts(), 2);
    gate.open();
    for response in waiting {
        let mut body = H2Client::head(response).await.into_body();
        let (body, _) = within("an answer", read(&mut body)).await.expect("an answer");
        assert_eq!(messages(&body), [b"well"]);
    }
}

/// The endpoint says GOAWAY after each few calls, as servers with a maximum connection age do: nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_renews_its_connections_costs_no_call() {
    let backend = H2Backend::start(|mut stream| async move {
        stream.read().await;
        grpc::answer(&mut stream, &[b"well"]);
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    for n in 0..100 {
        if n % 10 == 9 {
            backend.go_away();
            backend.has_closed(backend.accepts()).await;
            backend.stay();
        }
        let answer = client.call(request("POST", "server", METHOD, CALL), &message(b"hi")).await;
        assert_eq!(answer.field("grpc-status"), Some("0"), "call {n}: {answer:?}");
    }
    assert_eq!(backend.accepts(), 11);
}
