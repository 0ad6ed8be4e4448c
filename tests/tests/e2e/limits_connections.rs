//! `maxConnections`: requests wait for a connection to come free, tunnels are refused.

use std::time::Duration;

use bowline_tests::h2_client::request;
use bowline_tests::wait::within;
use bowline_tests::{Backend, Crowd, H2Backend, H2Client, Raw, Reply, TcpBackend, authority, service, url};
use serde_json::json;
use tokio::task::JoinSet;

use crate::limits::{get, in_flight, waiting};

/// Connections wait for one to come free, and are used one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn max_connections_is_kept_to_and_connections_are_handed_on() {
    let crowd = Crowd::with_desks(100);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, Duration::from_millis(2))).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).limits(3, 100, 100)).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..30 {
        let mut raw = Raw::connect(proxy.outbound).await;
        clients.spawn(async move {
            for _ in 0..10 {
                raw.call(get("server", "/")).await.expect(200);
            }
        });
    }
    clients.join_all().await;
    assert_eq!(crowd.most(), 3);
    assert_eq!(backend.accepts(), 3, "with one worker and one endpoint no connection is closed for another");
    assert_eq!(proxy.metric("bowline_limit_in_use", &[("limit", "connections")]).await, 3.0);
}

/// Several workers and endpoints: idle connections elsewhere make room, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_for_others() {
    let crowd = Crowd::with_desks(100);
    let inside = crowd.clone();
    let backends: [Backend; 3] =
        Backend::several(move |_, _| Reply::ok("well").through(&inside, Duration::from_millis(2))).await;
    let server = service("server").at_all(&backends).limits(2, 100, 100);
    let proxy = crate::proxy().arg("--workers").arg("3").mesh(server).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let mut raw = Raw::connect(proxy.outbound).await;
        clients.spawn(async move {
            for _ in 0..10 {
                raw.call(get("server", "/")).await.expect(200);
            }
        });
    }
    clients.join_all().await;
    assert!(crowd.most() <= 2, "{}", crowd.most());
    assert!(proxy.metric("bowline_limit_in_use", &[("limit", "connections")]).await <= 2.0);
    waiting(&proxy, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_connections_count_too_and_streams_wait_for_room_on_them() {
    let backends = [
        H2Backend::start(|mut stream| async move { stream.answer(200, &[], b"one") }).await,
        H2Backend::start(|mut stream| async move { stream.answer(200, &[], b"two") }).await,
    ];
    let server = service("server").at_all(&backends).http2().limits(1, 1000, 1000);
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(server).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        let client = H2Client::connect(proxy.outbound).await;
        clients.spawn(async move {
            for _ in 0..20 {
                assert_eq!(client.call(request("GET", "server", "/", &[]), b"").await.status, 200);
            }
        });
    }
    clients.join_all().await;
    assert!(proxy.metric("bowline_limit_in_use", &[("limit", "connections")]).await <= 1.0);
    waiting(&proxy, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_beyond_max_connections_is_refused_at_once() {
    let backend = TcpBackend::echo().await;
    let server = service("server").at(&backend).with("appProtocol", json!("tcp")).limits(1, 9, 9);
    let proxy = crate::proxy().mesh(server).start().await;
    let vip = proxy.vip("server").await;
    let mut first = Raw::connect(vip).await;
    first.send("hello").await;
    proxy.metric_is("bowline_limit_in_use", &[("limit", "connections")], 1.0).await;
    // The reset may come before the kernel has told that it was accepted.
    if let Ok(mut second) = Raw::try_connect(vip).await {
        second.closed().await;
    }
    let target = authority("server");
    let mut third = Raw::connect(proxy.outbound).await;
    let refused = third.call(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert_eq!(refused.expect(503).header("x-bowline-error"), Some("overloaded"));
    assert!(refused.text().contains("1 connections (maxConnections)"), "{}", refused.text());
    assert_eq!(proxy.metric("bowline_shed_total", &[("reason", "no_connection")]).await, 2.0);
    assert_eq!(backend.accepts(), 1);
    drop(first);
    proxy.metric_is("bowline_limit_in_use", &[("limit", "connections")], 0.0).await;
    let mut fourth = Raw::connect(proxy.outbound).await;
    fourth.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    let head = within("a head", fourth.wire.head()).await.expect("a head").expect("a head");
    assert_eq!(head.start, "HTTP/1.1 200 OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_a_connection_and_no_request_any_more() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let backend = Backend::start(move |request| match request.target.as_str() {
        "/echo" => Reply::raw(switched).then(Reply::hang()),
        _ => Reply::ok("well"),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).limits(2, 0, 1)).start().await;
    let mut tunnel = Raw::connect(proxy.outbound).await;
    tunnel
        .send(format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            url("server", "/echo")
        ))
        .await;
    proxy.metric_is("bowline_tunnels", &[], 1.0).await;
    in_flight(&proxy, 0).await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!(proxy.metric("bowline_limit_in_use", &[("limit", "connections")]).await, 2.0);
    drop(tunnel);
    proxy.metric_is("bowline_limit_in_use", &[("limit", "connections")], 1.0).await;
}
