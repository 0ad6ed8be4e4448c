//! Who gets how much: zones, priorities, slow start, subsets.

use std::time::{Duration, Instant};

use bowline_tests::mesh::Service;
use bowline_tests::{Backend, Load, Proxy, Raw, Reply, eventually, service, url};
use serde_json::json;

async fn gets(proxy: &Proxy, n: usize) {
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..n {
        raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await.expect(200);
    }
}

/// Backends at addresses of their own, as endpoints in other zones are.
async fn backends(n: u8) -> Vec<Backend> {
    let mut all = Vec::new();
    for ip in 1..=n {
        let addr = ([127, 0, 3, ip], 0).into();
        all.push(Backend::builder().at(addr).start(move |_| Reply::ok(ip.to_string())).await);
    }
    all
}

fn in_zones(backends: &[Backend], zones: &[&str]) -> Service {
    let place = |server: Service, (backend, zone): (&Backend, &&str)| {
        server.at_with(backend, json!({ "zone": zone }))
    };
    backends.iter().zip(zones).fold(service("server"), place)
}

fn random() -> serde_json::Value {
    json!({ "policy": "random" })
}

fn counts(backends: &[Backend]) -> Vec<usize> {
    backends.iter().map(Backend::count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_own_zone_comes_first_and_spills_what_it_lacks() {
    let backends = backends(6).await;
    let server = in_zones(&backends, &["a", "a", "a", "b", "b", "b"]).with("loadBalancing", random());
    let of_b = crate::proxy().arg("--zone").arg("b").mesh(server.clone()).start().await;
    gets(&of_b, 60).await;
    assert_eq!(counts(&backends[..3]), [0; 3], "all of it stays in the zone");
    // Zone b has one of five endpoints... of four that are left: less than the half that its callers are.
    let without = in_zones(&backends[..4], &["a", "a", "a", "b"]).with("loadBalancing", random());
    of_b.apply(without).await;
    let before = counts(&backends);
    gets(&of_b, 600).await;
    let local = backends[3].count() - before[3];
    // A quarter of capacity for a half of callers: a half stays. Six sigma are 74.
    assert!((225..375).contains(&local), "{local} of 600 stayed");
    let explained = of_b.page(&format!("/explain?url={}", url("server", "/"))).await["steps"].to_string();
    assert!(explained.contains("50 % to b") && explained.contains("this proxy is in zone b"), "{explained}");
    // Unknown: everywhere alike.
    let nowhere = crate::proxy().mesh(server).start().await;
    let before = counts(&backends);
    gets(&nowhere, 300).await;
    assert!(counts(&backends).iter().zip(&before).all(|(now, before)| now - before > 15));
    let explained = nowhere.page(&format!("/explain?url={}", url("server", "/"))).await["steps"].to_string();
    assert!(explained.contains("it is not known in which one this proxy is (--zone)"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn zone_weights_hold_wherever_the_caller_is() {
    let backends = backends(3).await;
    let balancing = json!({ "policy": "roundRobin", "zoneWeights": { "a": 9, "b": 1 } });
    let server = in_zones(&backends, &["a", "b", "c"]).with("loadBalancing", balancing);
    let proxy = crate::proxy().arg("--zone").arg("b").mesh(server).start().await;
    gets(&proxy, 200).await;
    let counts = counts(&backends);
    assert!(
        (178..=182).contains(&counts[0]) && (18..=22).contains(&counts[1]) && counts[2] == 0,
        "{counts:?}"
    );
    let page = proxy.endpoint(backends[2].addr()).await.expect("it is there");
    assert_eq!(page["sharePercent"], 0.0, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_level_takes_over_when_the_better_one_is_away() {
    let backends = backends(4).await;
    let server = |health: bool| {
        let with = |server: Service, (n, backend): (usize, &Backend)| {
            server.at_with(backend, json!({ "priority": if n < 2 { 0 } else { 7 } }))
        };
        let server = backends.iter().enumerate().fold(service("server"), with).retry(json!({}));
        let server = server.with("loadBalancing", random());
        let outliers =
            json!({ "consecutiveFailures": if health { 1 } else { 5 }, "maxEjectionPercent": 100 });
        server.with("outlierDetection", outliers)
    };
    let proxy = crate::proxy().mesh(server(true)).start().await;
    gets(&proxy, 50).await;
    assert_eq!(counts(&backends)[2..], [0; 2], "nobody needs the lower level");
    let [addr0, addr1] = [backends[0].addr(), backends[1].addr()];
    let mut backends = backends;
    let second = backends.remove(1);
    let first = backends.remove(0);
    first.stop().await;
    gets(&proxy, 30).await;
    proxy.endpoint_is(addr0, "ejected").await;
    let before = counts(&backends);
    gets(&proxy, 200).await;
    let lower: usize = counts(&backends).iter().zip(before).map(|(now, before)| now - before).sum();
    // A half of the better level, by 1.4: 70 % stay. Six sigma are 39.
    assert!((15..=110).contains(&lower), "{lower} of 200 went to the lower level");
    second.stop().await;
    gets(&proxy, 30).await;
    proxy.endpoint_is(addr1, "ejected").await;
    gets(&proxy, 50).await;
    let explained = proxy.page(&format!("/explain?url={}", url("server", "/"))).await;
    let steps = explained["steps"].to_string();
    assert!(steps.contains("0 % of priority 0, 100 % of priority 7"), "{steps}");
    assert_eq!(explained["candidates"].as_array().map(Vec::len), Some(2), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_endpoint_begins_with_little() {
    let backends = backends(3).await;
    let keys = json!({ "policy": "random", "slowStartSeconds": 600 });
    let server = |n: usize| service("server").at_all(&backends[..n]).with("loadBalancing", keys.clone());
    let proxy = crate::proxy().mesh(server(2)).start().await;
    gets(&proxy, 200).await;
    let page = proxy.endpoint(backends[0].addr()).await.expect("it is there");
    assert_eq!((page.get("slowStartPercent"), &page["sharePercent"]), (None, &json!(50.0)), "from the start");
    let begun = Instant::now();
    proxy.apply(server(3)).await;
    gets(&proxy, 420).await;
    let page = proxy.endpoint(backends[2].addr()).await.expect("it is there");
    assert!(begun.elapsed() < Duration::from_secs(60), "the machine is too slow for this test");
    // A tenth of a share is 20 of 420; six sigma are 26. A full one would be 140.
    let count = backends[2].count();
    assert!(count < 60, "{count} of 420");
    assert!(page["slowStartPercent"].as_f64().is_some_and(|p| (9.9..=10.1).contains(&p)), "{page}");
    // A short window ends by itself.
    let short = json!({ "policy": "random", "slowStartSeconds": 1 });
    proxy.apply(service("server").at_all(&backends).with("loadBalancing", short)).await;
    let load = Load::start(proxy.outbound, &url("server", "/"), 200, 4);
    eventually("it has its full share", async || {
        let page = proxy.endpoint(backends[2].addr()).await?;
        (page.get("slowStartPercent").is_none() && page["sharePercent"].as_f64()? > 33.0).then_some(())
    })
    .await;
    load.stop().await.assert_none_failed(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_narrowed_to_its_subset() {
    let backends = backends(3).await;
    let server = |version: &str| {
        let versions = ["v1", "v2", "v2"];
        let with = |server: Service, (backend, version): (&Backend, &str)| {
            server.at_with(backend, json!({ "metadata": { "version": version } }))
        };
        let server = backends.iter().zip(versions).fold(service("server"), with);
        server.with("loadBalancing", json!({ "policy": "random", "subset": { "version": version } }))
    };
    let proxy = crate::proxy().mesh(server("v2")).start().await;
    gets(&proxy, 60).await;
    assert_eq!(backends[0].count(), 0);
    proxy.endpoint_is(backends[0].addr(), "left out").await;
    proxy.apply(server("v1")).await;
    gets(&proxy, 20).await;
    assert_eq!(backends[0].count(), 20);
    let page = proxy.page("/endpoints").await;
    assert_eq!(page["endpoints"].as_array().map(Vec::len), Some(3), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_leads_to_a_version_and_says_which_there_are_where_it_has_none() {
    let backends = backends(3).await;
    let with = |server: Service, (backend, version): (&Backend, &str)| {
        server.at_with(backend, json!({ "metadata": { "version": version } }))
    };
    let to = |path: &str, version: &str| {
        let target = json!([{ "service": "server", "subset": { "version": version } }]);
        json!({ "match": { "path": { "exact": path } }, "to": target })
    };
    let server = backends.iter().zip(["v1", "v2", "v2"]).fold(service("server"), with);
    let server = server.with("routes", json!([to("/one", "v1"), to("/two", "v2"), to("/nine", "v9")]));
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(server).start().await;
    for _ in 0..20 {
        assert_eq!(proxy.get("server", "/one").await.expect(200).text(), "1");
        assert_ne!(proxy.get("server", "/two").await.expect(200).text(), "1");
    }
    let answer = proxy.get("server", "/nine").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("no_endpoints"));
    let said = answer.text();
    assert!(said.contains("none of its 3 endpoints has version: v9: version is v1 (1), v2 (2)"), "{said}");
    let attempts = proxy.metric("bowline_endpoint_attempts_total", &[("service", "server")]).await;
    assert_eq!(attempts, 40.0, "they are counted with the service's own");
}
