//! What stands between requests and services: rate limits, circuit breakers, learnt limits; and hedging.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bowline_tests::grpc::{CALL, message};
use bowline_tests::h2_client::request;
use bowline_tests::{
    Backend, Crowd, H2Client, Mesh, Proxy, Raw, Reply, authority, eventually, seeded, service,
};
use serde_json::json;

use crate::limits::get;

const STATE: &str = "bowline_circuit_breaker_state";
const CALLS: &str = "bowline_circuit_breaker_calls_total";

/// A backend whose status can be changed.
async fn moody() -> (Backend, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let now = status.clone();
    let backend = Backend::start(move |_| Reply::new(now.load(Relaxed), &[], "moody")).await;
    (backend, status)
}

async fn state_is(proxy: &Proxy, endpoint: &str, state: f64) {
    proxy.metric_is(STATE, &[("endpoint", endpoint)], state).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_at_half_errors_and_closes_after_a_good_probe() {
    let (backend, status) = moody().await;
    let breaker = json!({ "errorPercent": 50, "minimumRequests": 10, "resetSeconds": 1 });
    let server = service("server").at(&backend).no_ejections().with("circuitBreaker", breaker);
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(server).start().await;
    for _ in 0..5 {
        proxy.get("server", "/").await.expect(200);
    }
    state_is(&proxy, "", 0.0).await;
    status.store(500, Relaxed);
    for _ in 0..5 {
        proxy.get("server", "/").await.expect(500);
    }
    state_is(&proxy, "", 2.0).await;
    proxy.logged("circuit breaker opened").await;
    let explained = proxy.page(&format!("/explain?url={}", bowline_tests::url("server", "/"))).await;
    let steps = explained["steps"].to_string();
    assert!(
        steps.contains("its circuit breaker is open") && steps.contains("5 of 10 calls failed"),
        "{steps}"
    );
    let asked = backend.count();
    let refused = proxy.get("server", "/").await;
    refused.expect(503);
    assert_eq!(refused.header("x-bowline-error"), Some("circuit_open"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text().contains("circuit breaker is open"), "{}", refused.text());
    assert_eq!(backend.count(), asked, "nothing was sent");
    // The probe fails: it stays open.
    state_is(&proxy, "", 1.0).await;
    proxy.get("server", "/").await.expect(500);
    assert_eq!(backend.count(), asked + 1, "one probe");
    proxy.logged("the probe failed").await;
    state_is(&proxy, "", 1.0).await;
    status.store(200, Relaxed);
    proxy.get("server", "/").await.expect(200);
    state_is(&proxy, "", 0.0).await;
    for (result, count) in
        [("fire", 13.0), ("success", 6.0), ("failure", 6.0), ("timeout", 0.0), ("reject", 1.0), ("slow", 0.0)]
    {
        assert_eq!(proxy.metric(CALLS, &[("result", result)]).await, count, "{result}");
    }
    assert_eq!(proxy.metric("bowline_circuit_breaker_opened_total", &[]).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_and_slow_calls_open_a_breaker_too() {
    let slow = Backend::start(|_| Reply::ok("late").after(Duration::from_millis(300))).await;
    let hung = Backend::start(|_| Reply::hang()).await;
    let of = |name: &str, backend: &Backend, breaker| {
        service(name).at(backend).no_ejections().with("circuitBreaker", breaker)
    };
    let timeout = json!({ "responseHeadersSeconds": 0.2, "perAttemptSeconds": 0 });
    let mesh = Mesh::of([
        of("slow", &slow, json!({ "consecutiveFailures": 2, "slowCallSeconds": 0.1 })),
        of("hung", &hung, json!({ "consecutiveFailures": 2 })).with("timeout", timeout),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    for _ in 0..2 {
        proxy.get("slow", "/").await.expect(200);
        proxy.get("hung", "/").await.expect(504);
    }
    for name in ["slow", "hung"] {
        let refused = proxy.get(name, "/").await;
        assert_eq!(
            (refused.status, refused.header("x-bowline-error")),
            (503, Some("circuit_open")),
            "{name}"
        );
    }
    assert_eq!(proxy.metric(CALLS, &[("service", "slow"), ("result", "slow")]).await, 2.0);
    assert_eq!(proxy.metric(CALLS, &[("service", "hung"), ("result", "timeout")]).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_does_not_keep_the_probe() {
    let (hang, status) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU16::new(500)));
    let (hangs, now) = (hang.clone(), status.clone());
    let backend = Backend::start(move |_| match hangs.load(Relaxed) {
        true => Reply::hang(),
        false => Reply::new(now.load(Relaxed), &[], ""),
    })
    .await;
    let breaker = json!({ "consecutiveFailures": 1, "resetSeconds": 0.1 });
    let server = service("server").at(&backend).no_ejections().with("circuitBreaker", breaker);
    let proxy = crate::proxy().mesh(server).start().await;
    proxy.get("server", "/").await.expect(500);
    state_is(&proxy, "", 1.0).await;
    hang.store(true, Relaxed);
    let mut probe = Raw::connect(proxy.outbound).await;
    probe.send(get("server", "/")).await;
    backend.has_received(2).await;
    proxy.get("server", "/").await.expect(503);
    probe.reset();
    hang.store(false, Relaxed);
    status.store(200, Relaxed);
    eventually("the next one is the probe", async || {
        (proxy.get("server", "/").await.status == 200).then_some(())
    })
    .await;
    state_is(&proxy, "", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_falls_back_to_a_response_or_to_another_service() {
    let (backend, _) = moody().await;
    let bad = Backend::start(|_| Reply::status(500)).await;
    let breaker = |fallback| json!({ "consecutiveFailures": 1, "fallback": fallback });
    let of = |name, fallback| service(name).at(&bad).no_ejections().with("circuitBreaker", breaker(fallback));
    let fixed = json!({ "respond": { "status": 200, "body": "[]", "headers": { "content-type": "application/json" } } });
    let mesh = Mesh::of([
        of("fixed", fixed),
        of("other", json!({ "service": "server" })),
        service("server").at(&backend),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    for name in ["fixed", "other"] {
        proxy.get(name, "/").await.expect(500);
    }
    let answer = proxy.get("fixed", "/").await;
    answer.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("content-type")), ("[]", Some("application/json")));
    assert_eq!(
        answer.header("x-bowline-error"),
        Some("circuit_open"),
        "it says that it is not the service's"
    );
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.send(format!(
        "POST http://{}/orders HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nbody",
        authority("other"),
        authority("other")
    ))
    .await;
    let answer = raw.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "moody"));
    assert_eq!(backend.only_request().body(), b"body");
    assert_eq!(bad.count(), 2);
    let refused = [("service", "other"), ("reason", "circuit_open")];
    assert_eq!(proxy.metric("bowline_local_responses_total", &refused).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_an_open_breaker_is_left_alone_until_its_probe() {
    let (good, _) = moody().await;
    let (bad, status) = moody().await;
    status.store(500, Relaxed);
    let per_endpoint = json!({ "consecutiveFailures": 2, "resetSeconds": 1 });
    let server = service("server")
        .at(&good)
        .at(&bad)
        .no_ejections()
        .with("retry", json!({ "retries": 0 }))
        .with("loadBalancing", json!({ "policy": "roundRobin", "panicPercent": 0 }))
        .with("circuitBreaker", json!({ "errorPercent": 0, "perEndpoint": per_endpoint }));
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(server).start().await;
    let addr = bad.addr().to_string();
    while proxy.metric(STATE, &[("endpoint", &addr)]).await == 0.0 {
        proxy.get("server", "/").await;
    }
    let asked = bad.count();
    assert_eq!(asked, 2);
    for _ in 0..20 {
        proxy.get("server", "/").await.expect(200);
    }
    assert_eq!(bad.count(), asked);
    let explained = proxy.page(&format!("/explain?url={}", bowline_tests::url("server", "/"))).await;
    let shut = &explained["notCandidates"][0];
    assert_eq!(shut["address"], addr);
    assert!(shut["why"].as_str().unwrap().starts_with("its circuit breaker is open"), "{explained:#}");
    state_is(&proxy, &addr, 1.0).await;
    status.store(200, Relaxed);
    while bad.count() == asked {
        proxy.get("server", "/").await.expect(200);
    }
    state_is(&proxy, &addr, 0.0).await;
    // And all of them open: nobody is asked.
    for backend in [&good, &bad] {
        assert!(backend.count() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_breakers_of_all_endpoints_are_open_nobody_is_asked() {
    let (one, status) = moody().await;
    status.store(500, Relaxed);
    let breaker = json!({
        "perEndpoint": { "consecutiveFailures": 1, "resetSeconds": 3600 }, "fallback": { "respond": { "status": 202 } }
    });
    let server = service("server").at(&one).no_ejections().with("circuitBreaker", breaker);
    let proxy = crate::proxy().mesh(server).start().await;
    proxy.get("server", "/").await.expect(500);
    proxy.get("server", "/").await.expect(202);
    assert_eq!(one.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_answers_429_with_when_to_come_back() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let limit = json!([{ "requestsPerMinute": 6, "burst": 3, "side": "outbound" }]);
    let server = service("server").at(&backend).with("rateLimit", limit);
    let proxy = crate::proxy().arg("--workers").arg("3").mesh(server).start().await;
    for _ in 0..3 {
        proxy.get("server", "/").await.expect(200);
    }
    let refused = proxy.get("server", "/").await;
    refused.expect(429);
    assert_eq!(refused.header("x-bowline-error"), Some("rate_limited"));
    assert_eq!(refused.header("x-ratelimit-limit"), Some("3"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&after), "{after}");
    assert!(refused.text().contains("6 requests a minute"), "{}", refused.text());
    assert_eq!(backend.count(), 3);
    let explained = proxy.page(&format!("/explain?url={}", bowline_tests::url("server", "/"))).await;
    let steps = explained["steps"].to_string();
    assert!(steps.contains("6 requests a minute, 3 at once; so far 1 were refused"), "{steps}");
    let over = [("limit", "outbound 0"), ("result", "refused")];
    assert_eq!(proxy.metric("bowline_rate_limit_total", &over).await, 1.0);
    // A gRPC caller gets a status that it doesn't try again by itself.
    let client = H2Client::connect(proxy.outbound).await;
    let answer = client.call(request("POST", "server", "/pkg.Greeter/Hello", CALL), &message(b"hello")).await;
    assert_eq!(answer.field("grpc-status"), Some("8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_is_queued_is_spread_out() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let limit = json!([{ "requestsPerSecond": 20, "burst": 5, "atOnce": 1, "side": "outbound" }]);
    let proxy = crate::proxy().mesh(service("server").at(&backend).with("rateLimit", limit)).start().await;
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(get("server", "/")).await;
        waiting.push(raw);
    }
    for raw in &mut waiting {
        raw.response().await.expect(200);
    }
    // Five at twenty a second: the last one's turn is 200 ms after the first.
    assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
    let waited = [("result", "waited")];
    assert!(proxy.metric("bowline_rate_limit_total", &waited).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_front_of_the_app_each_caller_has_a_bucket() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let limit = json!([{ "requestsPerMinute": 1, "burst": 2, "key": { "header": "x-user" } }]);
    let server = service("server").at(&app).with("rateLimit", limit);
    let inbound = format!("127.0.0.1:0={},service=server", app.addr().port());
    let proxy = crate::proxy().arg("--inbound").arg(inbound).mesh(server).start().await;
    let front = proxy.inbound[0];
    let call = async |user: &str| {
        let mut raw = Raw::connect(front).await;
        raw.call(format!("GET / HTTP/1.1\r\nHost: app\r\nx-user: {user}\r\n\r\n")).await.status
    };
    let mut seen = Vec::new();
    for user in ["ann", "ann", "ann", "bob", "bob", "bob"] {
        seen.push(call(user).await);
    }
    assert_eq!(seen, [200, 200, 429, 200, 200, 429]);
    // The way out has no such limit.
    for _ in 0..5 {
        proxy.get("server", "/").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_does_not_bear_is_shed_and_the_important_last() {
    let crowd = Crowd::with_desks(0);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, Duration::ZERO)).await;
    let adaptive = json!({ "adaptiveConcurrency": {
        "minConcurrency": 4, "maxConcurrency": 8, "initialConcurrency": 8, "priorityHeader": "x-priority"
    } });
    let proxy = crate::proxy().mesh(service("server").at(&backend).with("limits", adaptive)).start().await;
    let send = async |priority: &str| {
        let mut raw = Raw::connect(proxy.outbound).await;
        let host = authority("server");
        raw.send(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nx-priority: {priority}\r\n\r\n"))
            .await;
        raw
    };
    let mut inside = Vec::new();
    // Three quarters of eight for those of low priority.
    for n in 1..=6 {
        inside.push(send("low").await);
        crowd.counts(n).await;
    }
    let refused = send("low").await.response().await;
    assert_eq!((refused.status, refused.header("x-bowline-error")), (503, Some("overloaded")));
    assert!(refused.text().contains("adaptiveConcurrency"), "{}", refused.text());
    for n in 7..=8 {
        inside.push(send("normal").await);
        crowd.counts(n).await;
    }
    send("normal").await.response().await.expect(503);
    for n in 9..=10 {
        inside.push(send("high").await);
        crowd.counts(n).await;
    }
    send("high").await.response().await.expect(503);
    assert_eq!(proxy.metric("bowline_shed_total", &[("reason", "adaptive")]).await, 3.0);
    assert_eq!(proxy.metric("bowline_limit", &[("limit", "adaptive")]).await, 8.0);
    crowd.open(10);
    for raw in &mut inside {
        raw.response().await.expect(200);
    }
    proxy.metric_is("bowline_limit_in_use", &[("limit", "requests")], 0.0).await;
}

fn no_attempt_limit() -> serde_json::Value {
    json!({ "perAttemptSeconds": 0 })
}

/// Enough requests, over enough time, that there is a percentile: it is looked at every 100 ms.
async fn warm_up(proxy: &Proxy) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(400) {
        for _ in 0..40 {
            proxy.get("server", "/").await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_attempt_is_hedged_within_the_budget() {
    let mut rng = seeded();
    let slow = Arc::new(AtomicBool::new(false));
    let backends: [Backend; 3] = {
        let slow = slow.clone();
        Backend::several(move |_, _| match slow.swap(false, Relaxed) {
            true => Reply::hang(),
            false => Reply::ok("well"),
        })
        .await
    };
    let server =
        service("server").at_all(&backends).no_ejections().with("hedge", json!({ "afterPercentile": 50 }));
    let proxy = crate::proxy().mesh(server).start().await;
    warm_up(&proxy).await;
    for _ in 0..10 {
        let before = rng.u32(..);
        slow.store(true, Relaxed);
        // The endpoint that is asked first never answers.
        proxy.get("server", &format!("/{before}")).await.expect(200);
    }
    // Now and then it is the second attempt that meets the one that hangs.
    assert!(proxy.metric("bowline_hedges_total", &[("result", "sent")]).await >= 10.0);
    assert!(proxy.metric("bowline_hedges_total", &[("result", "won")]).await >= 1.0);
    // A POST is not hedged.
    let sent = proxy.metric("bowline_hedges_total", &[("result", "sent")]).await;
    slow.store(true, Relaxed);
    let mut raw = Raw::connect(proxy.outbound).await;
    let host = authority("server");
    raw.send(format!("POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")).await;
    eventually("it is at an endpoint", async || (!slow.load(Relaxed)).then_some(())).await;
    raw.reset();
    assert_eq!(proxy.metric("bowline_hedges_total", &[("result", "sent")]).await, sent);
    // All slow: the budget (three a second, and a fifth of the requests) bounds what is added.
    let hung: [Backend; 3] =
        Backend::several(|_, _| Reply::ok("late").after(Duration::from_millis(400))).await;
    let budget = json!({ "budget": { "percent": 0, "minPerSecond": 1, "windowSeconds": 10 } });
    let quick =
        service("server").at_all(&hung).no_ejections().with("hedge", json!({ "afterPercentile": 50 }));
    let quick = quick.retry(budget).with("timeout", no_attempt_limit());
    proxy.apply(quick).await;
    let mut all = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send(get("server", "/")).await;
        all.push(raw);
    }
    for raw in &mut all {
        raw.response().await.expect(200);
    }
    let asked: usize = hung.iter().map(Backend::count).sum();
    assert!(asked <= 50 + 20, "{asked} requests for 50");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_attempt_is_used_when_the_first_one_fails_later() {
    let turn = Arc::new(AtomicU16::new(0));
    let turns = turn.clone();
    // Warm up, then: the first one takes its time and fails, the second one takes more and succeeds.
    let backends: [Backend; 2] = Backend::several(move |_, request| match request.target.as_str() {
        "/two" => match turns.fetch_add(1, Relaxed) {
            0 => Reply::status(500).after(Duration::from_millis(300)),
            _ => Reply::ok("second").after(Duration::from_millis(600)),
        },
        _ => Reply::ok("warm"),
    })
    .await;
    let server = service("server").at_all(&backends).no_ejections().with("hedge", json!({}));
    let server = server.with("appProtocol", json!("http")).with("timeout", no_attempt_limit());
    let proxy = crate::proxy().mesh(server).start().await;
    warm_up(&proxy).await;
    let client = H2Client::connect(proxy.outbound).await;
    let answer = client.call(request("GET", "server", "/two", &[]), b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(turn.load(Relaxed), 2, "two attempts");
}
