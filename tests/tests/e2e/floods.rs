//! Floods over HTTP/2, frame by frame. The connection that floods is ended, or what it costs is bounded; requests on
//! other connections go on as if nothing had happened.

use bowline_tests::frames::{
    Frame, FrameClient, field, frame, head, kind, request as headers, rst, window_update,
};
use bowline_tests::h2_client::request;
use bowline_tests::{H2Backend, H2Client, Proxy, authority, eventually, service};
use h2::Reason;
use serde_json::json;

/// How much the proxy's memory may grow while it is flooded: a debug build, with the allocator's slack.
const ROOM: f64 = 64.0 * 1024.0 * 1024.0;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;

struct Scene {
    backend: H2Backend,
    proxy: Proxy,
    other: H2Client,
    memory: f64,
}

/// An endpoint that answers at once, save for `/hang`, which it only leaves when it is reset, and `/large`: 4 MiB. A
/// client uses it all the while.
async fn scene() -> Scene {
    let backend = H2Backend::start(|mut stream| async move {
        match stream.head.uri.path() {
            "/hang" => stream.until_reset().await,
            "/large" => {
                let mut body = stream.head(http::Response::new(()));
                let _ = body.send_data(vec![b'x'; 4 << 20].into(), false);
                stream.until_body_reset(&mut body).await;
            }
            _ => stream.answer(200, &[], b"well"),
        }
    })
    .await;
    let server = service("server")
        .at(&backend)
        .http2()
        // What hangs is not tried again: retries tell of a lost connection.
        .with(
            "timeout",
            json!({ "idleTimeoutSeconds": 1, "responseHeadersSeconds": 600, "perAttemptSeconds": 0 }),
        );
    let proxy = crate::proxy().mesh(server).start().await;
    let other = H2Client::connect(proxy.outbound).await;
    let scene = Scene { backend, proxy, other, memory: 0.0 };
    scene.others_are_served().await;
    let memory = scene.memory().await;
    Scene { memory, ..scene }
}

impl Scene {
    async fn attacker(&self) -> FrameClient {
        FrameClient::connect(self.proxy.outbound, &[]).await
    }

    async fn memory(&self) -> f64 {
        self.proxy.metric("process_resident_memory_bytes", &[]).await
    }

    async fn others_are_served(&self) {
        for _ in 0..20 {
            let answer = self.other.call(request("GET", "server", "/", &[]), b"").await;
            assert_eq!(answer.body, "well");
        }
    }

    /// Nothing is left of the flood, and nobody else was harmed.
    async fn survives(&mut self) {
        self.other = H2Client::connect(self.proxy.outbound).await;
        self.others_are_served().await;
        self.proxy.metric_is("bowline_endpoint_in_flight", &[], 0.0).await;
        let grown = self.memory().await - self.memory;
        assert!(grown < ROOM, "memory has grown by {grown} bytes");
        assert_eq!(self.proxy.metric("bowline_downstream_errors_total", &[("kind", "panic")]).await, 0.0);
        assert!(self.proxy.runs());
        // Had the connection to the endpoint, which all clients share, been lost, they would have had to try again.
        assert_eq!(self.proxy.metric("bowline_retries_total", &[]).await, 0.0);
    }

    async fn is_counted(&self, kind: &str) -> bool {
        self.proxy.metric("bowline_downstream_errors_total", &[("kind", kind)]).await > 0.0
    }

    async fn counted(&self, kind: &str) {
        self.proxy.metric_is("bowline_downstream_errors_total", &[("kind", kind)], 1.0).await;
    }
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, &head("GET", &authority("server"), path), true)
}

fn post(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, &head("POST", &authority("server"), path), false)
}

/// Odd numbers, as a client's streams have them.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// Case 13: all at once.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_in_one_breath_end_the_connection() {
    let mut scene = scene().await;
    let attacker = scene.attacker().await;
    let flood: Vec<u8> = streams().take(5_000).flat_map(|n| [get(n, "/hang"), rst(n, 8)].concat()).collect();
    attacker.until_closed(&flood).await;
    scene.counted("flood").await;
    assert!(scene.backend.count() < 1_500, "{} requests reached the endpoint", scene.backend.count());
    scene.survives().await;
}

/// Case 13: paced, so that each request has reached the endpoint before it is reset.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_reset_one_by_one_end_the_connection() {
    let mut scene = scene().await;
    let mut attacker = scene.attacker().await;
    let before = scene.backend.count();
    for (sent, n) in streams().enumerate() {
        assert!(sent < 1_500, "{sent} requests were taken");
        if attacker.send(get(n, "/hang")).await.is_err() {
            break;
        }
        let ended = eventually("the request is passed on, or the connection ends", async || {
            match scene.backend.count() > before + sent {
                true => Some(false),
                false => scene.is_counted("flood").await.then_some(true),
            }
        });
        if ended.await || attacker.send(rst(n, 8)).await.is_err() {
            break;
        }
    }
    scene.counted("flood").await;
    attacker.closed().await;
    scene.survives().await;
}

/// A client that calls off a part of its requests, or not at once, is none of these.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_calls_off_every_third_request_is_left_alone() {
    let mut scene = scene().await;
    let client = H2Client::connect(scene.proxy.outbound).await;
    for _ in 0..400 {
        let (_, mut sending) =
            client.open(request("GET", "server", "/hang", &[]), true).await.expect("a stream");
        sending.send_reset(Reason::CANCEL);
        for _ in 0..2 {
            assert_eq!(client.call(request("GET", "server", "/", &[]), b"").await.body, "well");
        }
    }
    assert_eq!(scene.proxy.metric("bowline_downstream_errors_total", &[("kind", "flood")]).await, 0.0);
    scene.survives().await;
}

/// Case 14: the client makes the proxy reset its streams.
#[tokio::test(flavor = "multi_thread")]
async fn resets_that_the_client_provokes_call_the_work_off_and_end_the_connection() {
    let mut scene = scene().await;
    let before = scene.backend.count();
    let mut attacker = scene.attacker().await;
    // More window than there can be: the stream is in error.
    let too_much = |n| window_update(n, i32::MAX as u32);
    attacker.send(get(1, "/hang")).await.expect("the connection is open");
    scene.backend.has_received(before + 1).await;
    attacker.send(too_much(1)).await.expect("the connection is open");
    let reset = attacker.until(kind::RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (1, u32::from(Reason::FLOW_CONTROL_ERROR)));
    assert_eq!(scene.backend.was_reset().await, Reason::CANCEL);
    let flood: Vec<u8> =
        streams().skip(1).take(3_000).flat_map(|n| [get(n, "/hang"), too_much(n)].concat()).collect();
    attacker.until_closed(&flood).await;
    scene.counted("flood").await;
    scene.survives().await;
}

/// Case 14, by a frame that is an error of the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_update_of_nothing_ends_the_connection() {
    let mut scene = scene().await;
    let before = scene.backend.count();
    let mut attacker = scene.attacker().await;
    attacker.send(get(1, "/hang")).await.expect("the connection is open");
    scene.backend.has_received(before + 1).await;
    attacker.send(window_update(1, 0)).await.expect("the connection is open");
    attacker.closed().await;
    assert_eq!(scene.backend.was_reset().await, Reason::CANCEL);
    scene.counted("protocol").await;
    scene.survives().await;
}

/// Case 15.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_go_on_for_ever_end_the_connection() {
    for part in [&field("x", "y")[..], &[]] {
        let mut scene = scene().await;
        let mut attacker = scene.attacker().await;
        let before = scene.backend.count();
        let begin = frame(kind::HEADERS, 0x1, 1, &head("GET", &authority("server"), "/"));
        attacker.send(begin).await.expect("the connection is open");
        attacker.until_closed(&frame(kind::CONTINUATION, 0, 1, part)).await;
        scene.counted("flood").await;
        assert_eq!(scene.backend.count(), before);
        scene.survives().await;
    }
}

/// Case 16: frames without anything in them.
#[tokio::test(flavor = "multi_thread")]
async fn empty_data_ends_the_connection() {
    let mut scene = scene().await;
    let mut attacker = scene.attacker().await;
    attacker.send(post(1, "/hang")).await.expect("the connection is open");
    attacker.until_closed(&frame(kind::DATA, 0, 1, &[])).await;
    scene.counted("flood").await;
    scene.survives().await;
}

/// Case 16: bodies of one byte a frame that nobody reads. They may wait: there is no more of them than the windows allow,
/// and what they cost beside their bytes is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn data_byte_by_byte_that_nobody_reads_costs_no_more_than_its_window() {
    let mut scene = scene().await;
    let before = scene.backend.count();
    let mut attacker = scene.attacker().await;
    let mut next = streams();
    let open: Vec<u32> = next.by_ref().take(20).collect();
    for n in &open {
        attacker.send(post(*n, "/hang")).await.expect("the connection is open");
    }
    scene.backend.has_received(before + open.len()).await;
    for n in &open {
        let bytes = frame(kind::DATA, 0, *n, b"x").repeat(60_000);
        attacker.send(bytes).await.expect("the connection is open");
        scene.others_are_served().await;
    }
    // It still works, and so does the connection to the endpoint.
    let last = next.next().expect("a number");
    attacker.send(get(last, "/")).await.expect("the connection is open");
    loop {
        let Frame { kind, stream, flags, .. } = attacker.next().await.expect("the connection is open");
        if kind == kind::DATA && stream == last && flags & 1 != 0 {
            break;
        }
    }
    let grown = scene.memory().await - scene.memory;
    assert!(grown < ROOM, "memory has grown by {grown} bytes");
    // And when there is more than the window allows, the stream is reset.
    attacker.send(frame(kind::DATA, 0, open[0], b"x").repeat(100_000)).await.expect("the connection is open");
    let reset = attacker.until(kind::RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (open[0], u32::from(Reason::FLOW_CONTROL_ERROR)));
    drop(attacker);
    scene.survives().await;
}

/// Case 17: each of these is answered, and the client doesn't read the answers.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_bounded_and_the_connection_is_closed() {
    for flood in [frame(kind::PING, 0, 0, b"pingpong"), frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])]
    {
        let mut scene = scene().await;
        scene.attacker().await.until_closed_unread(&flood.repeat(1_000)).await;
        scene.survives().await;
        let errors = scene.proxy.metrics().await;
        let of = |kind| errors.sum("bowline_downstream_errors_total", &[("kind", kind)]);
        // None, where it had its time as an idle connection before the socket was full.
        assert!(of("flood") + of("timeout") <= 1.0);
    }
}

/// Case 17: these are not answered.
#[tokio::test(flavor = "multi_thread")]
async fn frames_that_carry_no_request_end_the_connection() {
    let unknown = frame(0x20, 0, 0, b"who knows");
    for flood in [frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 15]), window_update(0, 1), unknown] {
        let mut scene = scene().await;
        scene.attacker().await.until_closed_unread(&flood.repeat(1_000)).await;
        scene.counted("flood").await;
        scene.survives().await;
    }
}

/// Case 18: a client that gives no window for its responses.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_the_client_takes_nothing_of_is_called_off() {
    let mut scene = scene().await;
    let mut attacker = FrameClient::connect(scene.proxy.outbound, &[(WINDOW, 0)]).await;
    let open: Vec<u32> = streams().take(50).collect();
    for n in &open {
        attacker.send(get(*n, "/large")).await.expect("the connection is open");
    }
    for _ in &open {
        let reset = attacker.until(kind::RST_STREAM).await;
        assert_eq!(reset.code(), u32::from(Reason::CANCEL));
    }
    assert_eq!(scene.backend.was_reset().await, Reason::CANCEL);
    scene.survives().await;
}

/// A response that is small enough to be held whole must not stay for ever either.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_response_that_the_client_does_not_take_is_called_off_too() {
    let mut scene = scene().await;
    let mut attacker = FrameClient::connect(scene.proxy.outbound, &[(WINDOW, 0)]).await;
    attacker.send(get(1, "/")).await.expect("the connection is open");
    let reset = attacker.until(kind::RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (1, u32::from(Reason::CANCEL)));
    attacker.closed().await;
    scene.survives().await;
}

/// A client that takes a response bit by bit is slow, and that is all.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_goes_on_however_slowly_is_not_called_off() {
    let mut scene = scene().await;
    let mut attacker = FrameClient::connect(scene.proxy.outbound, &[(WINDOW, 10)]).await;
    attacker.send(get(1, "/large")).await.expect("the connection is open");
    for _ in 0..40 {
        let data = attacker.until(kind::DATA).await;
        assert_eq!(data.payload.len(), 10);
        // A tenth of the idle timeout; all of them are several times as long.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        attacker.send(window_update(1, 10)).await.expect("the connection is open");
    }
    drop(attacker);
    scene.survives().await;
}

/// Case 12: a block of one-byte references to a large field.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_small_until_it_is_decoded_ends_the_connection() {
    let mut scene = scene().await;
    let before = scene.backend.count();
    let mut attacker = scene.attacker().await;
    let mut block = head("GET", &authority("server"), "/");
    // A literal that goes into the table: name "x", value of 3,800 bytes (127 + 3,673), then references to it.
    block.extend([0x40, 1, b'x', 0x7f, 0xd9, 0x1c]);
    block.extend([b'v'; 3_800]);
    block.extend([0xbe; 10_000]);
    attacker.send(headers(1, &block, true)).await.expect("the connection is open");
    attacker.closed().await;
    scene.counted("flood").await;
    assert_eq!(scene.backend.count(), before);
    scene.survives().await;
}

/// Cases 11 and 12: more fields than a request may have, or more bytes of them; crumbs of a cookie count as one field,
/// but their bytes count.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let mut scene = scene().await;
    let before = scene.backend.count();
    let client = H2Client::connect(scene.proxy.outbound).await;
    let names: Vec<String> = (0..150).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let value = "y".repeat(4_000);
    let large: Vec<(&str, &str)> = names[..20].iter().map(|name| (name.as_str(), value.as_str())).collect();
    let crumbs = vec![("cookie", "a=1"); 2_000];
    for fields in [many, large, crumbs] {
        let answer = client.try_call(request("GET", "server", "/", &fields), b"", None).await;
        assert_eq!(answer.expect("an answer").status, 431, "{} fields", fields.len());
    }
    assert_eq!(scene.backend.count(), before);
    let fields: Vec<(&str, &str)> =
        names[..90].iter().map(|name| (name.as_str(), "y")).chain(vec![("cookie", "a=1"); 300]).collect();
    assert_eq!(client.call(request("GET", "server", "/", &fields), b"").await.status, 200);
    scene.survives().await;
}
