//! The admin pages.

use std::collections::BTreeSet;

use bowline_proxy::telemetry::catalogue;
use bowline_tests::dns::DnsServer;
use bowline_tests::metrics::Scrape;
use bowline_tests::sockets::refusing;
use bowline_tests::{Backend, Mesh, Proxy, Raw, Reply, service, url};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn each_page_takes_its_own_method() {
    let proxy = crate::proxy().mesh(service("server")).start().await;
    let reads = [
        "/",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/services",
        "/endpoints",
        "/config",
        "/explain?url=http://server.mesh.test:21500/",
    ];
    for path in reads {
        proxy.admin("GET", path).await.expect(200);
        assert!(proxy.admin("HEAD", path).await.expect(200).body.is_empty());
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(
                proxy.admin(method, path).await.expect(405).header("allow"),
                Some("GET"),
                "{method} {path}"
            );
        }
    }
    for path in ["/logging?level=info", "/drain"] {
        for method in ["GET", "HEAD", "PUT"] {
            assert_eq!(
                proxy.admin(method, path).await.expect(405).header("allow"),
                Some("POST"),
                "{method} {path}"
            );
        }
    }
    // GET has not drained it.
    assert_eq!(proxy.metric("bowline_draining", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_page_is_told_what_there_is() {
    let proxy = crate::proxy().start().await;
    let answer = proxy.admin("GET", "/metricz").await;
    assert!(answer.expect(404).text().contains("GET  /metrics"), "{}", answer.text());
    assert_eq!(
        proxy.admin("GET", "/").await.expect(200).header("content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_pages_say_so() {
    let proxy = crate::proxy().mesh(service("server")).start().await;
    for path in ["/services", "/endpoints", "/config", "/health/ready"] {
        assert_eq!(
            proxy.admin("GET", path).await.expect(200).header("content-type"),
            Some("application/json"),
            "{path}"
        );
    }
    assert_eq!(proxy.page("/health/ready").await, json!({ "ready": true, "reasons": [] }));
}

/// What is scraped is what is in the reference, each family with its kind, its help and its labels.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_those_of_the_catalogue() {
    let backend =
        Backend::start(|request| if request.index == 0 { Reply::status(503) } else { Reply::ok("") }).await;
    let mesh = Mesh::of([
        service("server").at(&backend).retry(json!({})),
        service("gone").at(refusing()).retry(json!({})).limits(9, 9, 9),
        service("named").with("endpoints", json!({ "dns": { "name": "a.test", "port": 80 } })),
        service("checked").at(&backend).with("healthCheck", json!({ "tcp": {} })),
        service("guarded")
            .at(&backend)
            .with("rateLimit", json!([{ "requestsPerSecond": 9 }]))
            .with("circuitBreaker", json!({}))
            .with("hedge", json!({}))
            .with("limits", json!({ "adaptiveConcurrency": {} })),
        service("routed").with(
            "routes",
            json!([{ "mirror": { "service": "gone" }, "fault": { "abort": { "status": 500 } } }]),
        ),
    ]);
    let dns = DnsServer::start().await;
    dns.addresses("a.test", ["127.0.0.1"], 60);
    let proxy = crate::proxy().arg("--resolver").arg(dns.addr().to_string()).mesh(mesh).start().await;
    // A first look without any traffic, a second with some of each kind.
    for look in 0..2 {
        let scrape = proxy.metrics().await;
        let scraped: BTreeSet<&str> = scrape.families.keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(scraped, known);
        let mut silent = Vec::new();
        for metric in catalogue::ALL {
            let family = &scrape.families[metric.name];
            assert_eq!((family.kind.as_str(), family.help.as_str()), (metric.kind.as_str(), metric.help));
            for sample in &family.samples {
                let labels: Vec<&str> = sample
                    .labels
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .filter(|name| *name != "le")
                    .collect();
                assert_eq!(labels, metric.labels, "{}", metric.name);
            }
            // Those of the control plane have no value without one: see the control plane's own tests.
            // So have those of an export without a collector, those of gRPC without a call of it, those of an entry without
            // one, and what is learnt only after a while.
            let others = [
                "bowline_control_plane_",
                "bowline_otlp_",
                "bowline_grpc_",
                "bowline_access_",
                "bowline_adaptive_",
            ];
            let without = look == 0 || others.iter().any(|prefix| metric.name.starts_with(prefix));
            if !without && family.samples.is_empty() {
                silent.push(metric.name);
            }
        }
        assert!(silent.is_empty(), "{silent:?} have no sample");
        proxy.metric_is("bowline_endpoint_healthy", &[("service", "checked")], 1.0).await;
        proxy.get("server", "/").await.expect(200);
        proxy.get("gone", "/").await.expect(503);
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.send("nonsense\r\n\r\n").await;
        raw.rest().await;
        let target = bowline_tests::authority("gone");
        let mut raw = Raw::connect(proxy.outbound).await;
        raw.call(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await.expect(503);
    }
    let answer = proxy.admin("GET", "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_has_happened() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/404" => Reply::status(404),
        "/500" => Reply::status(500),
        _ => Reply::ok("").after(std::time::Duration::from_millis(20)),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for (path, times) in [("/", 5), ("/404", 3), ("/500", 2)] {
        for _ in 0..times {
            proxy.get("server", path).await;
        }
    }
    let scrape = proxy.metrics().await;
    for (class, count) in [("2xx", 5.0), ("4xx", 3.0), ("5xx", 2.0)] {
        assert_eq!(scrape.sum("bowline_requests_total", &[("service", "server"), ("class", class)]), count);
        assert_eq!(
            scrape.sum("bowline_endpoint_attempts_total", &[("service", "server"), ("class", class)]),
            count
        );
    }
    let duration = &scrape.families["bowline_request_duration_seconds"];
    let of = |suffix: &str| {
        duration.samples.iter().find(|sample| sample.name.ends_with(suffix)).expect("a sample").value
    };
    assert_eq!(of("_count"), 10.0);
    assert!(of("_sum") >= 0.1 && of("_sum") < 10.0, "{}", of("_sum"));
    assert_eq!(scrape.sum("bowline_downstream_accepts_total", &[("listener", "forward_proxy")]), 10.0);
    assert_eq!(scrape.sum("bowline_endpoint_connects_total", &[("result", "ok")]), 1.0);
    let [sent, received] = ["sent", "received"]
        .map(|direction| scrape.sum("bowline_endpoint_bytes_total", &[("direction", direction)]));
    assert!((500.0..5000.0).contains(&sent) && (400.0..4000.0).contains(&received), "{sent}, {received}");
    assert!(scrape.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(scrape.sum("process_open_fds", &[]) > 5.0);
    assert!(scrape.sum("process_start_time_seconds", &[]) > 1.7e9);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_where_a_request_would_go() {
    let [bad, good] = Backend::several(|n, _| if n == 0 { Reply::status(500) } else { Reply::ok("") }).await;
    let unused = refusing();
    let server = service("server")
        .at_all([&bad, &good])
        .weighted(unused, 0)
        .retry(json!({}))
        .with("loadBalancing", json!({ "policy": "roundRobin" }));
    let proxy = crate::proxy().mesh(server).start().await;
    for _ in 0..10 {
        proxy.get("server", "/").await;
    }
    proxy.endpoint_is(bad.addr(), "ejected").await;
    // Given as it is, and percent-encoded as a browser or curl --data-urlencode would.
    for url in ["http://server.mesh.test:21500/a", "http%3A%2F%2FSERVER.mesh.test%3A21500%2Fa"] {
        let page = proxy.page(&format!("/explain?url={url}")).await;
        assert_eq!(page["service"], "server", "{page}");
        assert_eq!(page["candidates"], json!([good.addr().to_string()]));
        let why = |addr: std::net::SocketAddr| {
            let all = page["notCandidates"].as_array().expect("a list");
            let one = all
                .iter()
                .find(|one| one["address"] == addr.to_string())
                .unwrap_or_else(|| panic!("{addr}: {page}"));
            one["why"].as_str().expect("text").to_owned()
        };
        assert!(why(bad.addr()).starts_with("ejected for another"), "{}", why(bad.addr()));
        assert_eq!(why(unused), "weight 0");
    }
    let page = proxy.page("/explain?url=http://severe.mesh.test:21500/").await;
    assert!(page["steps"].to_string().contains("did you mean server.mesh.test:21500?"), "{page}");
    proxy.admin("GET", "/explain").await.expect(400);
    proxy.admin("GET", "/explain?url=/path").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_endpoints_show_the_mesh_in_force() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let mesh = Mesh::of([service("a").at(&backend).http2(), service("b").weighted(&backend, 7)]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    proxy.get("b", "/").await.expect(200);
    let page = proxy.page("/services").await;
    assert_eq!((&page["namespace"], &page["generation"]), (&json!("mesh.test"), &json!(1)));
    let [a, b] = page["services"].as_array().expect("a list").as_slice() else { panic!("{page}") };
    assert_eq!(
        (&a["service"], &a["appProtocol"], &a["endpoints"]),
        (&json!("a"), &json!("http2"), &json!(1))
    );
    assert_eq!(b["aliases"][0]["dnsName"], "b.mesh.test");
    assert_ne!(a["aliases"][0]["vip"], b["aliases"][0]["vip"]);
    let page = proxy.page("/endpoints").await;
    let one = page["endpoints"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["service"] == "b"))
        .expect("b's");
    assert_eq!(
        (&one["weight"], &one["state"], &one["attempts"], &one["failures"]),
        (&json!(7), &json!("active"), &json!(1), &json!(0))
    );
    assert!(one["expectedMilliseconds"].as_f64().is_some_and(|ms| ms > 0.0), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_changes_while_it_runs() {
    let proxy =
        crate::proxy().mesh(service("server").at(refusing()).retry(json!({ "retries": 0 }))).start().await;
    proxy.admin("POST", "/logging?level=warn").await.expect(200);
    proxy.get("server", "/").await.expect(503);
    proxy.admin("POST", "/logging?level=debug").await.expect(200);
    assert!(!proxy.log().iter().any(|line| line.contains("attempt failed")));
    proxy.get("server", "/").await.expect(503);
    proxy.logged("attempt failed").await;
    proxy.admin("POST", "/logging?level=loud").await.expect(400);
    proxy.admin("POST", "/logging").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_listener_reads_only() {
    let proxy = crate::proxy().mesh(service("server")).arg("--metrics").arg("127.0.0.1:0").start().await;
    let addr = proxy.metrics_listener.expect("its address");
    let ask = async |method: &str, path: &str| {
        Raw::connect(addr).await.call(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    };
    for path in ["/metrics", "/health/live", "/health/ready"] {
        ask("GET", path).await.expect(200);
        ask("POST", path).await.expect(405);
    }
    Scrape::parse(&ask("GET", "/metrics").await.text()).expect("a valid page");
    for (method, path) in [
        ("GET", "/config"),
        ("GET", "/endpoints"),
        ("GET", "/"),
        ("POST", "/drain"),
        ("POST", "/logging?level=debug"),
    ] {
        ask(method, path).await.expect(404);
    }
    assert_eq!(proxy.metric("bowline_draining", &[]).await, 0.0);
}

/// Case 44, in part: connections that hang on the admin listener don't touch the traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowded_admin_listener_does_not_touch_traffic() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(Raw::connect(proxy.admin).await);
    }
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..100 {
        raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await.expect(200);
    }
    drop(idle);
    assert_eq!(proxy.metric("bowline_requests_total", &[("class", "2xx")]).await, 100.0);
}

/// Case 43: who opens the admin listener to the network is told what that means; by default it is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_listener_that_others_can_reach_is_told_in_the_log() {
    let proxy = crate::proxy().start().await;
    assert!(proxy.admin.ip().is_loopback());
    let warned = |proxy: &Proxy| proxy.log().iter().any(|line| line.contains("can be reached from outside"));
    assert!(!warned(&proxy));
    let open = crate::proxy().arg("--metrics").arg("0.0.0.0:0").start().await;
    assert!(!warned(&open), "--metrics only reads");
    let open = crate::proxy().admin("0.0.0.0:0").start().await;
    open.logged("can be reached from outside").await;
}
