//! `/bypass`: the operator wants the proxy out of the way of a service.

use bowline_tests::wait::within;
use bowline_tests::{Backend, Proxy, Raw, Reply, TcpBackend, service};
use serde_json::json;

async fn exactly(raw: &mut Raw, n: usize) -> Vec<u8> {
    within("an echo", raw.wire.exactly(n)).await.expect("an echo")
}

async fn set(proxy: &Proxy, on: bool) {
    let page = proxy.admin("POST", &format!("/bypass?service=server&on={on}")).await.expect(200).json();
    let wanted = if on { json!(["server"]) } else { json!([]) };
    assert_eq!(page["services"], wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypassed_service_knows_no_retries_and_no_ejections_until_it_is_no_longer_bypassed() {
    let [bad, good] =
        Backend::several(|n, _| if n == 0 { Reply::status(503) } else { Reply::ok("good") }).await;
    let server = service("server").at_all([&bad, &good]).with("loadBalancing", json!({ "policy": "random" }));
    let proxy = crate::proxy().mesh(server.clone()).start().await;
    set(&proxy, true).await;
    proxy.metric_is("bowline_bypassed", &[("service", "server")], 1.0).await;
    let mut failed = 0;
    for _ in 0..60 {
        failed += usize::from(proxy.get("server", "/").await.status == 503);
    }
    // One in two at random; never all or none in 60.
    assert_eq!((failed, 60 - failed), (bad.count(), good.count()));
    assert!((5..55).contains(&failed), "{failed}");
    assert_eq!(proxy.endpoint(bad.addr()).await.expect("it is there")["state"], "active");
    let explained = proxy.page("/explain?url=http://server.mesh.test:21500/").await["steps"].to_string();
    assert!(explained.contains("bypassed"), "{explained}");
    // A change of the mesh doesn't end it.
    proxy.apply(server.clone().retry(json!({ "retries": 3 }))).await;
    assert_eq!(proxy.page("/services").await["services"][0]["bypassed"], true);
    set(&proxy, false).await;
    for _ in 0..20 {
        proxy.get("server", "/").await.expect(200);
    }
    proxy.metric_is("bowline_bypassed", &[("service", "server")], 0.0).await;
}

/// Not even what is said is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn at_a_vip_bytes_go_straight_through() {
    let backend = TcpBackend::echo().await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let vip = proxy.vip("server").await;
    set(&proxy, true).await;
    let mut raw = Raw::connect(vip).await;
    raw.send(b"\x16\x03\x01 this is no HTTP").await;
    assert_eq!(exactly(&mut raw, 19).await, b"\x16\x03\x01 this is no HTTP");
    // What stands stays; who comes later is met by the whole proxy again.
    set(&proxy, false).await;
    raw.send(b"more").await;
    assert_eq!(exactly(&mut raw, 4).await, b"more");
    let mut late = Raw::connect(vip).await;
    late.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await;
    let refused = late.rest().await;
    assert!(refused.is_empty() || refused.starts_with(b"HTTP/1.1 400"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_told() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for (query, status, word) in [
        ("", 400, "say which"),
        ("?service=server", 400, "say which"),
        ("?service=server&on=yes", 400, "say which"),
        ("?service=sever&on=true", 404, "did you mean server?"),
    ] {
        let answer = proxy.admin("POST", &format!("/bypass{query}")).await;
        assert_eq!(answer.status, status, "{query}");
        assert!(answer.text().contains(word), "{query}: {}", answer.text());
    }
    assert_eq!(proxy.page("/bypass").await["services"], json!([]));
}
