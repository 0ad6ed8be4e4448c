//! Hash policies: a key keeps to its endpoint, and only the keys of one that goes move.

use std::collections::BTreeMap;

use bowline_tests::sockets::refusing;
use bowline_tests::wire::Answer;
use bowline_tests::{Backend, Gate, Proxy, Raw, Reply, authority, service, url};
use serde_json::{Value, json};

fn hashing(policy: &str, on: &Value) -> Value {
    json!({ "policy": policy, "hash": on })
}

async fn call(raw: &mut Raw, path: &str, headers: &str) -> Answer {
    let (target, host) = (url("server", path), authority("server"));
    raw.call(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")).await
}

/// Who answers each of these keys.
async fn homes(proxy: &Proxy, keys: impl IntoIterator<Item = usize>) -> BTreeMap<usize, String> {
    let mut raw = Raw::connect(proxy.outbound).await;
    let mut homes = BTreeMap::new();
    for key in keys {
        let answer = call(&mut raw, "/", &format!("x-user: {key}\r\n")).await;
        homes.insert(key, answer.expect(200).text());
    }
    homes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_keeps_its_endpoint_and_only_the_keys_of_one_that_goes_move() {
    for policy in ["ringHash", "maglev"] {
        let backends: [Backend; 5] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
        let server = |n: usize| {
            let server = service("server").at_all(&backends[..n]);
            server.with("loadBalancing", hashing(policy, &json!({ "header": "x-user" })))
        };
        let proxy = crate::proxy().arg("--workers").arg("2").mesh(server(5)).start().await;
        let before = homes(&proxy, 0..300).await;
        assert_eq!(homes(&proxy, 0..300).await, before, "{policy}: keys stay where they are");
        let other = crate::proxy().mesh(server(5)).start().await;
        assert_eq!(homes(&other, 0..300).await, before, "{policy}: all proxies agree");
        for n in 0..5 {
            let has = before.values().filter(|home| **home == n.to_string()).count();
            // A fifth is 60; Maglev's shares are exact, but 300 keys are a small sample, and the ring's differ by a tenth.
            assert!((20..=120).contains(&has), "{policy}: {n} has {has} of 300 keys");
        }
        proxy.apply(server(4)).await;
        let after = homes(&proxy, 0..300).await;
        let moved = before.iter().filter(|(key, home)| **home != "4" && after[*key] != **home).count();
        // The ring moves none; Maglev few.
        let most = if policy == "ringHash" { 0 } else { 20 };
        assert!(moved <= most, "{policy}: {moved} keys moved that had no need to");
        proxy.apply(server(5)).await;
        assert_eq!(homes(&proxy, 0..300).await, before, "{policy}: they come back with it");
        // No key at all: anywhere.
        let mut raw = Raw::connect(proxy.outbound).await;
        let mut seen = BTreeMap::new();
        for _ in 0..100 {
            *seen.entry(call(&mut raw, "/", "").await.expect(200).text()).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 5, "{policy}: {seen:?}");
        let explained = proxy.page(&format!("/explain?url={}", url("server", "/"))).await;
        let wanted = format!("{policy} finds the endpoint by header x-user");
        assert!(explained["steps"].to_string().contains(&wanted), "{explained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_along_the_keys_way() {
    let backends: [Backend; 3] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let away = refusing();
    // A quarter of all requests is tried again: more than the default budget has for it.
    let retry = json!({ "budget": { "percent": 100 } });
    let server = service("server").at_all(&backends).at(away).retry(retry).no_ejections();
    let server = server.with("loadBalancing", hashing("maglev", &json!({ "header": "x-user" })));
    let proxy = crate::proxy().mesh(server).start().await;
    let first = homes(&proxy, 0..200).await;
    assert_eq!(
        homes(&proxy, 0..200).await,
        first,
        "those of the endpoint that is away have a second home, the same"
    );
    assert!(proxy.metric("bowline_retries_total", &[("service", "server")]).await > 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_set_once_and_then_decides() {
    let backends: [Backend; 4] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let cookie = json!({ "cookie": { "name": "stick", "ttlSeconds": 3600, "path": "/shop" } });
    let server = service("server").at_all(&backends).with("loadBalancing", hashing("ringHash", &cookie));
    let proxy = crate::proxy().mesh(server).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let mut values = BTreeMap::new();
    for _ in 0..20 {
        let first = call(&mut raw, "/shop/cart", "cookie: theme=dark\r\n").await;
        let set = first.expect(200).header("set-cookie").expect("a cookie").to_owned();
        let value = set.split(';').next().expect("a pair").to_owned();
        assert_eq!(set, format!("{value}; Path=/shop; Max-Age=3600; HttpOnly; SameSite=Lax"));
        values.insert(value.clone(), first.text());
        for _ in 0..3 {
            let again = call(&mut raw, "/shop/cart", &format!("cookie: theme=dark; {value}\r\n")).await;
            assert_eq!((again.expect(200).text(), again.header("set-cookie")), (first.text(), None));
        }
    }
    assert_eq!(values.len(), 20, "each caller has its own");
    assert!(values.values().collect::<std::collections::BTreeSet<_>>().len() > 1, "{values:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn path_query_and_forwarded_address_are_keys() {
    let backends: [Backend; 4] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    for (on, path, header) in [
        (json!("path"), "/item/KEY?a=RANDOM", ""),
        (json!({ "query": "user" }), "/RANDOM?x=RANDOM&user=KEY", ""),
        (json!("clientAddress"), "/RANDOM", "x-forwarded-for: 10.1.2.KEY, 10.9.9.9\r\n"),
    ] {
        let server = service("server").at_all(&backends).with("loadBalancing", hashing("maglev", &on));
        let proxy = crate::proxy().mesh(server).start().await;
        let mut raw = Raw::connect(proxy.outbound).await;
        let mut homes: BTreeMap<usize, String> = BTreeMap::new();
        for n in 0..120 {
            let key = n % 30;
            let fill = |text: &str| text.replace("KEY", &key.to_string()).replace("RANDOM", &n.to_string());
            let home = call(&mut raw, &fill(path), &fill(header)).await.expect(200).text();
            assert_eq!(*homes.entry(key).or_insert_with(|| home.clone()), home, "{on}: key {key}");
        }
        assert!(homes.values().collect::<std::collections::BTreeSet<_>>().len() > 2, "{on}: {homes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_more_in_flight_than_its_bound() {
    let gate = Gate::shut();
    let held = gate.clone();
    let backends: [Backend; 4] = Backend::several(move |n, _| Reply::ok(n.to_string()).behind(&held)).await;
    let mut balancing = hashing("ringHash", &json!({ "header": "x-user" }));
    balancing["boundedLoadPercent"] = json!(150);
    let server = service("server").at_all(&backends).with("loadBalancing", balancing);
    let proxy = crate::proxy().mesh(server).start().await;
    // All with one key: without a bound they would all be at one endpoint.
    let mut calls = Vec::new();
    for n in 1..=40 {
        let mut raw = Raw::connect(proxy.outbound).await;
        let (target, host) = (url("server", "/"), authority("server"));
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nx-user: hot\r\n\r\n")).await;
        calls.push(raw);
        bowline_tests::eventually("it is there", async || {
            (backends.iter().map(Backend::count).sum::<usize>() == n).then_some(())
        })
        .await;
    }
    let mut counts = backends.each_ref().map(Backend::count);
    counts.sort_unstable();
    // 150 % of a fair share of 10.
    assert!(counts[3] <= 15 && counts[3] >= 14, "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 40);
    gate.open();
    for mut raw in calls {
        raw.response().await.expect(200);
    }
}
