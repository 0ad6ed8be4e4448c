//! How active health checks go on in time: thresholds, flapping, panic, and what happens when they are taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bowline_tests::{Backend, Mesh, Reply, TcpBackend, eventually, service, url};
use serde_json::json;

use crate::health::{calls, check, checks, gets, health_is, http, is_check, switched};

/// Answers checks by a list, one after the other, and the last for ever.
async fn scripted(script: &'static [bool]) -> Backend {
    let asked = AtomicUsize::new(0);
    Backend::start(move |request| {
        if !is_check(request) {
            return Reply::ok("");
        }
        let n = asked.fetch_add(1, SeqCst);
        let well = script.get(n).or(script.last()).is_none_or(|well| *well);
        if well { Reply::ok("") } else { Reply::status(503) }
    })
    .await
}

/// Slow enough for a loaded machine to answer in time.
fn interval() -> serde_json::Value {
    json!({ "intervalSeconds": 0.3, "timeoutSeconds": 0.3, "jitterPercent": 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_are_counted_in_a_row() {
    // Well at once; single bad ones don't count, the third in a row does.
    let backend = scripted(&[true, false, false, true, false, true, false, false, false]).await;
    let mut more = interval();
    more["unhealthyThreshold"] = json!(3);
    let server = service("server").at(&backend).with("healthCheck", check(&http(json!({})), more));
    let proxy = crate::proxy().mesh(server).start().await;
    let page = health_is(&proxy, &backend, "unhealthy").await;
    let checks = page["health"]["checks"].as_u64().expect("a number");
    assert!((9..=12).contains(&checks), "{page}");
    let log = proxy.log().into_iter().filter(|line| line.contains("endpoint unhealthy")).count();
    assert_eq!(log, 1, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_down_from_the_start_gets_nothing_until_its_first_good_answer() {
    let well = Arc::new(AtomicBool::new(false));
    let (bad, good) = (switched(&well, "bad").await, Backend::start(|_| Reply::ok("")).await);
    let mut more = interval();
    more["healthyThreshold"] = json!(5);
    more["unhealthyThreshold"] = json!(5);
    more["intervalSeconds"] = json!(2);
    more["timeoutSeconds"] = json!(2);
    let server = service("server").at(&bad).at(&good).with("healthCheck", check(&http(json!({})), more));
    let server = server.with("loadBalancing", json!({ "policy": "random" }));
    let proxy = crate::proxy().mesh(server).start().await;
    let page = proxy.endpoint_is(bad.addr(), "unhealthy").await;
    assert!(page["health"]["checks"].as_u64().is_some_and(|n| n < 5), "the first answer decides: {page}");
    let before = calls(&bad);
    gets(&proxy, 40).await;
    assert_eq!(calls(&bad), before);
    well.store(true, SeqCst);
    let (asked, begun) = (checks(&bad), proxy.endpoint(bad.addr()).await);
    proxy.endpoint_is(bad.addr(), "active").await;
    assert!(checks(&bad) <= asked + 2, "the first good answer decides: {begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flapping_is_told_once_for_each_change() {
    let backend = scripted(&[true, false, true, false, true]).await;
    let server = service("server").at(&backend).with("healthCheck", check(&http(json!({})), interval()));
    let proxy = crate::proxy().mesh(server).start().await;
    eventually("it has settled", async || (checks(&backend) >= 8).then_some(())).await;
    health_is(&proxy, &backend, "healthy").await;
    let told = |text: &str| proxy.log().into_iter().filter(|line| line.contains(text)).count();
    assert_eq!((told("endpoint unhealthy"), told("endpoint healthy again")), (2, 2), "{:#?}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_unhealthy_all_get_traffic_unless_that_is_forbidden() {
    let well = Arc::new(AtomicBool::new(false));
    let [a, b] = [switched(&well, "a").await, switched(&well, "b").await];
    let server = |panic: u32| {
        let server = service("server").at(&a).at(&b).with("healthCheck", check(&http(json!({})), interval()));
        server.with("loadBalancing", json!({ "policy": "roundRobin", "panicPercent": panic }))
    };
    let proxy = crate::proxy().mesh(server(50)).start().await;
    proxy.endpoint_is(a.addr(), "unhealthy").await;
    proxy.endpoint_is(b.addr(), "unhealthy").await;
    gets(&proxy, 40).await;
    assert!(calls(&a) >= 15 && calls(&b) >= 15);
    let explained = proxy.page(&format!("/explain?url={}", url("server", "/"))).await["steps"].to_string();
    assert!(explained.contains("health and ejections are ignored (panicPercent)"), "{explained}");
    proxy.apply(server(0)).await;
    let answer = proxy.get("server", "/").await;
    answer.expect(503);
    assert_eq!(answer.header("x-bowline-error"), Some("no_endpoints"));
    assert!(
        answer.text().contains("none of its 2 endpoints is well by its health check"),
        "{}",
        answer.text()
    );
    well.store(true, SeqCst);
    eventually("it serves again", async || (proxy.get("server", "/").await.status == 200).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_nobody_is_asked_and_nobody_is_out() {
    let well = Arc::new(AtomicBool::new(false));
    let (bad, good) = (switched(&well, "bad").await, Backend::start(|_| Reply::ok("")).await);
    let plain = service("server").at(&bad).at(&good).with("loadBalancing", json!({ "policy": "roundRobin" }));
    let checked = plain.clone().with("healthCheck", check(&http(json!({})), interval()));
    let proxy = crate::proxy().mesh(checked.clone()).start().await;
    proxy.endpoint_is(bad.addr(), "unhealthy").await;
    proxy.apply(plain.clone()).await;
    proxy.endpoint_is(bad.addr(), "active").await;
    let called = calls(&bad);
    gets(&proxy, 20).await;
    assert_eq!(calls(&bad), called + 10);
    // Another service's checks tell the time: several more would have come.
    let clock = scripted(&[true]).await;
    let other = service("other").at(&clock).with("healthCheck", check(&http(json!({})), interval()));
    let ticks = async |n: usize| {
        let before = checks(&clock);
        eventually("time passes", async || (checks(&clock) >= before + n).then_some(())).await;
    };
    proxy.apply(Mesh::of([plain, other.clone()])).await;
    let asked = checks(&bad);
    ticks(5).await;
    assert!(checks(&bad) <= asked + 1, "one may have been under way");
    // And when the service goes.
    proxy.apply(Mesh::of([checked, other.clone()])).await;
    eventually("it is asked again", async || (checks(&bad) > asked + 1).then_some(())).await;
    proxy.apply(Mesh::of([other])).await;
    let asked = checks(&bad);
    ticks(5).await;
    assert!(checks(&bad) <= asked + 1);
    assert_eq!(
        proxy.metric("bowline_endpoint_healthy", &[("service", "server")]).await,
        0.0,
        "it is not told of any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_well_again_starts_slowly() {
    let well = Arc::new(AtomicBool::new(true));
    let (one, other) = (switched(&well, "one").await, Backend::start(|_| Reply::ok("")).await);
    let server =
        service("server").at(&one).at(&other).with("healthCheck", check(&http(json!({})), interval()));
    let server = server.with("loadBalancing", json!({ "policy": "random", "slowStartSeconds": 600 }));
    let proxy = crate::proxy().mesh(server).start().await;
    let page = health_is(&proxy, &one, "healthy").await;
    assert!(page.get("slowStartPercent").is_none(), "{page}");
    well.store(false, SeqCst);
    proxy.endpoint_is(one.addr(), "unhealthy").await;
    well.store(true, SeqCst);
    let page = proxy.endpoint_is(one.addr(), "active").await;
    assert!(page["slowStartPercent"].as_f64().is_some_and(|percent| percent < 20.0), "{page}");
}

/// Thousands of endpoints that never answer must not use up descriptors, or the thread.
#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_asked_at_a_time_and_no_more() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (open.clone(), most.clone());
    let mute = TcpBackend::start_at(([0, 0, 0, 0], 0).into(), move |_, mut wire| {
        let (now, peak) = (now.clone(), peak.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            // Until the proxy has gone.
            let ended = tokio::io::copy(&mut wire.tcp, &mut tokio::io::sink()).await;
            now.fetch_sub(1, SeqCst);
            ended.map(drop)
        }
    })
    .await;
    let at = |n: u8| std::net::SocketAddr::from(([127, 0, 4, n], mute.addr().port()));
    let more = json!({ "intervalSeconds": 1, "timeoutSeconds": 1 });
    let way = http(json!({}));
    let server = service("server").at_all((1..=250).map(at)).with("healthCheck", check(&way, more.clone()));
    let quick = Backend::start(|_| Reply::ok("")).await;
    let other = service("other").at(&quick).with("healthCheck", check(&way, more));
    let proxy = crate::proxy().mesh(Mesh::of([server, other])).start().await;
    proxy.metric_is("bowline_health_checks_total", &[("service", "server"), ("result", "ok")], 0.0).await;
    eventually("all were asked", async || {
        let page = proxy.page("/services").await;
        (page["services"][0]["unhealthy"] == 250).then_some(())
    })
    .await;
    let most = most.load(SeqCst);
    // One that ends may still be open here when the next one comes.
    assert!((32..=96).contains(&most), "{most} at a time");
    health_is(&proxy, &quick, "healthy").await;
}
