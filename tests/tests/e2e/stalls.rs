//! Case 49: a reader that stops, or an endpoint that does, must not hold up the others on a connection that they share.

use std::time::{Duration, Instant};

use bowline_tests::grpc::{self, CALL, message, messages};
use bowline_tests::h2_backend::{next, read};
use bowline_tests::h2_client::request;
use bowline_tests::netns::Netns;
use bowline_tests::wait::within;
use bowline_tests::{Gate, H2Backend, H2Client, Proxy, Raw, eventually, service, url};
use serde_json::json;

const METHOD: &str = "/pkg.Greeter/Hello";

async fn before(backend: &H2Backend) -> (Proxy, H2Client) {
    let server = service("server").at(backend).with("appProtocol", json!("grpc")).retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    (proxy, client)
}

/// One reader that stops must not hold up the others on the shared connection to the endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_does_not_stall_the_others() {
    let backend = H2Backend::start(|mut stream| async move {
        stream.read().await;
        let size = if stream.head.uri.path() == "/large" { 4 << 20 } else { 10 };
        stream.answer(200, &[], &vec![b'x'; size]);
    })
    .await;
    let (proxy, client) = before(&backend).await;
    let mut stalled = Vec::new();
    for _ in 0..50 {
        // Their bodies are never read.
        let (response, _) =
            client.open(request("GET", "server", "/large", &[]), true).await.expect("a stream");
        stalled.push(H2Client::head(response).await.into_body());
    }
    let other = H2Client::connect(proxy.outbound).await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(other.call(request("GET", "server", "/small", &[]), b"").await.body.len(), 10);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "100 small answers took {:?}", begun.elapsed());
}

/// The same with many small messages: what is not read yet costs more than its bytes, and h2 gives up connections on
/// which too much of it is waiting.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stop_in_a_stream_of_small_messages_do_not_stall_the_others() {
    let backend = H2Backend::start(|mut stream| async move {
        if stream.head.uri.path() == "/small" {
            return stream.answer(200, &[], b"ten bytes!");
        }
        let mut body = stream.head(grpc::head());
        // More than a stream's window takes.
        for _ in 0..10_000 {
            let _ = body.send_data(message(b"tick"), false);
        }
        stream.until_body_reset(&mut body).await;
    })
    .await;
    let (proxy, client) = before(&backend).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let (response, _) =
            client.open(request("POST", "server", METHOD, CALL), true).await.expect("a stream");
        stalled.push(H2Client::head(response).await.into_body());
    }
    let other = H2Client::connect(proxy.outbound).await;
    for _ in 0..100 {
        assert_eq!(other.call(request("GET", "server", "/small", &[]), b"").await.body, "ten bytes!");
    }
    assert_eq!(backend.accepts(), 1, "the connection to the endpoint was given up");
    for body in &mut stalled {
        within("a message", next(body)).await.expect("the stream is alive");
    }
}

/// And the other way: uploads of small messages to an endpoint that does not read yet.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_small_messages_to_an_endpoint_that_stops_reading_do_not_stall_the_others() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = H2Backend::start(move |mut stream| {
        let behind = behind.clone();
        async move {
            if stream.head.uri.path() == METHOD {
                behind.passed().await;
            }
            let (body, _) = stream.read().await;
            grpc::answer(&mut stream, &[messages(&body).len().to_string().as_bytes()]);
        }
    })
    .await;
    let (_proxy, client) = before(&backend).await;
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let (response, mut sending) =
            client.open(request("POST", "server", METHOD, CALL), false).await.expect("a stream");
        for n in 0..10_000 {
            sending.send_data(message(b"tick"), n == 9_999).expect("the stream is open");
        }
        waiting.push(response);
    }
    backend.has_received(40).await;
    for _ in 0..20 {
        let answer = client.call(request("POST", "server", "/other/Method", CALL), &message(b"hi")).await;
        assert_eq!(messages(&answer.body), [b"1"]);
    }
    gate.open();
    for response in waiting {
        let mut body = H2Client::head(response).await.into_body();
        assert_eq!(messages(&within("an answer", read(&mut body)).await.expect("an answer").0), [b"10000"]);
    }
}

/// The same with apps over HTTP/1.1 that stop reading in a stream of small pieces, each of which h2 counts as 256 bytes.
/// The connection to the endpoint that they share with others must not be given up for it.
#[test]
fn http1_readers_that_stop_in_a_stream_of_small_pieces_do_not_stall_the_others() {
    const SIZE: usize = 200_000;
    let Some(netns) = Netns::or_skip() else { return };
    // What the proxy's kernel takes of a response on its way to an app that reads nothing: else it is megabytes.
    netns.sysctl("net.ipv4.tcp_wmem", "4096 16384 16384");
    netns.sysctl("net.ipv4.tcp_rmem", "4096 16384 16384");
    netns.run(async || {
        let backend = H2Backend::start(|mut stream| async move {
            if stream.head.uri.path() == "/small" {
                return stream.answer(200, &[], b"ten bytes!");
            }
            let head = http::Response::builder().header("content-length", SIZE).body(()).expect("a head");
            let mut body = stream.head(head);
            // First what fills the buffers on the way, then byte by byte more than the rest of them and a window take.
            let _ = body.send_data(vec![b'x'; 60_000].into(), false);
            for _ in 60_000..SIZE - 1 {
                let _ = body.send_data("y".into(), false);
            }
            let _ = body.send_data("z".into(), true);
        })
        .await;
        let proxy = crate::proxy().mesh(service("server").at(&backend).http2()).start().await;
        let get = |path| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", path));
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let mut raw = Raw::connect(proxy.outbound).await;
            raw.send(get("/ticks")).await;
            within("a head", raw.wire.head()).await.expect("a head");
            stalled.push(raw);
        }
        let mut other = Raw::connect(proxy.outbound).await;
        let received = || proxy.metric("bowline_endpoint_bytes_total", &[("direction", "received")]);
        // Until no more comes to the proxy: all windows are full.
        let mut before = -1.0;
        eventually("everything stands still", async || {
            for _ in 0..50 {
                assert_eq!(other.call(get("/small")).await.expect(200).body, b"ten bytes!");
            }
            let now = received().await;
            let grown = now - std::mem::replace(&mut before, now);
            (grown < 20_000.0).then_some(())
        })
        .await;
        assert_eq!(backend.accepts(), 1, "the connection to the endpoint was given up");
        for raw in &mut stalled {
            let body = within("the whole body", raw.wire.exactly(SIZE)).await.expect("the whole body");
            assert_eq!(body.last(), Some(&b'z'));
        }
    });
}
