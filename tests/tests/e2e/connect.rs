//! CONNECT and names outside of the mesh, at the forward proxy.

use bowline_tests::mesh::Service;
use bowline_tests::sockets::refusing;
use bowline_tests::wait::within;
use bowline_tests::{Answer, Backend, Gate, Proxy, Raw, Reply, TcpBackend, authority, service};
use serde_json::json;

fn tcp(name: &str) -> Service {
    service(name).with("appProtocol", json!("tcp")).retry(json!({}))
}

async fn dial(proxy: &Proxy, target: &str, early: &str) -> Raw {
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{early}")).await;
    raw
}

async fn opened(raw: &mut Raw) {
    let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
    assert_eq!(head.start, "HTTP/1.1 200 OK");
    assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None));
}

async fn exactly(raw: &mut Raw, n: usize) -> String {
    let bytes = within("bytes", raw.wire.exactly(n)).await.expect("bytes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Refused with this status and reason, and closed: what follows is no request.
async fn refused(proxy: &Proxy, target: &str, status: u16, reason: &str) -> Answer {
    let early = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", authority("server"));
    let mut raw = dial(proxy, target, &early).await;
    let answer = raw.response().await;
    assert_eq!(answer.expect(status).header("x-bowline-error"), Some(reason), "{target}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(raw.rest().await, b"", "{target}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_to_an_alias_is_a_tunnel_to_an_endpoint() {
    let db = TcpBackend::start(|_, mut wire| async move {
        wire.send("220 ").await?;
        let rest = wire.rest().await?;
        wire.send(rest).await
    })
    .await;
    let web = Backend::start(|request| Reply::ok(&request.target)).await;
    let mesh = bowline_tests::Mesh::of([tcp("db").at(&db), service("server").at(&web)]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let mut raw = dial(&proxy, &authority("db"), "").await;
    opened(&mut raw).await;
    assert_eq!(exactly(&mut raw, 4).await, "220 ");
    raw.send("GET / HTTP/1.1\r\n\r\n").await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.wire.tcp).await.expect("a half-close");
    assert_eq!(raw.rest().await, b"GET / HTTP/1.1\r\n\r\n");

    let mut raw = dial(&proxy, &authority("server").to_uppercase(), "").await;
    opened(&mut raw).await;
    raw.call("GET /raw HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200);
    drop(raw);
    assert_eq!(web.only_request().head.names(), ["Host"], "nobody has touched it");
    for service in ["db", "server"] {
        let labels = [("service", service), ("end", "closed")];
        proxy.metric_is("bowline_tunnels_ended_total", &labels, 1.0).await;
    }
}

/// Case 6.
#[tokio::test(flavor = "multi_thread")]
async fn early_data_waits_for_the_connection() {
    let (gate, behind) = (Gate::shut(), Gate::shut());
    let opened_gate = behind.clone();
    let waits = gate.clone();
    let db = TcpBackend::start(move |_, mut wire| {
        let (gate, seen) = (waits.clone(), opened_gate.clone());
        async move {
            gate.passed().await;
            let early = wire.exactly(27).await?;
            seen.open();
            wire.send(early).await
        }
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&db)).start().await;
    let early = "GET /early HTTP/1.1\r\nX: y\r\n";
    let mut raw = dial(&proxy, &authority("db"), early).await;
    opened(&mut raw).await;
    gate.open();
    within("the early data arrives", behind.passed()).await;
    assert_eq!(exactly(&mut raw, early.len()).await, early);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_without_a_connection_is_no_2xx() {
    let server = Backend::start(|_| Reply::ok("well")).await;
    let mesh = bowline_tests::Mesh::of([
        tcp("db").at(refusing()).no_ejections(),
        tcp("empty"),
        service("server").at(&server),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    refused(&proxy, &authority("db"), 503, "connect_failure").await;
    refused(&proxy, &authority("empty"), 503, "no_endpoints").await;
    refused(&proxy, &refusing().to_string(), 503, "connect_failure").await;
    refused(&proxy, "nowhere.invalid:443", 502, "unknown_service").await;
    let answer = refused(&proxy, "sever.mesh.test:21500", 502, "unknown_service").await;
    assert!(answer.text().contains("did you mean server.mesh.test:21500?"), "{}", answer.text());
    for target in ["server.mesh.test", "127.0.0.1:0", "user@127.0.0.1:443"] {
        let mut raw = dial(&proxy, target, "").await;
        raw.response().await.expect(400);
    }
    let mut raw = Raw::connect(proxy.outbound).await;
    let target = authority("server");
    raw.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nContent-Length: 5\r\n\r\nfive!")).await;
    raw.response().await.expect(400);
    assert_eq!(server.count() + server.accepts(), 0);
}

/// Case 42.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_does_not_call_itself() {
    let server = Backend::start(|_| Reply::ok("well")).await;
    let proxy = crate::proxy().mesh(service("server").at(&server)).start().await;
    let vip = proxy.vip("server").await;
    let everywhere = format!("0.0.0.0:{}", proxy.outbound.port());
    let mapped = format!("[::ffff:127.0.0.1]:{}", proxy.outbound.port());
    let named = format!("localhost:{}", proxy.outbound.port());
    for own in [proxy.outbound.to_string(), proxy.admin.to_string(), vip.to_string(), everywhere, mapped] {
        refused(&proxy, &own, 508, "loop").await;
        let mut raw = Raw::connect(proxy.outbound).await;
        let answer = raw.call(format!("GET http://{own}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(answer.expect(508).header("x-bowline-error"), Some("loop"));
    }
    refused(&proxy, &named, 508, "loop").await;
    assert_eq!(server.accepts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_outside_of_the_mesh_is_passed_through() {
    let outside = TcpBackend::echo().await;
    let proxy = crate::proxy().mesh(service("server")).start().await;
    for host in ["127.0.0.1", "localhost"] {
        let mut raw = dial(&proxy, &format!("{host}:{}", outside.addr().port()), "hel").await;
        opened(&mut raw).await;
        raw.send("lo").await;
        assert_eq!(exactly(&mut raw, 5).await, "hello");
    }
    let labels = [("service", ""), ("end", "closed")];
    proxy.metric_is("bowline_tunnels_ended_total", &labels, 2.0).await;
    let sent = [("service", ""), ("direction", "sent")];
    assert_eq!(proxy.metric("bowline_tunnel_bytes_total", &sent).await, 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_outside_of_the_mesh_is_passed_through() {
    let outside = Backend::start(|request| Reply::ok(request.body())).await;
    let proxy = crate::proxy().mesh(service("server")).start().await;
    let host = format!("localhost:{}", outside.addr().port());
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..2 {
        let answer = raw
            .call(format!(
                "POST http://{host}/a?b HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive\r\nContent-Length: 5\r\n\r\nfive!"
            ))
            .await;
        assert_eq!(answer.expect(200).text(), "five!");
    }
    let requests = outside.requests();
    assert_eq!(requests[0].head.start, "POST /a?b HTTP/1.1");
    assert_eq!(requests[0].head.all("host"), [host.as_str()]);
    assert_eq!(requests[0].header("proxy-connection"), None);
    let client = bowline_tests::H2Client::connect(proxy.outbound).await;
    let request = http::Request::get(format!("http://{host}/h2")).body(()).expect("a request");
    assert_eq!(client.call(request, b"").await.status, 200);
    assert_eq!(proxy.metric("bowline_requests_total", &[("service", ""), ("class", "2xx")]).await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_outside_of_the_mesh_that_fails_is_told_why_and_not_repeated() {
    let broken = Backend::start(|_| Reply::close()).await;
    let proxy = crate::proxy().mesh(service("server")).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    for (host, status, reason) in [
        (broken.addr().to_string(), 502, "closed_without_response"),
        (refusing().to_string(), 503, "connect_failure"),
        ("nowhere.invalid".to_owned(), 502, "unknown_service"),
    ] {
        let answer = raw.call(format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(answer.expect(status).header("x-bowline-error"), Some(reason), "{host}");
    }
    assert_eq!(broken.count(), 1);
    // Only what is written as a request to a proxy is passed through.
    let answer = raw.call(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", broken.addr())).await;
    assert_eq!(answer.expect(502).header("x-bowline-error"), Some("unknown_service"));
    assert_eq!(broken.count(), 1);
}
