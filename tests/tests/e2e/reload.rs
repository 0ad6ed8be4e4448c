//! The mesh changes while the proxy runs.

use bowline_tests::{Backend, Gate, Mesh, Raw, Reply, eventually, service, url};
use serde_json::json;

async fn named(name: &'static str) -> Backend {
    Backend::start(move |_| Reply::ok(name)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_leaves_the_last_good_mesh_in_force() {
    let backend = named("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    proxy.overwrite_mesh("namespace: mesh.test\nservices:\n  - discoveryName: server\n    retry: { retrys: 1 }\n    endpoints: { static: [] }\n");
    proxy.metric_is("bowline_mesh_refused", &[], 1.0).await;
    // The log says where and what, as `bowline check` does.
    let line = proxy.logged("mesh file refused").await;
    assert!(line.contains("mesh.yaml:4:"), "{line}");
    assert!(line.contains("retrys"), "{line}");
    assert_eq!(proxy.metric("bowline_mesh_reloads_total", &[("result", "refused")]).await, 1.0);
    assert_eq!(proxy.page("/config").await["meshFileRefused"], true);
    proxy.get("server", "/").await.expect(200);
    assert_eq!(proxy.generation().await, 1);
    assert!(proxy.admin("GET", "/health/ready").await.status == 200, "the last good mesh is good enough");

    proxy.apply(service("other").at(&backend)).await;
    proxy.metric_is("bowline_mesh_refused", &[], 0.0).await;
    proxy.get("other", "/").await.expect(200);
    proxy.get("server", "/").await.expect(502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_leaves_the_last_good_mesh_in_force() {
    let backend = named("server").await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    std::fs::remove_file(&proxy.mesh).expect("it is there");
    proxy.metric_is("bowline_mesh_refused", &[], 1.0).await;
    proxy.get("server", "/").await.expect(200);
    proxy.apply(service("other").at(&backend)).await;
    proxy.get("other", "/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_behind_a_link_is_followed() {
    let [a, b] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let proxy = crate::proxy().mesh(service("server").at(&a)).start().await;
    // As Kubernetes' ConfigMaps do: a link is switched over to another file.
    let dir = proxy.mesh.parent().expect("a folder").to_owned();
    std::fs::write(dir.join("v2.yaml"), Mesh::from(service("server").at(&b)).text()).expect("a file");
    std::os::unix::fs::symlink(dir.join("v2.yaml"), dir.join("link")).expect("a link");
    std::fs::rename(dir.join("link"), &proxy.mesh).expect("a renamed link");
    eventually("the new mesh is in force", async || {
        (proxy.get("server", "/").await.text() == "1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_a_file_for_each_team() {
    let (a, b) = (named("a").await, named("b").await);
    let mesh = |name: &str, backend: &Backend| Mesh::from(service(name).at(backend)).text();
    let proxy = crate::proxy().mesh_folder(&[("a.yaml", mesh("a", &a))]).start().await;
    proxy.get("a", "/").await.expect(200);
    proxy.get("b", "/").await.expect(502);
    std::fs::write(proxy.mesh.join("b.json"), mesh("b", &b)).expect("a file");
    eventually("b is there", async || (proxy.get("b", "/").await.status == 200).then_some(())).await;
    assert_eq!(proxy.get("a", "/").await.expect(200).text(), "a");
    // Two teams claim one name: refused, and both files are named.
    std::fs::write(proxy.mesh.join("c.yaml"), mesh("a", &b)).expect("a file");
    proxy.metric_is("bowline_mesh_refused", &[], 1.0).await;
    let line = proxy.logged("mesh file refused").await;
    assert!(line.contains("c.yaml") || proxy.log().iter().any(|line| line.contains("c.yaml")), "{line}");
    std::fs::remove_file(proxy.mesh.join("c.yaml")).expect("it is there");
    std::fs::remove_file(proxy.mesh.join("a.yaml")).expect("it is there");
    eventually("a is gone", async || (proxy.get("a", "/").await.status == 502).then_some(())).await;
    proxy.get("b", "/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_there_before_its_service() {
    let backend = named("server").await;
    let proxy = crate::proxy().start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"));
    raw.call(&get).await.expect(502);
    proxy.apply(service("server")).await;
    raw.call(&get).await.expect(503);
    proxy.apply(service("server").at(&backend)).await;
    // The same connection all the while.
    raw.call(&get).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn vip_listeners_come_and_go() {
    let (a, b) = (named("a").await, named("b").await);
    let proxy = crate::proxy().mesh(service("a").at(&a)).start().await;
    let vip_a = proxy.vip("a").await;
    proxy.apply(Mesh::of([service("a").at(&a), service("b").at(&b)])).await;
    let vip_b = proxy.vip("b").await;
    assert_eq!(proxy.vip("a").await, vip_a, "a name keeps its address");
    let mut raw = eventually("b's VIP is open", async || Raw::try_connect(vip_b).await.ok()).await;
    assert_eq!(raw.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200).text(), "b");
    let mut open = Raw::connect(vip_a).await;
    open.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200);

    proxy.apply(service("b").at(&b)).await;
    eventually("a's VIP is closed", async || Raw::try_connect(vip_a).await.is_err().then_some(())).await;
    // A connection that is open is told, request by request, that its service is gone.
    open.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(502);
    // The name comes back and has the address that it had.
    proxy.apply(Mesh::of([service("a").at(&a), service("b").at(&b)])).await;
    assert_eq!(proxy.vip("a").await, vip_a);
    open.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_may_move_to_another_service() {
    let (a, b) = (named("a").await, named("b").await);
    let name = "shared.mesh.test";
    let mesh = |first: &str, second: &str| {
        Mesh::of([service("a").at(&a).alias(first, 21501), service("b").at(&b).alias(second, 21501)])
    };
    let proxy = crate::proxy().mesh(mesh(name, "unused.mesh.test")).start().await;
    let vip = proxy.vip("a").await;
    let mut at_vip = Raw::connect(vip).await;
    let mut at_forward_proxy = Raw::connect(proxy.outbound).await;
    let get = format!("GET / HTTP/1.1\r\nHost: {name}:21501\r\n\r\n");
    assert_eq!(at_vip.call(&get).await.expect(200).text(), "a");
    assert_eq!(at_forward_proxy.call(&get).await.expect(200).text(), "a");
    proxy.apply(mesh("unused.mesh.test", name)).await;
    assert_eq!(proxy.vip("b").await, vip, "the address belongs to the name");
    assert_eq!(at_vip.call(&get).await.expect(200).text(), "b");
    assert_eq!(at_forward_proxy.call(&get).await.expect(200).text(), "b");
    assert_eq!(Raw::connect(vip).await.call(&get).await.expect(200).text(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_stay_keep_their_connections_and_ejections() {
    let [a, bad, c] = Backend::several(|n, _| if n == 1 { Reply::status(503) } else { Reply::ok("") }).await;
    let policy = json!({ "policy": "roundRobin" });
    let with = |backends: &[&Backend]| {
        service("server")
            .at_all(backends.iter().copied())
            .retry(json!({}))
            .with("loadBalancing", policy.clone())
    };
    let proxy = crate::proxy().mesh(with(&[&a, &bad])).start().await;
    for _ in 0..20 {
        proxy.get("server", "/").await.expect(200);
    }
    proxy.endpoint_is(bad.addr(), "ejected").await;
    let (connections, tried) = (a.accepts(), bad.count());
    proxy.apply(with(&[&c, &bad, &a])).await;
    for _ in 0..20 {
        proxy.get("server", "/").await.expect(200);
    }
    assert!(c.count() > 0);
    assert_eq!(a.accepts(), connections);
    assert_eq!(bad.count(), tried, "it is still ejected");
    assert_eq!(
        proxy.endpoint(a.addr()).await.expect("it is there")["attempts"].as_u64(),
        Some(a.count() as u64)
    );
}

/// Case 32.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_removed_endpoint_ends_there() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let old = Backend::start(move |_| Reply::ok("old").behind(&behind)).await;
    let new = named("new").await;
    let proxy = crate::proxy().mesh(service("server").at(&old)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
    old.has_received(1).await;
    proxy.apply(service("server").at(&new)).await;
    assert_eq!(proxy.get("server", "/").await.expect(200).text(), "new");
    gate.open();
    assert_eq!(raw.response().await.expect(200).text(), "old");
    assert_eq!(old.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_for_the_next_request() {
    let backend = Backend::start(|_| Reply::status(503)).await;
    let with = |retries: u32| service("server").at(&backend).retry(json!({ "retries": retries }));
    let proxy = crate::proxy().mesh(with(0)).start().await;
    let mut before = 0;
    for retries in [0, 3, 1] {
        proxy.apply(with(retries).with("timeout", json!({ "connectSeconds": retries + 1 }))).await;
        proxy.get("server", "/").await.expect(503);
        assert_eq!(backend.count() - before, retries as usize + 1);
        before = backend.count();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_keep_their_addresses_and_they_are_on_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().to_str().expect("text").to_owned();
    let builder = crate::proxy().arg("--state-dir").arg(&state);
    // By their hashes these may collide in 253 addresses; each order of arrival would then give other addresses.
    let names: Vec<String> = (0..60).map(|n| format!("s{n}")).collect();
    let mesh = Mesh::of(names.iter().map(|name| service(name)));
    let proxy = builder.mesh(Mesh::of([service("s59")])).arg("--no-vip-listeners").start().await;
    let first = proxy.vip("s59").await;
    proxy.apply(mesh).await;
    assert_eq!(proxy.vip("s59").await, first);
    let record = std::fs::read_to_string(dir.path().join("vips.json")).expect("a record");
    assert!(record.contains("s59.mesh.test") && record.contains(&first.ip().to_string()), "{record}");
}

/// `vip:` pins an address in the range that the proxy was given, not in the default one.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_be_pinned_in_any_range() {
    let backend = named("server").await;
    let builder = crate::proxy();
    let pin = builder.vip(7);
    let proxy = builder.mesh(service("server").at(&backend).with("vip", json!(pin))).start().await;
    let vip = proxy.vip("server").await;
    assert_eq!(vip.ip(), pin);
    assert_eq!(
        Raw::connect(vip).await.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200).text(),
        "server"
    );
}
