//! Which endpoint gets how much, and who is taken out.

use std::time::Duration;

use bowline_tests::sockets::refusing;
use bowline_tests::{Backend, Load, Raw, Reply, eventually, service, url};
use serde_json::json;

async fn gets(proxy: &bowline_tests::Proxy, n: usize) {
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..n {
        raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_kept_to_by_every_policy() {
    for policy in ["peakEwma", "leastRequest", "roundRobin", "random"] {
        let [heavy, light, none] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
        let server = service("server").weighted(&heavy, 9).weighted(&light, 1).weighted(&none, 0);
        let proxy =
            crate::proxy().mesh(server.with("loadBalancing", json!({ "policy": policy }))).start().await;
        gets(&proxy, 1000).await;
        assert_eq!(none.count(), 0, "{policy}");
        let share = light.count() as f64 / 1000.0;
        // A tenth. Random: five sigma are 5 %. Peak EWMA weighs latency too, and one pause of the machine moves it for
        // seconds, so here it only has to give both something; its shares are tested in bowline-core.
        let bounds = if policy == "peakEwma" { 0.001..0.999 } else { 0.02..0.25 };
        assert!(bounds.contains(&share), "{policy}: the light one got {share}");
        assert_eq!(proxy.endpoint(none.addr()).await.expect("it is there")["state"], "draining");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_is_even() {
    let backends: [Backend; 4] = Backend::several(|_, _| Reply::ok("")).await;
    let server = service("server").at_all(&backends).with("loadBalancing", json!({ "policy": "roundRobin" }));
    let proxy = crate::proxy().mesh(server).start().await;
    gets(&proxy, 400).await;
    assert!(
        backends.iter().all(|backend| backend.count() == 100),
        "{:?}",
        backends.each_ref().map(Backend::count)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_gets_less() {
    let [slow, a, b] = Backend::several(|n, _| {
        let reply = Reply::ok("");
        if n == 0 { reply.after(Duration::from_millis(200)) } else { reply }
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at_all([&slow, &a, &b])).start().await;
    let load = Load::start(proxy.outbound, &url("server", "/"), 400, 8);
    eventually("enough load", async || (load.ok() > 1000).then_some(())).await;
    load.stop().await.assert_none_failed(1000);
    let share = slow.count() as f64 / (a.count() + b.count()) as f64;
    assert!(share < 0.1, "the slow one got {share} of what the others got");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_always_fails_costs_no_get_and_is_ejected() {
    let [bad, a, b] = Backend::several(|n, _| if n == 0 { Reply::status(503) } else { Reply::ok("") }).await;
    let outliers = json!({ "baseEjectionSeconds": 3 });
    let server = service("server")
        .at_all([&bad, &a, &b])
        .retry(json!({}))
        .with("outlierDetection", outliers)
        // Else the balancer keeps away from it before it has failed five times.
        .with("loadBalancing", json!({ "policy": "roundRobin" }));
    let proxy = crate::proxy().mesh(server).start().await;
    gets(&proxy, 30).await;
    proxy.endpoint_is(bad.addr(), "ejected").await;
    assert_eq!(bad.count(), 5);
    let addr = bad.addr().to_string();
    let labels = [("service", "server"), ("endpoint", addr.as_str())];
    assert_eq!(proxy.metric("bowline_endpoint_ejected", &labels).await, 1.0);
    assert_eq!(proxy.metric("bowline_ejections_total", &labels).await, 1.0);
    let endpoint = proxy.endpoint(bad.addr()).await.expect("it is there");
    assert!(
        endpoint["ejectedForSeconds"].as_f64().is_some_and(|left| left > 0.0 && left <= 3.0),
        "{endpoint}"
    );
    proxy.logged("endpoint ejected").await;
    // It comes back by itself, fails again, and is out for longer.
    proxy.endpoint_is(bad.addr(), "active").await;
    gets(&proxy, 30).await;
    proxy.endpoint_is(bad.addr(), "ejected").await;
    let left = proxy.endpoint(bad.addr()).await.expect("it is there")["ejectedForSeconds"]
        .as_f64()
        .expect("a number");
    assert!(left > 3.0, "{left}");
    assert_eq!(proxy.metric("bowline_ejections_total", &labels).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejection_holds_for_all_workers() {
    let [bad, a] = Backend::several(|n, _| if n == 0 { Reply::status(500) } else { Reply::ok("") }).await;
    let server = service("server")
        .at_all([&bad, &a])
        .retry(json!({ "on": [{ "status": [500] }] }))
        .with("loadBalancing", json!({ "policy": "random" }));
    let proxy = crate::proxy().mesh(server).arg("--workers").arg("4").start().await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(Raw::connect(proxy.outbound).await);
    }
    let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"));
    for n in 0..200 {
        connections[n % 4].call(&get).await.expect(200);
    }
    proxy.endpoint_is(bad.addr(), "ejected").await;
    let before = bad.count();
    for n in 0..200 {
        connections[n % 4].call(&get).await.expect(200);
    }
    assert_eq!(bad.count(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_endpoint_is_never_ejected() {
    let only =
        Backend::start(|request| if request.index < 20 { Reply::status(500) } else { Reply::ok("") }).await;
    let proxy = crate::proxy().mesh(service("server").at(&only).retry(json!({ "retries": 0 }))).start().await;
    for _ in 0..20 {
        proxy.get("server", "/").await.expect(500);
    }
    assert_eq!(proxy.endpoint(only.addr()).await.expect("it is there")["state"], "active");
    proxy.get("server", "/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_half_are_ejected() {
    let backends: [Backend; 4] = Backend::several(|_, _| Reply::status(500)).await;
    let server = service("server").at_all(&backends).with("loadBalancing", json!({ "policy": "roundRobin" }));
    let proxy = crate::proxy().mesh(server).start().await;
    for _ in 0..100 {
        proxy.get("server", "/").await.expect(500);
    }
    assert_eq!(proxy.metric("bowline_endpoint_ejected", &[]).await, 2.0);
    let service = &proxy.page("/services").await["services"][0];
    assert_eq!(service["ejected"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_gone_the_app_is_told_what_was_tried() {
    let server = service("server").at_all([refusing(), refusing(), refusing()]).retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("connect_failure"));
    let text = answer.text();
    assert!(
        text.starts_with("bowline: service server: 3 attempts failed") && text.contains("refused"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
    assert_eq!(proxy.metric("bowline_local_responses_total", &[("reason", "connect_failure")]).await, 1.0);
    assert_eq!(proxy.metric("bowline_retries_total", &[("reason", "connect_failure")]).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_endpoints_all_have_weight_0_says_so() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy().mesh(service("server").weighted(&backend, 0)).start().await;
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("no_endpoints"));
    assert_eq!(backend.count(), 0);
}

/// Case 31: an endpoint that refuses fast is not taken for a fast one.
#[tokio::test(flavor = "multi_thread")]
async fn a_fast_429_does_not_attract_traffic() {
    let backends: [Backend; 3] = Backend::several(|n, _| match n {
        0 => Reply::status(429),
        _ => Reply::ok("served").after(Duration::from_millis(20)),
    })
    .await;
    // 429 is not retried and ejects nobody: the balancer alone can help.
    let proxy = crate::proxy().mesh(service("server").at_all(&backends)).start().await;
    let load = Load::start(proxy.outbound, &url("server", "/"), 300, 16);
    let all = || backends.iter().map(Backend::count).sum::<usize>();
    eventually("the load goes on", async || (all() >= 1000).then_some(())).await;
    load.stop().await;
    let share = backends[0].count() as f64 / all() as f64;
    eprintln!("{:.1} % of requests refused", share * 100.0);
    assert!(share < 0.2, "it drew {share} of the traffic: a third would be its part");
}

/// An endpoint whose answers begin well and break off is found out as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_breaks_its_answers_off_is_ejected() {
    let [bad, good] = Backend::several(|n, _| match n {
        0 => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").then_close(),
        _ => Reply::ok("whole").after(Duration::from_millis(5)),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at_all([&bad, &good])).start().await;
    let load = Load::start(proxy.outbound, &url("server", "/"), 200, 8);
    let ejected = proxy.endpoint_is(bad.addr(), "ejected").await;
    assert!(ejected["failures"].as_u64() >= Some(5), "{ejected}");
    let before = bad.count();
    good.has_received(good.count() + 200).await;
    assert!(bad.count() <= before + 8, "it went on getting requests");
    load.stop().await;
}
