//! File descriptors, local ports and the cap on connections: whoever comes beyond it is told at once, the proxy lives, its
//! admin pages answer, and when connections have gone all is well again.

use std::time::Duration;

use bowline_tests::h2_client::request;
use bowline_tests::netns::Netns;
use bowline_tests::sockets::is_closed;
use bowline_tests::wait::within;
use bowline_tests::{Backend, Gate, H2Client, Proxy, Raw, Reply, authority, eventually, service, url};
use serde_json::json;

fn get() -> String {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url("server", "/"), authority("server"))
}

/// Opens so many connections; those that stand when no more are closed are returned.
async fn flood(proxy: &Proxy, n: usize) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..n {
        // The reset may come before the kernel has told that it was accepted.
        open.extend(Raw::try_connect(proxy.outbound).await.ok());
    }
    let mut still_for = 0;
    while still_for < 10 {
        let before = open.len();
        tokio::time::sleep(Duration::from_millis(50)).await;
        open.retain(|raw| !is_closed(&raw.wire.tcp));
        still_for = if open.len() == before { still_for + 1 } else { 0 };
    }
    open
}

async fn refused(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric("bowline_downstream_refused_total", &[("reason", reason)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_are_reset_and_counted() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let proxy =
        crate::proxy().arg("--max-connections").arg("20").mesh(service("server").at(&backend)).start().await;
    let mut open = flood(&proxy, 60).await;
    assert_eq!(open.len(), 20);
    assert_eq!(refused(&proxy, "max_connections").await, 40.0);
    // Those that stand are served.
    for raw in &mut open {
        raw.call(get()).await.expect(200);
    }
    drop(open);
    eventually("there is room again", async || {
        let mut raw = Raw::try_connect(proxy.outbound).await.ok()?;
        raw.wire.send(get()).await.ok()?;
        raw.wire.response("GET").await.ok().filter(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_leaves_descriptors_for_the_rest() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let proxy = crate::proxy().descriptors(128).mesh(service("server").at(&backend)).start().await;
    proxy.logged("\"file_descriptors\":128").await;
    let mut open = flood(&proxy, 400).await;
    // Two thirds of 128 − 32.
    assert_eq!(open.len(), 64);
    assert_eq!(refused(&proxy, "max_connections").await + 64.0, 400.0);
    assert_eq!(proxy.page("/health/ready").await["ready"], true);
    // There are fewer left for connections to the endpoint, but idle connections of the app need none.
    for raw in &mut open {
        raw.call(get()).await.expect(200);
    }
    drop(open);
    proxy.metric_is("bowline_downstream_connections", &[], 0.0).await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!(proxy.endpoint(backend.addr()).await.expect("it is there")["consecutiveFailures"], 0);
}

/// More streams on a few connections than there are descriptors for connections to an HTTP/1.1 endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_endpoints_leave_descriptors_for_the_rest_too() {
    let gate = Gate::shut();
    let shut = gate.clone();
    let backend = Backend::start(move |_| Reply::ok("well").behind(&shut)).await;
    let server =
        service("server").at(&backend).with("appProtocol", json!("http")).retry(json!({ "retries": 0 }));
    let proxy = crate::proxy().descriptors(128).mesh(server).start().await;
    // Two, because the proxy allows a connection 128 streams, which a client learns when it has opened some already.
    let connect = async || std::sync::Arc::new(H2Client::connect(proxy.outbound).await);
    let clients = [connect().await, connect().await];
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..150 {
        let client = clients[n % 2].clone();
        calls.spawn(async move { client.call(request("GET", "server", "/", &[]), b"").await });
    }
    let mut shed = 0;
    // 128 less a reserve of 32, the VIP listener and the clients' connections: the others hear at once.
    while shed < 150 - 93 {
        let answer = within("an answer", calls.join_next()).await.expect("one is left").expect("no panic");
        assert_eq!((answer.status, answer.field("x-bowline-error")), (503, Some("out_of_resources")));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("file descriptors") && text.contains("ulimit -n"), "{text}");
        shed += 1;
    }
    assert_eq!(proxy.page("/health/ready").await["ready"], true);
    let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
    assert_eq!((&endpoint["consecutiveFailures"], &endpoint["state"]), (&json!(0), &json!("active")));
    // Nobody comes in now, and nobody is left waiting either.
    if let Ok(mut late) = Raw::try_connect(proxy.outbound).await {
        late.closed().await;
    }
    gate.open();
    while let Some(answer) = within("an answer", calls.join_next()).await {
        assert_eq!(answer.expect("no panic").status, 200);
    }
    drop(clients);
    proxy.metric_is("bowline_downstream_connections", &[], 0.0).await;
    proxy.get("server", "/").await.expect(200);
}

/// So many connections are let in that descriptors run out for good: the acceptor sheds, and does not spin.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_descriptor_left_connections_are_reset_and_the_acceptor_does_not_spin() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let server = service("server").at(&backend).retry(json!({}));
    // The limit is lowered beneath what the proxy counts with, as if something else had used descriptors up.
    let proxy =
        crate::proxy().descriptors(128).arg("--max-connections").arg("1000").mesh(server).start().await;
    proxy.limit_descriptors(40);
    let mut open = flood(&proxy, 200).await;
    assert!((5..40).contains(&open.len()), "{}", open.len());
    let cpu = proxy.cpu();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = proxy.cpu() - cpu;
    assert!(spent < Duration::from_millis(300), "{spent:?} of CPU in a second of nothing to do");
    // No descriptor for a connection to the endpoint: told at once, and not the endpoint's fault.
    let answer = open[0].call(get()).await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("out_of_resources"));
    assert!(answer.text().contains("ulimit -n"), "{}", answer.text());
    drop(open);
    eventually("descriptors are free again", async || {
        let mut raw = Raw::try_connect(proxy.outbound).await.ok()?;
        raw.wire.send(get()).await.ok()?;
        raw.wire.response("GET").await.ok().filter(|answer| answer.status == 200)
    })
    .await;
    assert!(refused(&proxy, "file_descriptors").await > 50.0);
    let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
    assert_eq!((&endpoint["consecutiveFailures"], &endpoint["state"]), (&json!(0), &json!("active")));
}

/// Each connection to an endpoint takes a local port, and there are only so many of them for one endpoint.
#[test]
fn without_a_local_port_left_requests_are_told_at_once_and_the_endpoint_is_not_blamed() {
    const PORTS: usize = 10;
    let Some(netns) = Netns::or_skip() else { return };
    netns.run(async || {
        let gate = Gate::shut();
        let shut = gate.clone();
        // Connections are not kept: each request needs a port of its own, and leaves it when it ends.
        let backend = Backend::start(move |_| {
            Reply::new(200, &[("Connection", "close")], "well").behind(&shut).then_close()
        })
        .await;
        let server = service("server")
            .at(&backend)
            .with("appProtocol", json!("http"))
            .with("outlierDetection", json!({ "consecutiveFailures": 1 }))
            .limits(50, 50, 50)
            .retry(json!({ "retries": 0 }));
        let proxy = crate::proxy().mesh(server).start().await;
        let client = H2Client::connect(proxy.outbound).await;
        // After what listens has its ports: none of these is taken.
        netns.sysctl("net.ipv4.ip_local_port_range", &format!("20000 {}", 20_000 + PORTS - 1));
        let mut served = Vec::new();
        for n in 1..=PORTS {
            let call = client.open(request("GET", "server", "/", &[]), true).await;
            served.push(call.expect("a stream").0);
            backend.has_received(n).await;
        }
        for _ in 0..5 {
            let answer = client.call(request("GET", "server", "/", &[]), b"").await;
            assert_eq!((answer.status, answer.field("x-bowline-error")), (503, Some("out_of_resources")));
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains("net.ipv4.ip_local_port_range"), "{text}");
        }
        let not_blamed = async || {
            let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
            assert_eq!((&endpoint["consecutiveFailures"], &endpoint["state"]), (&json!(0), &json!("active")));
        };
        not_blamed().await;
        gate.open();
        for response in served {
            assert_eq!(H2Client::head(response).await.status(), 200);
        }
        proxy.metric_is("bowline_endpoint_connections", &[], 0.0).await;
        // Neither of the limits has lost a place to those that failed.
        proxy.metric_is("bowline_limit_in_use", &[], 0.0).await;
        for _ in 0..2 * PORTS {
            let answer = client.call(request("GET", "server", "/", &[]), b"").await;
            assert_eq!(answer.status, 200, "{:?}", answer.body);
        }
        not_blamed().await;
    });
}
