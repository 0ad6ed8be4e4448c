//! An entry into the mesh, for callers from outside.

use std::net::SocketAddr;

use bowline_tests::client::Raw;
use bowline_tests::grpc::{self, CALL, message, messages};
use bowline_tests::mesh::Service;
use bowline_tests::proxy::Builder;
use bowline_tests::wait::within;
use bowline_tests::wire::Wire;
use bowline_tests::{
    Answer, Backend, Gate, H2Backend, H2Client, Mesh, Proxy, Reply, TcpBackend, authority, service, url,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

use crate::inbound::proxy_header;

/// A service that is an ingress and nothing else.
pub(crate) fn edge(routes: Value, expose: &[&str]) -> Service {
    service("edge").with("routes", routes).with("ingress", json!({ "expose": expose }))
}

/// A proxy with an entry for the service `edge`.
pub(crate) fn at_edge() -> Builder {
    crate::proxy().arg("--ingress").arg("edge=127.0.0.1:0")
}

pub(crate) async fn call(proxy: &Proxy, host: &str, path: &str, headers: &str) -> Answer {
    let mut raw = Raw::connect(proxy.ingress[0]).await;
    raw.call(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")).await
}

fn is_nowhere(answer: &Answer) {
    answer.expect(404);
    assert_eq!(answer.header("x-bowline-error"), Some("unknown_service"));
    let text = answer.text();
    assert!(!text.contains("mesh.test") && !text.contains("edge"), "it names what is inside: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_decide_then_exposed_names_and_nothing_else_leads_inside() {
    let [web, api, billing, secret] = [
        Backend::start(|_| Reply::ok("web")).await,
        Backend::start(|_| Reply::ok("api")).await,
        Backend::start(|_| Reply::ok("billing")).await,
        Backend::start(|_| Reply::ok("secret")).await,
    ];
    let routes = json!([
        { "match": { "hosts": ["www.example.com"], "path": { "prefix": "/api" } },
          "rewrite": { "prefix": "/v1" }, "to": [{ "service": "api" }] },
        { "match": { "hosts": ["www.example.com"] }, "to": [{ "service": "web" }] },
        { "match": { "path": { "exact": "/old" } }, "redirect": { "status": 301, "path": "/new" } },
    ]);
    let own = json!([{ "match": { "path": { "exact": "/closed" } }, "respond": { "status": 403 } }]);
    let mesh = Mesh::of([
        edge(routes, &["billing"]),
        service("web").at(&web),
        service("api").at(&api).with("appProtocol", json!("http")),
        service("billing").at(&billing).with("routes", own),
        service("secret").at(&secret),
    ]);
    let proxy = at_edge().mesh(mesh).start().await;
    assert_eq!(call(&proxy, "www.example.com", "/", "").await.expect(200).text(), "web");
    let forwarded = "X-Forwarded-For: 203.0.113.9\r\nConnection: x-forwarded-for\r\n";
    assert_eq!(call(&proxy, "www.example.com", "/api/x?q=1", forwarded).await.expect(200).text(), "api");
    let seen = api.only_request();
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/v1/x?q=1", Some("www.example.com")));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "nobody can have it taken out");
    call(&proxy, "www.example.com", "/", "X-Forwarded-For: 203.0.113.9\r\n").await.expect(200);
    let last = web.requests().pop().expect("a request");
    assert_eq!(last.header("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    call(&proxy, "anything", "/old", "").await.expect(301);
    for host in ["billing.mesh.test", "Billing.Mesh.Test.:443", "billing.mesh.test:9"] {
        assert_eq!(call(&proxy, host, "/x", "").await.expect(200).text(), "billing", "{host}");
        call(&proxy, host, "/closed", "").await.expect(403);
    }
    for host in ["secret.mesh.test", &authority("secret"), "edge.mesh.test", "mesh.test", "x", "[::1]:80"] {
        is_nowhere(&call(&proxy, host, "/", "").await);
    }
    let absolute = format!("GET {} HTTP/1.1\r\nHost: www.example.com\r\n\r\n", url("secret", "/"));
    is_nowhere(&Raw::connect(proxy.ingress[0]).await.call(absolute).await);
    Raw::connect(proxy.ingress[0]).await.call("GET / HTTP/1.1\r\n\r\n").await.expect(400);
    let connect = format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", secret.addr());
    let refused = Raw::connect(proxy.ingress[0]).await.call(connect).await;
    assert_eq!((refused.status, secret.accepts()), (400, 0));
    assert_eq!(secret.count(), 0);
    // Over HTTP/2 the same.
    let client = H2Client::connect(proxy.ingress[0]).await;
    let ask = |host: &str, path: &str| {
        let uri = format!("http://{host}{path}");
        http::Request::builder().uri(uri).body(()).expect("a request")
    };
    let answer = client.call(ask("www.example.com", "/api"), b"").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"api"[..]));
    assert_eq!(client.call(ask("secret.mesh.test", "/"), b"").await.status, 404);
    let accepts = [("listener", "ingress")];
    assert!(proxy.metric("bowline_downstream_accepts_total", &accepts).await >= 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_inside_is_told_to_nobody_outside() {
    let gone = bowline_tests::sockets::refusing();
    let routes = json!([{ "match": {}, "to": [{ "service": "web" }] }]);
    let mesh = Mesh::of([edge(routes, &[]), service("web").at(gone).retry(json!({}))]);
    let proxy = at_edge().mesh(mesh).start().await;
    let answer = call(&proxy, "x", "/", "").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("connect_failure"));
    let text = answer.text();
    assert!(!text.contains("web") && !text.contains(&gone.port().to_string()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_whose_service_is_missing_says_so_until_it_is_there() {
    let web = Backend::start(|_| Reply::ok("web")).await;
    let proxy = at_edge().mesh(service("web").at(&web)).start().await;
    proxy.logged("leads nowhere: there is no service edge").await;
    let health = proxy.page("/health").await;
    assert!(health["ready"] == false && health["reasons"].to_string().contains("edge"), "{health}");
    is_nowhere(&call(&proxy, "x", "/", "").await);
    let routes = json!([{ "match": {}, "to": [{ "service": "web" }] }]);
    proxy.apply(Mesh::of([service("web").at(&web), edge(routes, &[])])).await;
    proxy.logged("an ingress has its service now").await;
    assert_eq!(call(&proxy, "x", "/", "").await.expect(200).text(), "web");
    assert_eq!(proxy.page("/health").await["ready"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_endpoints_is_an_entry_to_itself_unless_it_says_more() {
    let web = Backend::start(|_| Reply::ok("web")).await;
    let proxy = at_edge().mesh(service("edge").at(&web)).start().await;
    assert_eq!(call(&proxy, "whoever", "/x", "").await.expect(200).text(), "web");
    // With routes as well, but not if it says that it is an entry to others.
    let routes = json!([{ "match": { "path": { "exact": "/a" } }, "respond": { "status": 204 } }]);
    let with_routes = service("edge").at(&web).with("routes", routes);
    proxy.apply(with_routes.clone()).await;
    call(&proxy, "whoever", "/a", "").await.expect(204);
    assert_eq!(call(&proxy, "whoever", "/x", "").await.expect(200).text(), "web");
    proxy.apply(with_routes.with("ingress", json!({}))).await;
    call(&proxy, "whoever", "/a", "").await.expect(204);
    is_nowhere(&call(&proxy, "whoever", "/x", "").await);
}

/// A connection from this address of the loopback.
async fn from(source: [u8; 4], to: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((source, 0).into()).expect("an address of the loopback");
    let stream: TcpStream = within("connecting", socket.connect(to)).await.expect("a listener");
    Raw { wire: Wire::new(stream) }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_has_a_rate_limit_of_its_own() {
    let web = Backend::start(|_| Reply::ok("web")).await;
    let limit = json!([{ "requestsPerMinute": 2, "key": "clientAddress" }]);
    let routes = json!([{ "match": {}, "to": [{ "service": "web" }] }]);
    let mesh = Mesh::of([edge(routes, &[]).with("rateLimit", limit), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    let ask = async |source, spoofed: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {spoofed}\r\n\r\n");
        from(source, proxy.ingress[0]).await.call(request).await
    };
    for n in 0..2 {
        ask([127, 0, 0, 2], &format!("192.0.2.{n}")).await.expect(200);
    }
    let refused = ask([127, 0, 0, 2], "192.0.2.9").await;
    assert_eq!(refused.expect(429).header("x-bowline-error"), Some("rate_limited"));
    assert!(refused.header("retry-after").is_some());
    ask([127, 0, 0, 3], "192.0.2.9").await.expect(200);
}

/// Behind a load balancer of layer 4, which says who calls in a PROXY header.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_says_who_calls() {
    let web = Backend::start(|_| Reply::ok("web")).await;
    let limit = json!([{ "requestsPerMinute": 1, "burst": 1, "key": "clientAddress" }]);
    let edge = edge(json!([{ "to": [{ "service": "web" }] }]), &[]).with("rateLimit", limit);
    let builder = crate::proxy().arg("--ingress").arg("edge=127.0.0.1:0,proxy-protocol=accept");
    let proxy = builder.mesh(Mesh::of([edge, service("web").at(&web)])).start().await;
    let at = proxy.ingress[0];
    let through = async |client: [u8; 4]| {
        let mut raw = Raw::connect(at).await;
        raw.send(proxy_header(client, 4711, at.port())).await;
        raw.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await
    };
    through([203, 0, 113, 7]).await.expect(200);
    assert_eq!(web.only_request().header("x-forwarded-for"), Some("203.0.113.7"));
    through([203, 0, 113, 7]).await.expect(429);
    through([203, 0, 113, 8]).await.expect(200);
    let mut forger = Raw::connect(at).await;
    forger.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let heard = within("the end", forger.wire.rest()).await;
    assert!(heard.is_err() || heard.is_ok_and(|heard| heard.is_empty()), "nothing but a reset");
    assert_eq!(web.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_websocket_go_through() {
    let greeter = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        grpc::answer(&mut stream, &[&messages(&body)[0]]);
    })
    .await;
    let chat = TcpBackend::start(|_, mut wire| async move {
        let head = wire.head().await?.expect("a request");
        assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"));
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            .await?;
        let bytes = wire.exactly(4).await?;
        wire.send(bytes).await
    })
    .await;
    let routes = json!([
        { "match": { "path": { "prefix": "/pkg.Greeter" } }, "to": [{ "service": "greeter" }] },
        { "match": { "path": { "exact": "/chat" } }, "to": [{ "service": "chat" }] },
    ]);
    let mesh = Mesh::of([
        edge(routes, &[]),
        service("greeter").at(&greeter).with("appProtocol", json!("grpc")),
        service("chat").at(&chat),
    ]);
    let proxy = at_edge().mesh(mesh).start().await;
    let client = H2Client::connect(proxy.ingress[0]).await;
    let post = |path: &str| bowline_tests::h2_client::request("POST", "whoever", path, CALL);
    let answer = client.call(post("/pkg.Greeter/Hello"), &message(b"hello")).await;
    assert_eq!(messages(&answer.body), [b"hello"]);
    assert_eq!(answer.field("grpc-status"), Some("0"));
    let nowhere = client.call(post("/pkg.Other/Hello"), &message(b"hello")).await;
    assert_eq!((nowhere.status, nowhere.field("grpc-status")), (200, Some("12")));
    let mut raw = Raw::connect(proxy.ingress[0]).await;
    raw.send("GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let head = within("a head", raw.wire.head()).await.expect("a head").expect("a head");
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    raw.send("ping").await;
    assert_eq!(within("an echo", raw.wire.exactly(4)).await.expect("an echo"), b"ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_well_when_the_proxy_ends() {
    let gate = Gate::shut();
    let held = gate.clone();
    let web = Backend::start(move |_| Reply::ok("done").behind(&held)).await;
    let routes = json!([{ "match": {}, "to": [{ "service": "web" }] }]);
    let mesh = Mesh::of([edge(routes, &[]), service("web").at(&web)]);
    let mut proxy = at_edge().mesh(mesh).start().await;
    let at = proxy.ingress[0];
    let mut busy = Raw::connect(at).await;
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    web.has_received(1).await;
    proxy.signal(Signal::TERM);
    proxy.logged("draining").await;
    bowline_tests::eventually("no new connection is accepted", async || {
        Raw::try_connect(at).await.is_err().then_some(())
    })
    .await;
    gate.open();
    assert_eq!(busy.response().await.expect(200).text(), "done");
    busy.closed().await;
    assert!(proxy.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_namespace_calls_into_another() {
    let billing = Backend::start(|_| Reply::ok("billing of b")).await;
    let b = json!({ "namespace": "b.test", "services": [
        { "discoveryName": "edge", "endpoints": { "static": [] }, "ingress": { "expose": ["billing"] } },
        { "discoveryName": "billing", "clientAliases": [{ "dnsName": "billing.b.test", "port": 80 }],
          "endpoints": { "static": [{ "address": billing.addr().to_string() }] } },
    ] });
    let b = at_edge().arg("--no-vip-listeners").mesh_text(&b.to_string()).start().await;
    let a = json!({ "namespace": "a.test", "services": [
        { "discoveryName": "b-billing", "clientAliases": [{ "dnsName": "billing.b.test", "port": 80 }],
          "endpoints": { "static": [{ "address": b.ingress[0].to_string() }] } },
    ] });
    let a = crate::proxy().arg("--no-vip-listeners").mesh_text(&a.to_string()).start().await;
    let request = "GET http://billing.b.test/invoices HTTP/1.1\r\nHost: billing.b.test\r\n\r\n";
    let answer = Raw::connect(a.outbound).await.call(request).await;
    assert_eq!(answer.expect(200).text(), "billing of b");
    let seen = billing.only_request();
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/invoices", Some("billing.b.test")));
    let requests = [("service", "billing"), ("class", "2xx")];
    assert_eq!(b.metric("bowline_requests_total", &requests).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_the_entry_guards_what_it_exposes() {
    let billing = Backend::start(|_| Reply::ok("billing")).await;
    // printf %s open-sesame | sha256sum
    let hash = "d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7";
    let mesh = Mesh::of([
        edge(json!([]), &["billing"])
            .with("access", json!({ "apiKey": { "sha256": { "me": hash } } }))
            .with("rateLimit", json!([{ "requestsPerMinute": 1, "burst": 2 }])),
        service("billing").at(&billing).with("routes", json!([{ "public": true }])),
    ]);
    let proxy = at_edge().mesh(mesh).start().await;
    call(&proxy, "billing.mesh.test", "/", "").await.expect(401);
    call(&proxy, "billing.mesh.test", "/", "X-Api-Key: close-sesame\r\n").await.expect(401);
    for status in [200, 200, 429] {
        call(&proxy, "billing.mesh.test", "/", "X-Api-Key: open-sesame\r\n").await.expect(status);
    }
    assert_eq!(billing.count(), 2);
    assert!(billing.requests().iter().all(|request| request.header("x-api-key").is_none()));
}
