//! How requests come in: through the forward proxy and at VIP listeners, over HTTP/1.1 and HTTP/2.

use bowline_tests::h2_client::request;
use bowline_tests::{Backend, H2Client, Mesh, Raw, Reply, authority, eventually, service, url};
use http::Request;

async fn echo_name(name: &'static str) -> Backend {
    Backend::start(move |_| Reply::ok(name)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forward_proxy_takes_an_absolute_target() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let target = url("server", "/a/b?c=d%20e&f");
    let mut raw = Raw::connect(proxy.outbound).await;
    // The target wins over Host (RFC 9112 3.2.2), and Host is what the target says when it goes on.
    raw.call(format!("GET {target} HTTP/1.1\r\nHost: elsewhere\r\n\r\n")).await.expect(200);
    let request = backend.only_request();
    assert_eq!(request.head.start, "GET /a/b?c=d%20e&f HTTP/1.1");
    assert_eq!(request.head.all("host"), [authority("server")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forward_proxy_takes_a_path_and_host() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let host = authority("server");
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.call(format!("GET /a?b HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect(200);
    assert_eq!(backend.only_request().head.start, "GET /a?b HTTP/1.1");
    assert_eq!(backend.only_request().head.all("host"), [host]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_target_without_a_path_means_the_root() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    Raw::connect(proxy.outbound)
        .await
        .call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "")))
        .await
        .expect(200);
    Raw::connect(proxy.outbound)
        .await
        .call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "?q")))
        .await
        .expect(200);
    let starts: Vec<_> = backend.requests().into_iter().map(|request| request.head.start).collect();
    assert_eq!(starts, ["GET / HTTP/1.1", "GET /?q HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_in_any_case_with_a_dot_at_the_end_and_without_port_80() {
    let backend = echo_name("server").await;
    let mesh = service("server").at(&backend).alias("server.mesh.test", 80);
    // A VIP listener on port 80 wants a privilege that a test may not have; the forward proxy is enough.
    let proxy = crate::proxy().mesh(mesh).arg("--no-vip-listeners").start().await;
    for host in [
        "server.mesh.test",
        "SERVER.Mesh.Test",
        "server.mesh.test.",
        "server.mesh.test:80",
        "server.mesh.test.:80",
    ] {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.call(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect(200);
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.call(format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_may_call_several_services() {
    let (a, b) = (echo_name("a").await, echo_name("b").await);
    let proxy = crate::proxy().mesh(Mesh::of([service("a").at(&a), service("b").at(&b)])).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    for name in ["a", "b", "b", "a"] {
        let answer = raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url(name, "/"))).await;
        assert_eq!(answer.expect(200).text(), name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vip_stands_for_its_alias_whatever_host_says() {
    let (a, b) = (echo_name("a").await, echo_name("b").await);
    let proxy = crate::proxy().mesh(Mesh::of([service("a").at(&a), service("b").at(&b)])).start().await;
    let mut raw = Raw::connect(proxy.vip("a").await).await;
    for host in
        ["a.mesh.test:21500".to_owned(), authority("b"), "127.1.2.3:9".to_owned(), "nonsense".to_owned()]
    {
        let answer = raw.call(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.expect(200).text(), "a", "{host}");
        // It goes on as it came: the endpoint may serve several names.
        assert_eq!(a.requests().last().expect("a request").header("host"), Some(host.as_str()));
    }
    assert_eq!(b.count(), 0);
    assert_eq!(proxy.metric("bowline_downstream_accepts_total", &[("listener", "vip")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ports_of_a_name_share_its_vip() {
    let (a, b) = (echo_name("a").await, echo_name("b").await);
    let mesh = Mesh::of([
        service("a").at(&a).alias("both.mesh.test", 21501),
        service("b").at(&b).alias("both.mesh.test", 21502),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let (vip_a, vip_b) = (proxy.vip("a").await, proxy.vip("b").await);
    assert_eq!(vip_a.ip(), vip_b.ip());
    for (vip, name) in [(vip_a, "a"), (vip_b, "b")] {
        assert_eq!(
            Raw::connect(vip).await.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200).text(),
            name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge_comes_in_both_ways() {
    let backend = bowline_tests::H2Backend::start(|mut stream| async move {
        let seen = format!("{} {}", stream.head.method, stream.head.uri);
        stream.answer(200, &[], seen.as_bytes());
    })
    .await;
    // Nothing is declared: what the app speaks is what the endpoint gets.
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let at_forward_proxy = H2Client::connect(proxy.outbound).await;
    let answer = at_forward_proxy.call(request("GET", "server", "/a?b", &[]), b"").await;
    assert_eq!((answer.status, answer.body), (200, format!("GET {}", url("server", "/a?b")).into()));

    let at_vip = H2Client::connect(proxy.vip("server").await).await;
    let other = Request::get("http://whatever.example:1/c").body(()).expect("a request");
    let answer = at_vip.call(other, b"").await;
    assert_eq!((answer.status, answer.body), (200, "GET http://whatever.example:1/c".into()));
    assert_eq!(backend.accepts(), 1, "both use one connection to the endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_told_with_the_nearest_one() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for target in ["http://sever.mesh.test:21500/", "http://servre.mesh.test:21500/x?y"] {
        let answer = Raw::connect(proxy.outbound)
            .await
            .call(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        assert_eq!(answer.expect(502).header("x-bowline-error"), Some("unknown_service"));
        assert!(answer.text().contains("did you mean server.mesh.test:21500?"), "{}", answer.text());
        assert_eq!(answer.text().lines().count(), 1);
    }
    let labels = [("service", ""), ("reason", "unknown_service")];
    assert_eq!(proxy.metric("bowline_local_responses_total", &labels).await, 2.0);
    let answer = Raw::connect(proxy.outbound)
        .await
        .call("GET http://www.example.invalid/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(
        answer.expect(502).text().contains("www.example.invalid:80 is no alias of namespace mesh.test"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_port_is_told_with_the_right_one() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let answer = Raw::connect(proxy.outbound)
        .await
        .call("GET http://server.mesh.test:5000/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(answer.expect(502).header("x-bowline-error"), Some("unknown_service"));
    assert!(answer.text().contains("server.mesh.test is there with port 21500"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_lives_on_after_an_answer_of_the_proxys_own() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.call("GET http://nobody.mesh.test/ HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(502);
    raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_endpoints_says_so() {
    let proxy = crate::proxy().mesh(service("server")).start().await;
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("no_endpoints"));
    assert!(answer.text().contains("service server"), "{}", answer.text());
}

/// Detection must not depend on how the preface is cut up, nor take a slow HTTP/1.1 client for something else.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_speaks_is_detected_byte_by_byte() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("server").await).await;
    for byte in b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" {
        raw.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    raw.response().await.expect(200);

    let mut raw = Raw::connect(proxy.vip("server").await).await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        raw.send([*byte]).await;
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    raw.send(bowline_tests::frames::frame(bowline_tests::frames::kind::SETTINGS, 0, 0, &[])).await;
    let answer = bowline_tests::wait::within("a frame", raw.wire.exactly(9)).await.expect("a frame");
    assert_eq!(answer[3], bowline_tests::frames::kind::SETTINGS);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_on_which_nothing_is_said_do_no_harm() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Raw::connect(proxy.outbound).await);
    }
    proxy.metric_is("bowline_downstream_connections", &[], 200.0).await;
    proxy.get("server", "/").await.expect(200);
    drop(idle);
    proxy.metric_is("bowline_downstream_connections", &[], 0.0).await;
    assert_eq!(proxy.metric("bowline_downstream_errors_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_share_the_work() {
    let backend = echo_name("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).arg("--workers").arg("3").start().await;
    for _ in 0..30 {
        proxy.get("server", "/").await.expect(200);
    }
    let connects = proxy.metric("bowline_endpoint_connects_total", &[("result", "ok")]).await;
    assert_eq!(connects, 3.0, "each worker has a connection of its own");
    eventually("all workers' counts are added up", async || {
        (proxy.metric("bowline_requests_total", &[("class", "2xx")]).await == 30.0).then_some(())
    })
    .await;
}
