//! Mirrors and faults: what a route does to traffic on purpose.

use std::time::{Duration, Instant};

use bowline_tests::grpc::{self, CALL, message, messages};
use bowline_tests::h2_client::request;
use bowline_tests::{Backend, H2Backend, H2Client, Mesh, Proxy, Raw, Reply, service};
use serde_json::{Value, json};

use crate::routes::{named, routed};

fn mirrored(own: &Backend, shadow: &Backend, more: Value) -> Mesh {
    let mut route = json!({ "name": "copied", "mirror": { "service": "shadow" } });
    if let (Some(route), Value::Object(more)) = (route.as_object_mut(), more) {
        route.extend(more);
    }
    Mesh::of([
        routed(own, json!([route])),
        service("shadow").at(shadow).with("timeout", json!({ "perRequestTimeoutSeconds": 30 })),
    ])
}

async fn copies(proxy: &Proxy, result: &str, count: f64) {
    let labels = [("service", "server"), ("route", "copied"), ("result", result)];
    proxy.metric_is("bowline_mirrored_total", &labels, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gets_a_copy_and_its_answers_are_thrown_away() {
    let (own, shadow) = (named("own").await, Backend::start(|_| Reply::status(500)).await);
    let more = json!({
        "match": { "path": { "prefix": "/a" } },
        "rewrite": { "prefix": "/b" },
        "headers": { "request": { "set": { "x-set": "1" } } },
    });
    let proxy = crate::proxy().mesh(mirrored(&own, &shadow, more)).start().await;
    let answer = proxy.request("POST", "server", "/a/x?y=1", "X-Request-Id: 7\r\n", "the body").await;
    assert_eq!(answer.expect(200).text(), "own");
    proxy.get("server", "/a").await.expect(200);
    proxy.get("server", "/other").await.expect(200);
    copies(&proxy, "answered", 2.0).await;
    let seen = shadow.requests();
    let copy = seen.iter().find(|r| r.method == "POST").expect("a copy");
    assert_eq!((copy.target.as_str(), copy.body()), ("/b/x?y=1", &b"the body"[..]));
    for (name, value) in
        [("x-request-id", "7"), ("x-set", "1"), ("x-bowline-mirror", "1"), ("content-length", "8")]
    {
        assert_eq!(copy.header(name), Some(value), "{name}");
    }
    let original = own.requests().into_iter().find(|r| r.method == "POST").expect("the request");
    // The host stays as it was, and only the copy is marked.
    assert_eq!(copy.header("host"), original.header("host"));
    assert_eq!(original.header("x-bowline-mirror"), None);
    assert_eq!((own.count(), seen.len()), (3, 2));
    // Its failures are its own endpoints', and none of the service's.
    assert_eq!(proxy.metric("bowline_requests_total", &[("service", "shadow")]).await, 0.0);
    let attempts = [("service", "shadow"), ("class", "5xx")];
    assert_eq!(proxy.metric("bowline_endpoint_attempts_total", &attempts).await, 2.0);
}

/// Nobody answers the copies: not one request waits for them, and there are 128 of them at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_never_answers_delays_nothing_and_is_bounded() {
    let own = named("own").await;
    let shadow = Backend::start(|_| Reply::hang()).await;
    let proxy = crate::proxy().mesh(mirrored(&own, &shadow, json!({}))).start().await;
    let mut raw = Raw::connect(proxy.vip("server").await).await;
    let begun = Instant::now();
    for _ in 0..200 {
        raw.call("POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 2\r\n\r\nhi").await.expect(200);
    }
    // Far below the 30 s that a copy may take.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    copies(&proxy, "busy", 72.0).await;
    assert_eq!(own.count(), 200);
    assert!(shadow.count() <= 128, "{}", shadow.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_not_there_fails_nothing() {
    let own = named("own").await;
    let refusing = bowline_tests::sockets::refusing();
    let mesh = Mesh::of([
        routed(
            &own,
            json!([{ "name": "copied", "mirror": { "service": "shadow" }, "match": { "method": "GET" } },
                            { "name": "empty", "mirror": { "service": "none", "percent": 100 } }]),
        ),
        service("shadow").at(refusing),
        service("none"),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    proxy.get("server", "/").await.expect(200);
    proxy.request("POST", "server", "/", "", "x").await.expect(200);
    copies(&proxy, "failed", 1.0).await;
    proxy.metric_is("bowline_mirrored_total", &[("route", "empty"), ("result", "failed")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_kept_is_not_mirrored() {
    let (own, shadow) = (named("own").await, named("shadow").await);
    let more = json!({ "retry": { "maxBodyBytes": 10 } });
    let proxy = crate::proxy().mesh(mirrored(&own, &shadow, more)).start().await;
    proxy.request("POST", "server", "/", "", "ten bytes.").await.expect(200);
    proxy.request("POST", "server", "/", "", "eleven more").await.expect(200);
    copies(&proxy, "no_body", 1.0).await;
    copies(&proxy, "answered", 1.0).await;
    assert_eq!(shadow.only_request().body(), b"ten bytes.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_is_mirrored_to_another_protocols_endpoint() {
    let calls = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        grpc::answer(&mut stream, &[&messages(&body)[0]]);
    })
    .await;
    let shadow = named("shadow").await;
    let mesh = Mesh::of([
        service("server")
            .at(&calls)
            .with("routes", json!([{ "name": "copied", "mirror": { "service": "shadow" } }])),
        service("shadow").at(&shadow).with("appProtocol", json!("http")),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let answer = client.call(request("POST", "server", "/pkg.A/B", CALL), &message(b"hi")).await;
    assert_eq!((answer.field("grpc-status"), messages(&answer.body)), (Some("0"), vec![b"hi".to_vec()]));
    copies(&proxy, "answered", 1.0).await;
    let copy = shadow.only_request();
    assert_eq!((copy.target.as_str(), copy.body()), ("/pkg.A/B", &message(b"hi")[..]));
    assert_eq!(copy.header("te"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_delay_and_abort() {
    let own = named("own").await;
    let routes = json!([
        { "name": "abort", "match": { "path": { "prefix": "/abort" } }, "fault": { "abort": { "status": 418 } } },
        { "name": "delay", "match": { "path": { "prefix": "/delay" } }, "fault": { "delay": { "seconds": 0.3 } },
          "timeout": { "responseHeadersSeconds": 0.2 } },
        { "name": "late", "match": { "path": { "prefix": "/late" } }, "fault": { "delay": { "seconds": 60 } },
          "timeout": { "perRequestTimeoutSeconds": 0.2 } },
        { "name": "both", "match": { "path": { "prefix": "/both" } }, "fault": { "onlyWithHeader": "x-chaos",
          "delay": { "seconds": 0.3 }, "abort": { "status": 503 } } },
        { "name": "some", "match": { "path": { "prefix": "/some" } }, "fault": { "abort": { "status": 500, "percent": 50 } } },
        { "name": "never", "match": { "path": { "prefix": "/never" } }, "fault": { "abort": { "status": 500, "percent": 0 } } },
    ]);
    let proxy = crate::proxy().arg("--access-log").arg("json").mesh(routed(&own, routes)).start().await;
    let answer = proxy.get("server", "/abort").await;
    assert_eq!(answer.expect(418).header("x-bowline-error"), Some("fault_injected"));
    assert!(answer.text().contains("on purpose"), "{}", answer.text());
    let begun = Instant::now();
    // The wait is no part of the time that the endpoint has.
    proxy.get("server", "/delay").await.expect(200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let late = proxy.get("server", "/late").await;
    assert_eq!(late.expect(504).header("x-bowline-error"), Some("request_timeout"));
    proxy.get("server", "/both").await.expect(200);
    let begun = Instant::now();
    proxy.request("GET", "server", "/both", "X-Chaos: \r\n", "").await.expect(503);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(proxy.get("server", "/some").await.status == 500);
        proxy.get("server", "/never").await.expect(200);
    }
    // 50 ± 5: ten of these deviations are allowed.
    assert!((1..=99).contains(&failed), "{failed} of 100 at 50 %");
    // A gRPC caller gets trailers only, with the status that stands for it.
    let h2 = H2Client::connect(proxy.outbound).await;
    let headers: Vec<_> = CALL.iter().copied().chain([("x-chaos", "1")]).collect();
    let answer = h2.call(request("POST", "server", "/both", &headers), &message(b"x")).await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")));
    assert!(answer.trailers.is_none() && answer.body.is_empty());
    let injected = |route, kind| [("route", route), ("kind", kind)];
    assert_eq!(proxy.metric("bowline_faults_injected_total", &injected("abort", "abort")).await, 1.0);
    assert_eq!(proxy.metric("bowline_faults_injected_total", &injected("both", "delay")).await, 2.0);
    assert_eq!(
        proxy.metric("bowline_faults_injected_total", &injected("some", "abort")).await,
        failed as f64
    );
    assert_eq!(proxy.metric("bowline_faults_injected_total", &injected("never", "abort")).await, 0.0);
    // The access log says by which route, and what was done.
    let line = bowline_tests::eventually("the line of the abort", async || {
        proxy.out().into_iter().find(|line| line["route"] == "abort")
    })
    .await;
    assert_eq!((&line["reason"], &line["status"]), (&json!("fault_injected"), &json!(418)));
    let line = bowline_tests::eventually("the line of the delay", async || {
        proxy.out().into_iter().find(|line| line["route"] == "delay")
    })
    .await;
    assert!(line["delayed_ms"].as_f64().is_some_and(|ms| ms >= 300.0), "{line}");
    // A caller that leaves meanwhile leaves nothing behind.
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(crate::limits::get("server", "/late")).await;
    drop(raw);
}
