//! In front of the app, for its callers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use bowline_tests::client::Raw;
use bowline_tests::h2_client::request;
use bowline_tests::proxy::Builder;
use bowline_tests::sockets::refusing;
use bowline_tests::wait::within;
use bowline_tests::{Backend, Gate, H2Backend, H2Client, Proxy, Reply, TcpBackend, eventually, service, url};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn in_front_of(app: SocketAddr, more: &str) -> Builder {
    crate::proxy().arg("--inbound").arg(format!("127.0.0.1:0={app}{more}"))
}

fn inbound(proxy: &Proxy) -> SocketAddr {
    proxy.inbound[0]
}

fn label(app: SocketAddr) -> String {
    format!("inbound:{}", app.port())
}

const GET: &str = "GET /path?q=1 HTTP/1.1\r\nHost: whoever.test\r\nX-Case: Kept\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_reaches_the_app_and_is_named() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let proxy = in_front_of(app.addr(), "").start().await;
    let mut raw = Raw::connect(inbound(&proxy)).await;
    assert_eq!(raw.call(GET).await.expect(200).text(), "app");
    let forwarded =
        "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    raw.call(forwarded).await.expect(200);
    raw.call("GET / HTTP/1.0\r\n\r\n").await.expect(200);
    let seen = app.requests();
    assert_eq!(seen[0].target, "/path?q=1");
    assert_eq!(seen[0].header("host"), Some("whoever.test"));
    assert_eq!(seen[0].header("x-case"), Some("Kept"));
    assert_eq!(seen[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(seen[0].header("x-request-id").is_some());
    assert_eq!(seen[1].header("x-forwarded-for"), Some("203.0.113.9, 10.0.0.1, 127.0.0.1"));
    assert_eq!(seen[2].header("host"), Some(app.addr().to_string().as_str()), "HTTP/1.0 may name nobody");
    let of_app = label(app.addr());
    let requests = [("service", of_app.as_str()), ("class", "2xx")];
    assert_eq!(proxy.metric("bowline_requests_total", &requests).await, 3.0);
    assert_eq!(proxy.metric("bowline_downstream_accepts_total", &[("listener", "inbound")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_reaches_the_app_as_http_2() {
    let app = H2Backend::start(|mut stream| async move { stream.answer(200, &[], b"app") }).await;
    let proxy = in_front_of(app.addr(), "").start().await;
    let client = H2Client::connect(inbound(&proxy)).await;
    let answer = client.call(request("GET", "whoever", "/", &[]), b"").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"app"[..]));
    assert_eq!(app.heads()[0].headers.get("x-forwarded-for").expect("the caller"), "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_app_listens_callers_are_told_at_once_and_from_then_on_served() {
    let nobody = refusing();
    let proxy = in_front_of(nobody, "").start().await;
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = Raw::connect(inbound(&proxy)).await.call(GET).await;
        assert_eq!(answer.expect(503).header("x-bowline-error"), Some("connect_failure"));
    }
    // Ten times what it takes, at the very least.
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let _app = Backend::builder().at(nobody).start(|_| Reply::ok("app")).await;
    Raw::connect(inbound(&proxy)).await.call(GET).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_has_answered_or_may_have_done_is_not_asked_for_again() {
    let app = Backend::start(|request| match request.target.as_str() {
        "/busy" => Reply::status(503),
        _ => Reply::reset(),
    })
    .await;
    let proxy = in_front_of(app.addr(), "").start().await;
    let call = async |head: &str| {
        let text = format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        Raw::connect(inbound(&proxy)).await.call(text).await
    };
    assert_eq!(call("GET /busy").await.expect(503).header("x-bowline-error"), None, "it is the app's own");
    assert_eq!(app.count(), 1);
    assert_eq!(call("POST /reset").await.expect(502).header("x-bowline-error"), Some("reset"));
    assert_eq!(app.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_reached_the_app_is_sent_elsewhere_by_the_caller_s_proxy() {
    let gone = in_front_of(refusing(), "").start().await;
    let app = Backend::start(|_| Reply::ok("app")).await;
    let there = in_front_of(app.addr(), "").start().await;
    let mesh = service("server").at(inbound(&gone)).at(inbound(&there)).no_ejections();
    let caller = crate::proxy().mesh(mesh).start().await;
    let post = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", url("server", "/"));
    let mut raw = Raw::connect(caller.outbound).await;
    for _ in 0..20 {
        let answer = raw.call(&post).await;
        assert_eq!(answer.expect(200).header("connection"), None);
    }
    let retries = [("service", "server"), ("reason", "nothing_written")];
    assert!(caller.metric("bowline_retries_total", &retries).await >= 1.0, "the dead one was asked too");
    // Over HTTP/2 there is a word of the protocol for it.
    let client = H2Client::connect(inbound(&gone)).await;
    let refused = client.try_call(request("POST", "server", "/", &[]), b"hello", None).await;
    let reason = refused.err().and_then(|error| error.reason());
    assert_eq!(reason, Some(h2::Reason::REFUSED_STREAM));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_the_app_closes_costs_no_get() {
    let served = AtomicUsize::new(0);
    let app = Backend::start(move |_| {
        // Every other connection is closed as soon as the next request comes on it.
        if served.fetch_add(1, Relaxed) % 2 == 1 { Reply::close() } else { Reply::ok("app") }
    })
    .await;
    let proxy = in_front_of(app.addr(), "").start().await;
    let mut raw = Raw::connect(inbound(&proxy)).await;
    for _ in 0..10 {
        raw.call(GET).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_speaks_first_does_so_declared_or_not() {
    let app = TcpBackend::start(|_, mut wire| async move {
        wire.send("220 mail\r\n").await?;
        let heard = wire.exactly(6).await?;
        wire.send([b"221 ", &heard[..]].concat()).await
    })
    .await;
    for more in ["", ",protocol=tcp"] {
        let proxy = in_front_of(app.addr(), more).start().await;
        let mut raw = Raw::connect(inbound(&proxy)).await;
        assert_eq!(within("a greeting", raw.wire.exactly(10)).await.expect("a greeting"), b"220 mail\r\n");
        raw.send("QUIT\r\n").await;
        assert_eq!(raw.rest().await, b"221 QUIT\r\n", "{more}");
        drop(raw);
        let ended = [("service", &*label(app.addr())), ("end", "closed")];
        proxy.metric_is("bowline_tunnels_ended_total", &ended, 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_pass_as_they_are() {
    let app = TcpBackend::echo().await;
    let proxy = in_front_of(app.addr(), "").start().await;
    let mut raw = Raw::connect(inbound(&proxy)).await;
    let hello = b"\x16\x03\x01 looks like TLS";
    raw.send(hello).await;
    raw.wire.tcp.shutdown().await.expect("a half-close");
    assert_eq!(raw.rest().await, hello);
}

/// What a PROXY header of version 2 looks like, by the specification: 127.0.0.1:`from` called 127.0.0.1:`to`.
pub(crate) fn proxy_header(client: [u8; 4], from: u16, to: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1]);
    header.extend(from.to_be_bytes());
    header.extend(to.to_be_bytes());
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_app_can_be_told_who_calls() {
    let app = TcpBackend::start(|_, mut wire| async move {
        let header = wire.exactly(28).await?;
        wire.send(header).await?;
        let hello = wire.exactly(5).await?;
        wire.send(hello).await
    })
    .await;
    let proxy = in_front_of(app.addr(), ",protocol=tcp,proxy-protocol=send").start().await;
    let mut raw = Raw::connect(inbound(&proxy)).await;
    let from = raw.wire.tcp.local_addr().expect("an address").port();
    raw.send("hello").await;
    let expected = [&proxy_header([127, 0, 0, 1], from, inbound(&proxy).port())[..], b"hello"].concat();
    assert_eq!(raw.rest().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_says_who_calls_or_is_turned_away() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let proxy = in_front_of(app.addr(), ",proxy-protocol=accept").start().await;
    let mut raw = Raw::connect(inbound(&proxy)).await;
    raw.send(proxy_header([203, 0, 113, 7], 4711, 80)).await;
    raw.call(GET).await.expect(200);
    assert_eq!(app.only_request().header("x-forwarded-for"), Some("203.0.113.7"));
    let mut forger = Raw::connect(inbound(&proxy)).await;
    forger.send(GET).await;
    let heard = within("the end", forger.wire.rest()).await;
    assert!(heard.is_err() || heard.is_ok_and(|heard| heard.is_empty()), "nothing but a reset");
    assert_eq!(app.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_sent_away_first_and_the_app_is_served_until_it_has_gone() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let app = Backend::start(move |request| {
        let reply = Reply::ok("app");
        if request.target == "/slow" { reply.behind(&behind) } else { reply }
    })
    .await;
    let other = Backend::start(|_| Reply::ok("other")).await;
    let builder = in_front_of(app.addr(), "").arg("--drain-seconds").arg("60");
    let mut proxy = builder.mesh(service("server").at(&other)).start().await;
    let mut slow = Raw::connect(inbound(&proxy)).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    app.has_received(1).await;
    let mut idle = Raw::connect(inbound(&proxy)).await;
    idle.call(GET).await.expect(200);

    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    // Who has not heard of it yet is still served, and asked to go.
    assert_eq!(idle.call(GET).await.expect(200).header("connection"), Some("close"));
    idle.closed().await;
    eventually("no caller is accepted any more", async || {
        TcpStream::connect(inbound(&proxy)).await.is_err().then_some(())
    })
    .await;
    gate.open();
    assert_eq!(slow.response().await.expect(200).text(), "app");
    // The app listens still, so it may have something to ask of others.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(proxy.get("server", "/").await.expect(200).text(), "other");
    assert!(proxy.runs());
    app.stop().await;
    assert_eq!(proxy.ended().await.code(), Some(0), "once it has gone, so does the proxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_redirected_callers_serves_nobody_else() {
    let proxy = crate::proxy().arg("--inbound").arg("127.0.0.1:0").start().await;
    // The reset may come as soon as the connection.
    if let Ok(mut raw) = Raw::try_connect(inbound(&proxy)).await {
        let heard = within("the end", raw.wire.rest()).await;
        assert!(heard.is_err(), "a reset: {heard:?}");
    }
    proxy.logged("a caller dialled the inbound listener itself").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_in_front_of_which_a_proxy_stands_calls_others_all_the_same() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let other = Backend::start(|_| Reply::ok("other")).await;
    let proxy = in_front_of(app.addr(), "").mesh(service("server").at(&other)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"));
    assert_eq!(raw.call(get).await.expect(200).text(), "other");
    assert_eq!(other.only_request().header("x-forwarded-for"), None, "an app's own calls name nobody");
}
