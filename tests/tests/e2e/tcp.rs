//! TCP services: bytes passed through as they come, whoever speaks first.

use std::time::Duration;

use bowline_tests::mesh::Service;
use bowline_tests::sockets::{refusing, reset_on_close};
use bowline_tests::wait::within;
use bowline_tests::{Gate, Raw, TcpBackend, service};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tcp(name: &str) -> Service {
    service(name).with("appProtocol", json!("tcp")).retry(json!({}))
}

/// Case 40.
#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_may_speak_first() {
    let backend = TcpBackend::start(|_, mut wire| async move {
        wire.send("220 mail\r\n").await?;
        let asked = wire.exactly(6).await?;
        wire.send([b"221 ", &asked[..4], b"\r\n"].concat()).await
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    assert_eq!(within("a greeting", raw.wire.exactly(10)).await.expect("a greeting"), b"220 mail\r\n");
    raw.send("QUIT\r\n").await;
    assert_eq!(raw.rest().await, b"221 QUIT\r\n");
    drop(raw);
    let of_db = |end| [("service", "db"), ("end", end)];
    proxy.metric_is("bowline_tunnels_ended_total", &of_db("closed"), 1.0).await;
    let bytes = |direction| [("service", "db"), ("direction", direction)];
    assert_eq!(proxy.metric("bowline_tunnel_bytes_total", &bytes("sent")).await, 6.0);
    assert_eq!(proxy.metric("bowline_tunnel_bytes_total", &bytes("received")).await, 20.0);
    assert_eq!(proxy.metric("bowline_tunnels", &[("service", "db")]).await, 0.0);
    proxy.metric_is("bowline_endpoint_in_flight", &[("service", "db")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_connection_goes_on_the_other_way() {
    let backend = TcpBackend::start(|_, mut wire| async move {
        let all = wire.rest().await?;
        wire.send(format!("{} bytes", all.len())).await
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    raw.send("GET is no request here").await;
    raw.wire.tcp.shutdown().await.expect("a half-close");
    assert_eq!(raw.rest().await, b"22 bytes");

    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = TcpBackend::start(move |_, mut wire| {
        let gate = behind.clone();
        async move {
            wire.tcp.shutdown().await?;
            let heard = wire.rest().await?;
            assert_eq!(heard, b"still listening?");
            gate.open();
            Ok(())
        }
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    assert_eq!(raw.rest().await, b"");
    raw.send("still listening?").await;
    raw.wire.tcp.shutdown().await.expect("a half-close");
    within("the endpoint hears it", gate.passed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_pass_both_ways_at_once_and_unchanged() {
    let backend = TcpBackend::start(|_, wire| async move {
        let (mut read, mut write) = wire.tcp.into_split();
        tokio::io::copy(&mut read, &mut write).await?;
        write.shutdown().await
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let mut rng = bowline_tests::seeded();
    let sent: Vec<u8> = (0..8 << 20).map(|_| rng.u8(..)).collect();
    let raw = Raw::connect(proxy.vip("db").await).await;
    let (mut read, mut write) = raw.wire.tcp.into_split();
    let (out, mut back) = (sent.clone(), Vec::new());
    let writing = tokio::spawn(async move {
        write.write_all(&out).await.expect("sent");
        write.shutdown().await.expect("ended");
    });
    within("the echo", read.read_to_end(&mut back)).await.expect("the echo");
    writing.await.expect("written");
    assert!(back == sent, "{} bytes of {} came back, or others", back.len(), sent.len());
}

/// Nobody reads: the app must be stopped after what the sockets and one buffer hold, and go on afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_does_not_read_stops_the_other() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let backend = TcpBackend::start(move |_, mut wire| {
        let gate = behind.clone();
        async move {
            gate.passed().await;
            let all = wire.rest().await?;
            wire.send(all.len().to_string()).await
        }
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    let (chunk, mut sent) = (vec![b'x'; 1 << 20], 0);
    // Longer than the time after which a pooled connection is given up when its peer acknowledges nothing.
    let stopped = async {
        loop {
            let pushed = tokio::time::timeout(Duration::from_secs(5), raw.wire.tcp.write(&chunk)).await;
            let Ok(pushed) = pushed else { return };
            sent += pushed.expect("the connection lives");
            assert!(sent < 256 << 20, "nothing stops the app");
        }
    };
    within("the app is stopped", stopped).await;
    assert_eq!(proxy.metric("bowline_tunnels", &[("service", "db")]).await, 1.0);
    gate.open();
    raw.wire.tcp.shutdown().await.expect("a half-close");
    assert_eq!(raw.rest().await, sent.to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_is_passed_over_and_ejected() {
    let backend = TcpBackend::start(|_, mut wire| async move { wire.send("here").await }).await;
    let dead = refusing();
    let mesh = tcp("db")
        .at(dead)
        .at(&backend)
        .with("loadBalancing", json!({ "policy": "roundRobin" }))
        .with("outlierDetection", json!({ "consecutiveFailures": 2 }));
    let proxy = crate::proxy().mesh(mesh).start().await;
    let vip = proxy.vip("db").await;
    for _ in 0..6 {
        assert_eq!(Raw::connect(vip).await.rest().await, b"here");
    }
    proxy.endpoint_is(dead, "ejected").await;
    let failed = proxy.metric("bowline_endpoint_connects_total", &[("result", "failed")]).await;
    assert_eq!(failed, 2.0, "after that it is left alone");
    assert_eq!(proxy.metric("bowline_retries_total", &[("reason", "connect_failure")]).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_the_connection_is_reset() {
    let proxy = crate::proxy().mesh(tcp("db").at(refusing()).no_ejections()).start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    let error = within("a reset", raw.wire.tcp.read_u8()).await.expect_err("nobody is there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    proxy.metric_is("bowline_tunnels_ended_total", &[("end", "failed")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_passed_on_as_one() {
    let backend = TcpBackend::start(|_, mut wire| async move {
        wire.exactly(1).await?;
        reset_on_close(&wire.tcp);
        Ok(())
    })
    .await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    raw.send("x").await;
    let error = within("a reset", raw.wire.tcp.read_u8()).await.expect_err("it broke");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    proxy.metric_is("bowline_tunnels_ended_total", &[("end", "broken")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let backend = TcpBackend::echo().await;
    let mesh = tcp("db").at(&backend).with("timeout", json!({ "idleTimeoutSeconds": 1 }));
    let proxy = crate::proxy().mesh(mesh).start().await;
    let vip = proxy.vip("db").await;
    let (mut idle, mut busy) = (Raw::connect(vip).await, Raw::connect(vip).await);
    let talk = async {
        loop {
            busy.send("x").await;
            within("an echo", busy.wire.exactly(1)).await.expect("an echo");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        rest = idle.rest() => assert_eq!(rest, b""),
        () = talk => {}
    }
    busy.send("y").await;
    within("an echo", busy.wire.exactly(1)).await.expect("an echo");
    proxy.logged("nothing passed for idleTimeoutSeconds").await;
    proxy.metric_is("bowline_tunnels_ended_total", &[("end", "idle")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_proxy_leaves_connections_until_the_grace_ends() {
    let backend = TcpBackend::echo().await;
    let mut proxy = crate::proxy().mesh(tcp("db").at(&backend)).arg("--drain-seconds").arg("4").start().await;
    let mut raw = Raw::connect(proxy.vip("db").await).await;
    raw.send("a").await;
    within("an echo", raw.wire.exactly(1)).await.expect("an echo");
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    raw.send("b").await;
    within("an echo", raw.wire.exactly(1)).await.expect("it is still carried");
    raw.closed().await;
    assert!(proxy.ended().await.success());
    proxy.logged("connections are cut").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_request_to_a_tcp_service_is_told_what_to_do() {
    let backend = TcpBackend::echo().await;
    let proxy = crate::proxy().mesh(tcp("db").at(&backend)).start().await;
    let answer = proxy.get("db", "/").await;
    assert!(answer.expect(400).text().contains("use its VIP or CONNECT"), "{}", answer.text());
}
