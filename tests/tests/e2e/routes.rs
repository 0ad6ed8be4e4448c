//! Routes: which request takes which, and where it goes.

use std::collections::BTreeMap;

use bowline_tests::grpc::{self, CALL, message, messages};
use bowline_tests::h2_client::request;
use bowline_tests::mesh::{Service, authority};
use bowline_tests::wait::within;
use bowline_tests::{Backend, Gate, H2Backend, H2Client, Mesh, Proxy, Raw, Reply, TcpBackend, service};
use serde_json::{Value, json};

/// A backend that answers with its name.
pub(crate) async fn named(name: &'static str) -> Backend {
    Backend::start(move |_| Reply::ok(name)).await
}

/// The service `server` with these routes.
pub(crate) fn routed(backend: &Backend, routes: Value) -> Service {
    service("server").at(backend).retry(json!({})).with("routes", routes)
}

async fn goes(proxy: &Proxy, method: &str, path: &str, headers: &str, to: &str) {
    let answer = proxy.request(method, "server", path, headers, "").await;
    assert_eq!(answer.expect(200).text(), to, "{method} {path} {headers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_route_that_fits_decides() {
    let (own, a, b, c) = (named("own").await, named("a").await, named("b").await, named("c").await);
    let to = |name: &str| json!([{ "service": name }]);
    let routes = json!([
        { "match": { "path": { "exact": "/only" } }, "to": to("a") },
        { "match": { "path": { "prefix": "/v1" }, "method": "GET" }, "to": to("b") },
        { "match": { "path": { "prefix": "/v1" } }, "to": to("c") },
        { "match": { "path": { "template": "/users/{id}/cart" } }, "to": to("a") },
        { "match": { "path": { "regex": "/(x|y)[0-9]+" } }, "to": to("b") },
        { "match": { "headers": { "x-user": { "exact": "ann" }, "x-old": { "present": false } } }, "to": to("c") },
        { "match": { "headers": { "x-user": { "prefix": "b" } } }, "to": to("a") },
        { "match": { "headers": { "x-user": { "regex": "[0-9]+" } } }, "to": to("b") },
        { "match": { "query": { "beta": { "present": true } } }, "to": to("c") },
        { "match": { "query": { "q": { "exact": "a b" } } }, "to": to("a") },
        { "match": { "hosts": ["*.shop.test"] }, "to": to("b") },
    ]);
    let mesh =
        Mesh::of([routed(&own, routes), service("a").at(&a), service("b").at(&b), service("c").at(&c)]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    for (method, path, headers, to) in [
        ("GET", "/only", "", "a"),
        ("GET", "/only/", "", "own"),
        ("GET", "/only?x=1", "", "a"),
        ("GET", "/v1", "", "b"),
        ("GET", "/v1/a", "", "b"),
        ("POST", "/v1/a", "", "c"),
        ("GET", "/v10", "", "own"),
        ("GET", "/V1", "", "own"),
        ("GET", "/users/7/cart", "", "a"),
        ("GET", "/users//cart", "", "own"),
        ("GET", "/users/7/8/cart", "", "own"),
        ("GET", "/x12", "", "b"),
        ("GET", "/x12/", "", "own"),
        ("GET", "/", "X-User: ann\r\n", "c"),
        ("GET", "/", "X-User: ann\r\nX-Old: 1\r\n", "own"),
        ("GET", "/", "X-User: anna\r\n", "own"),
        ("GET", "/", "X-User: bob\r\n", "a"),
        ("GET", "/", "X-User: ann2\r\nx-user: 17\r\n", "b"),
        ("GET", "/", "X-User: 17a\r\n", "own"),
        ("GET", "/?a=1&beta", "", "c"),
        ("GET", "/?beta2=1", "", "own"),
        ("GET", "/?q=a+b", "", "a"),
        ("GET", "/?q=a%20b", "", "a"),
        ("GET", "/?q=ab", "", "own"),
        // Nothing is normalised: what the server would get is what is compared.
        ("GET", "//v1/a", "", "own"),
        ("GET", "/x/../v1/a", "", "own"),
        ("GET", "/v1/../only", "", "b"),
        ("GET", "/%76%31", "", "own"),
    ] {
        goes(&proxy, method, path, headers, to).await;
    }
    // By the name that was called: at a VIP, by `Host`.
    let vip = proxy.vip("server").await;
    for (host, to) in [("eu.shop.test", "b"), ("EU.Shop.Test:80", "b"), ("shop.test", "own")] {
        let mut raw = Raw::connect(vip).await;
        let answer = raw.call(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.expect(200).text(), to, "{host}");
    }
    let of = |route: &'static str| [("service", "server"), ("route", route), ("class", "2xx")];
    assert_eq!(proxy.metric("bowline_route_requests_total", &of("0")).await, 2.0);
    assert_eq!(proxy.metric("bowline_route_requests_total", &of("2")).await, 1.0);
    assert_eq!(proxy.metric("bowline_route_requests_total", &of("9")).await, 2.0);
    // Where it goes counts, limits and balances.
    let requests = proxy.metric("bowline_requests_total", &[("service", "c"), ("class", "2xx")]).await;
    assert_eq!(requests, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_hold_for_http2_and_grpc_as_well() {
    let plain = H2Backend::start(|mut stream| async move {
        stream.answer(200, &[], b"own");
    })
    .await;
    let calls = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        let seen = format!("{} {}", stream.head.uri, stream.head.headers["x-set"].to_str().expect("text"));
        let echoed = messages(&body).concat();
        grpc::answer(&mut stream, &[seen.as_bytes(), &echoed]);
    })
    .await;
    let routes = json!([{
        "name": "calls",
        "match": { "path": { "template": "/pkg.Greeter/{method}" }, "headers": { "content-type": { "prefix": "application/grpc" } } },
        "to": [{ "service": "greeter" }],
        "rewrite": { "path": "/pkg.v2.Greeter/{method}", "host": "greeter.internal" },
        "headers": { "request": { "set": { "x-set": "yes" } }, "response": { "add": { "x-added": "too" } } },
    }]);
    let mesh = Mesh::of([
        service("server").at(&plain).with("routes", routes),
        service("greeter").at(&calls).with("appProtocol", json!("grpc")),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let answer = client.call(request("POST", "server", "/pkg.Greeter/Hello", CALL), &message(b"hi")).await;
    let seen = messages(&answer.body);
    assert_eq!(String::from_utf8_lossy(&seen[0]), "http://greeter.internal/pkg.v2.Greeter/Hello yes");
    assert_eq!(seen[1], b"hi");
    assert_eq!((answer.field("x-added"), answer.field("grpc-status")), (Some("too"), Some("0")));
    let answer = client.call(request("GET", "server", "/pkg.Greeter/Hello", &[]), b"").await;
    assert_eq!(&answer.body[..], b"own");
    let routed = proxy.metric("bowline_route_requests_total", &[("route", "calls"), ("class", "2xx")]).await;
    assert_eq!(routed, 1.0);
}

/// A thousand requests at 80 to 20: 200 are 12.6 apart from each other in a standard deviation; ten of these are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_split_shares_requests_out_by_weight() {
    let (a, b, none) = (named("a").await, named("b").await, named("none").await);
    let to = json!([{ "service": "a", "weight": 80 }, { "service": "b", "weight": 20 }, { "service": "none", "weight": 0 }]);
    let mesh = Mesh::of([
        routed(&none, json!([{ "to": to }])),
        service("a").at(&a),
        service("b").at(&b),
        service("none").at(&none),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let mut raw = Raw::connect(proxy.vip("server").await).await;
    for _ in 0..1000 {
        raw.call("GET / HTTP/1.1\r\nHost: server\r\n\r\n").await.expect(200);
    }
    assert_eq!((a.count() + b.count(), none.count()), (1000, 0));
    assert!((74..=326).contains(&b.count()), "{} of 1000 at 20 %", b.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stable_split_keeps_each_key_where_it_is_while_its_share_grows() {
    let (a, b) = (named("a").await, named("b").await);
    let mesh = |weight: u32, by: Value| {
        let to = json!([{ "service": "b", "weight": weight }, { "service": "a", "weight": 100 - weight }]);
        Mesh::of([routed(&a, json!([{ "to": to, "splitBy": by }])), service("a").at(&a), service("b").at(&b)])
    };
    let by_user = json!({ "header": "x-user" });
    let proxy = crate::proxy().mesh(mesh(20, by_user.clone())).start().await;
    let round = async || {
        let mut where_to = BTreeMap::new();
        for user in 0..200 {
            let header = format!("X-User: user-{user}\r\n");
            let answer = proxy.request("GET", "server", "/", &header, "").await;
            where_to.insert(user, answer.expect(200).text());
        }
        where_to
    };
    let first = round().await;
    let at_b = |round: &BTreeMap<i32, String>| round.values().filter(|to| *to == "b").count();
    // 40 ± 5.7.
    assert!((5..100).contains(&at_b(&first)), "{} of 200 at 20 %", at_b(&first));
    assert_eq!(first, round().await);
    proxy.apply(mesh(60, by_user)).await;
    let second = round().await;
    assert!(at_b(&second) > at_b(&first));
    assert!(first.iter().all(|(user, to)| to != "b" || second[user] == "b"), "all that were there stay");

    // A cookie is set where there is none, and then keeps its bearer.
    proxy.apply(mesh(50, json!({ "cookie": { "name": "side", "ttlSeconds": 60 } }))).await;
    for _ in 0..8 {
        let first = proxy.get("server", "/").await;
        let cookie = first.header("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.starts_with("side=") && cookie.contains("Max-Age=60"), "{cookie}");
        let pair = cookie.split(';').next().expect("a pair");
        for _ in 0..3 {
            let again = proxy.request("GET", "server", "/", &format!("Cookie: x=1; {pair}\r\n"), "").await;
            assert_eq!(again.expect(200).text(), first.text());
            assert_eq!(again.header("set-cookie"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_leads_to_the_endpoints_with_its_labels() {
    let (v1, v2) = (named("v1").await, named("v2").await);
    let endpoint = |backend: &Backend, version: &str| json!({ "address": backend.addr().to_string(), "metadata": { "version": version } });
    let mesh = |version: &str| {
        service("server")
            .with("endpoints", json!({ "static": [endpoint(&v1, "v1"), endpoint(&v2, "v2")] }))
            .with("routes", json!([
                { "match": { "headers": { "x-beta": { "present": true } } }, "to": [{ "service": "server", "subset": { "version": version } }] },
                { "to": [{ "service": "server", "subset": { "version": "v1" } }] },
            ]))
    };
    let proxy = crate::proxy().mesh(mesh("v2")).start().await;
    for _ in 0..20 {
        goes(&proxy, "GET", "/", "", "v1").await;
        goes(&proxy, "GET", "/", "X-Beta: 1\r\n", "v2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_its_own_timeouts_and_retries() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let slow = Backend::start(move |request| match request.target.as_str() {
        "/fails" => Reply::status(503),
        _ => Reply::ok("late").behind(&behind),
    })
    .await;
    let routes = json!([
        { "match": { "path": { "exact": "/short" } }, "timeout": { "perRequestTimeoutSeconds": 0.2 } },
        { "match": { "path": { "exact": "/fails" }, "method": "POST" }, "retry": { "retries": 3, "on": [{ "status": [503] }] } },
        { "match": { "path": { "exact": "/fails" } }, "to": [{ "service": "other" }], "retry": { "retries": 0 } },
    ]);
    let mesh = Mesh::of([
        routed(&slow, routes).no_ejections(),
        service("other").at(&slow).retry(json!({ "retries": 9 })).no_ejections(),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let short = proxy.get("server", "/short").await;
    assert_eq!(short.expect(504).header("x-bowline-error"), Some("request_timeout"));
    let before = slow.count();
    proxy.request("POST", "server", "/fails", "", "").await.expect(503);
    assert_eq!(slow.count(), before + 4);
    proxy.get("server", "/fails").await.expect(503);
    assert_eq!(slow.count(), before + 5);
    gate.open();
    proxy.get("server", "/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn test_traffic_alone_goes_to_the_endpoints_for_it() {
    let (blue, green) = (named("blue").await, named("green").await);
    let alias = json!([{
        "dnsName": "server.mesh.test", "port": bowline_tests::PORT,
        "testTrafficRules": { "header": { "name": "x-test", "value": { "exact": "green" } } },
    }]);
    let plain = json!({ "address": blue.addr().to_string() });
    let test = json!({ "address": green.addr().to_string(), "metadata": { "deployment": "test" } });
    let mesh = |endpoints: Value| {
        service("server")
            .with("clientAliases", alias.clone())
            .with("endpoints", json!({ "static": endpoints }))
    };
    let proxy = crate::proxy().mesh(mesh(json!([plain, test]))).start().await;
    for _ in 0..20 {
        goes(&proxy, "GET", "/", "", "blue").await;
        goes(&proxy, "GET", "/", "X-Test: blue\r\n", "blue").await;
        goes(&proxy, "GET", "/", "X-Test: green\r\n", "green").await;
    }
    let mut raw = Raw::connect(proxy.vip("server").await).await;
    let answer = raw.call("GET / HTTP/1.1\r\nHost: else\r\nx-test: green\r\n\r\n").await;
    assert_eq!(answer.expect(200).text(), "green");
    // While there are none of these, it goes where all requests go.
    proxy.apply(mesh(json!([plain]))).await;
    goes(&proxy, "GET", "/", "X-Test: green\r\n", "blue").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_a_rewritten_route() {
    let backend = TcpBackend::start(|_, mut wire| async move {
        let head = wire.head().await?.expect("a request");
        assert_eq!(head.start, "GET /socket/room HTTP/1.1");
        assert_eq!(head.header("host"), Some("chat.internal"));
        assert_eq!(head.header("connection"), Some("Upgrade"));
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: x\r\n\r\n";
        wire.send(switched).await?;
        let byte = wire.exactly(1).await?;
        wire.send(byte).await
    })
    .await;
    let routes = json!([{
        "match": { "path": { "prefix": "/chat" } },
        "rewrite": { "prefix": "/socket", "host": "chat.internal" },
        "headers": { "response": { "remove": ["server"] } },
    }]);
    let proxy = crate::proxy().mesh(service("server").at(&backend).with("routes", routes)).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let host = authority("server");
    raw.send(format!(
        "GET http://{host}/chat/room HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ))
    .await;
    let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
    assert!(head.start.contains(" 101 ") && head.header("server").is_none(), "{head:?}");
    raw.send("x").await;
    let byte = within("the echo", raw.wire.exactly(1)).await.expect("a byte");
    assert_eq!(byte, b"x");
}

/// While requests come without a pause the route turns from one service to the other and back, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_changes_in_the_middle_of_traffic() {
    let (a, b) = (named("a").await, named("b").await);
    let mesh = |to: &str| {
        Mesh::of([
            routed(
                &a,
                json!([{ "to": [{ "service": to }], "headers": { "response": { "set": { "x-route": to } } } }]),
            ),
            service("a").at(&a),
            service("b").at(&b),
        ])
    };
    let proxy = crate::proxy().arg("--workers").arg("2").mesh(mesh("a")).start().await;
    let vip = proxy.vip("server").await;
    let done = Gate::shut();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let stop = done.clone();
        clients.spawn(async move {
            let mut raw = Raw::connect(vip).await;
            let mut seen = BTreeMap::new();
            loop {
                let answer = raw.call("GET / HTTP/1.1\r\nHost: server\r\n\r\n").await;
                // Each is under one of the two meshes, wholly.
                assert_eq!(answer.expect(200).header("x-route"), Some(&*answer.text()));
                *seen.entry(answer.text()).or_insert(0) += 1;
                if tokio::time::timeout(std::time::Duration::ZERO, stop.passed()).await.is_ok() {
                    return seen;
                }
            }
        });
    }
    for to in ["b", "a", "b"] {
        let before = a.count() + b.count();
        proxy.apply(mesh(to)).await;
        let more = || a.count() + b.count() > before + 100;
        bowline_tests::eventually("requests go on", async || more().then_some(())).await;
    }
    done.open();
    while let Some(seen) = clients.join_next().await {
        let seen = seen.expect("no request is lost");
        assert!(seen.contains_key("a") && seen.contains_key("b"), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_which_route_fits_and_why_the_others_do_not() {
    let (a, b) = (named("a").await, named("b").await);
    let routes = json!([
        { "name": "write", "match": { "method": "POST" }, "to": [{ "service": "a" }] },
        { "match": { "path": { "prefix": "/old" } }, "redirect": { "path": "/new" } },
        { "name": "beta", "match": { "headers": { "x-user": { "prefix": "a" } } },
          "to": [{ "service": "a", "weight": 3 }, { "service": "b" }], "timeout": { "perRequestTimeoutSeconds": 2 },
          "rewrite": { "path": "/beta" }, "fault": { "delay": { "seconds": 1, "percent": 5 } }, "mirror": { "service": "b" } },
    ]);
    let mesh = Mesh::of([routed(&a, routes), service("a").at(&a), service("b").at(&b)]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let explained = async |path: &str, more: &str| {
        let url = bowline_tests::url("server", path);
        proxy.page(&format!("/explain?url={url}{more}")).await
    };
    let steps = |page: &Value| -> Vec<String> {
        let steps = page["steps"].as_array().expect("a list");
        steps.iter().filter_map(|step| step.as_str().map(str::to_owned)).collect()
    };
    let page = explained("/", "&header=X-User:%20ann").await;
    let said = steps(&page);
    for step in [
        "route write does not fit: it is for another method",
        "route 1 does not fit: it is for other paths",
        "route beta is the first that fits",
        "5 % are held up for 1 s on purpose",
        "it asks for /beta there",
        "a copy of 100 % of its requests goes to b",
        "it leads to a (75 %), b (25 %), request by request",
        "a: 2 s for the whole request, 15 s to the response head, 300 s of standing still; at most 2 retries",
        "b: 1 of its 1 endpoints may be picked",
    ] {
        assert!(said.iter().any(|said| said == step), "{step} in {said:#?}");
    }
    assert_eq!(page["candidates"], json!([a.addr().to_string(), b.addr().to_string()]));
    let page = explained("/x", "").await;
    assert!(steps(&page).iter().any(|step| step == "route beta does not fit: header x-user"), "{page}");
    assert!(steps(&page).iter().any(|step| step.starts_with("no route fits")), "{page}");
    assert_eq!(page["service"], "server");
    let page = explained("/old/a", "").await;
    assert_eq!((&page["answered"], &page["candidates"]), (&json!(302), &json!([])));
    assert!(steps(&page).iter().any(|step| step.ends_with("mesh.test:21500/new")), "{page}");
    let page = explained("/old/a", "&method=POST").await;
    assert_eq!((&page["answered"], &page["service"]), (&Value::Null, &json!("a")));
    proxy.admin("GET", "/explain?url=http://a/&header=x").await.expect(400);
}
