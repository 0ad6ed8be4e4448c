//! What routes change on the way, and what they answer themselves.

use bowline_tests::grpc::{CALL, message};
use bowline_tests::h2_client::request;
use bowline_tests::mesh::authority;
use bowline_tests::{Backend, H2Backend, H2Client, Mesh, Raw, Reply, service, url};
use serde_json::json;

use crate::routes::{named, routed};

#[tokio::test(flavor = "multi_thread")]
async fn the_path_is_rewritten_as_nginx_does_it() {
    let backend = Backend::start(|request| Reply::ok(&request.target)).await;
    let routes = json!([
        { "match": { "path": { "prefix": "/api/auth/" } }, "rewrite": { "prefix": "/api/v1/auth/" } },
        { "match": { "path": { "prefix": "/old" } }, "rewrite": { "prefix": "/" } },
        { "match": { "path": { "prefix": "/gone" } }, "rewrite": { "prefix": "" } },
        { "match": { "path": { "template": "/users/{id}/files/{*rest}" } }, "rewrite": { "path": "/files/{id}/{rest}" } },
        { "match": { "path": { "regex": "/r/.*" } }, "rewrite": { "path": "/fixed?a=1" } },
        { "match": { "path": { "exact": "/one" } }, "rewrite": { "prefix": "/two" } },
    ]);
    let proxy = crate::proxy().mesh(routed(&backend, routes)).start().await;
    for (path, sent) in [
        ("/api/auth/login?next=/a/b", "/api/v1/auth/login?next=/a/b"),
        ("/api/auth/", "/api/v1/auth/"),
        ("/api/auth", "/api/auth"),
        ("/old/a/b", "/a/b"),
        ("/old", "/"),
        ("/old?x=1", "/?x=1"),
        ("/older", "/older"),
        ("/gone/a", "/a"),
        ("/gone", "/"),
        ("/users/7/files/a/b.txt?v=2", "/files/7/a/b.txt?v=2"),
        ("/users/7/files/", "/users/7/files/"),
        ("/r/x?q=2", "/fixed?a=1"),
        ("/one", "/two"),
        // Bytes stay as they are: nothing is decoded, and nothing that was encoded becomes more than it was.
        ("/old//etc/../a", "//etc/../a"),
        ("/old/%0d%0aSet-Cookie:%20x", "/%0d%0aSet-Cookie:%20x"),
        ("/users/%2e%2e/files/%00", "/files/%2e%2e/%00"),
    ] {
        let answer = proxy.get("server", path).await;
        assert_eq!(answer.expect(200).text(), sent, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_and_overlong_requests_through_a_rewrite() {
    let backend = Backend::start(|request| Reply::ok(request.target.len().to_string())).await;
    let long = format!("/{}", "n".repeat(8000));
    let routes = json!([
        { "match": { "path": { "prefix": "/p" } }, "rewrite": { "prefix": long, "host": "in.test" },
          "headers": { "request": { "set": { "x-set": "1" } } } },
    ]);
    let mesh = routed(&backend, routes).with("appProtocol", json!("http"));
    let proxy = crate::proxy().mesh(mesh).start().await;
    let h2 = H2Client::connect(proxy.outbound).await;
    let path = format!("/p/{}", "x".repeat(50_000));
    proxy.get("server", &path).await.expect(200);
    assert_eq!(h2.call(request("GET", "server", &path, &[]), b"").await.status, 200);
    // 57,000 are taken as they come, and are too long once they are rewritten.
    let path = format!("/p/{}", "x".repeat(57_900));
    let refused = proxy.get("server", &path).await;
    assert_eq!(refused.expect(400).header("x-bowline-error"), Some("bad_request"));
    assert!(refused.text().contains("rewritten"), "{}", refused.text());
    // Line breaks end a request head, or make it a bad one; they never get into another header.
    for head in [
        "GET /p/a\rb HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "GET /p/a HTTP/1.1\r\nHost: HOST\r\nX: a\rSet: b\r\n\r\n",
    ] {
        let mut raw = Raw::connect(proxy.outbound).await;
        let before = backend.count();
        raw.send(head.replace("HOST", &authority("server"))).await;
        let answer = raw.response().await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!(backend.count(), before);
    }
    let mut raw = Raw::connect(proxy.outbound).await;
    let host = authority("server");
    let smuggled =
        format!("GET http://{host}/p HTTP/1.1\r\nHost: {host}\r\nX-Set: theirs\r\nX-SET: again\r\n\r\n");
    raw.call(smuggled).await.expect(200);
    let last = backend.requests().pop().expect("one");
    assert_eq!(last.head.all("x-set"), ["1"], "what is set takes the place of all of its name");
    assert_eq!(last.header("host"), Some("in.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_changed_both_ways_and_in_the_proxys_own_answers() {
    let backend = Backend::start(|_| {
        Reply::new(200, &[("Server", "me"), ("X-Powered-By", "y"), ("X-Kept", "1"), ("X-Kept", "2")], "well")
    })
    .await;
    let routes = json!([
        { "match": { "path": { "prefix": "/a" } }, "headers": {
            "request": { "remove": ["x-secret"], "set": { "X-Env": "route" }, "add": { "X-Via": "route" } },
            "response": { "add": { "X-Kept": "3" } } } },
        { "match": { "path": { "prefix": "/none" } }, "to": [{ "service": "none" }], "headers": {
            "response": { "set": { "Strict-Transport-Security": "max-age=1" } } } },
    ]);
    let mesh = Mesh::of([
        routed(&backend, routes).with("headers", json!({
            "request": { "set": { "x-env": "service" }, "add": { "X-Via": "service" } },
            "response": { "remove": ["server", "x-powered-by", "x-bowline-error"], "set": { "x-frame-options": "DENY" } },
        })),
        service("none"),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let answer = proxy.request("GET", "server", "/a", "X-Secret: 1\r\nX-Via: app\r\n", "").await;
    let seen = backend.only_request();
    assert_eq!(seen.head.all("x-env"), ["route"]);
    assert_eq!(seen.head.all("x-via"), ["app", "service", "route"]);
    assert_eq!(seen.header("x-secret"), None);
    for gone in ["server", "x-powered-by"] {
        assert_eq!(answer.expect(200).header(gone), None);
    }
    assert_eq!(answer.head.all("x-kept"), ["1", "2", "3"]);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    // Where no route fits, the service's own hold.
    let answer = proxy.request("GET", "server", "/b", "X-Secret: 1\r\n", "").await;
    let seen = backend.requests().pop().expect("one");
    assert_eq!((seen.header("x-env"), seen.header("x-secret")), (Some("service"), Some("1")));
    assert_eq!(answer.expect(200).header("server"), None);
    // And for what the proxy says itself.
    let answer = proxy.get("server", "/none").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), None);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=1"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    let h2 = H2Client::connect(proxy.outbound).await;
    let answer = h2.call(request("POST", "server", "/none", CALL), &message(b"x")).await;
    assert_eq!((answer.field("grpc-status"), answer.field("x-bowline-error")), (Some("14"), None));
    assert_eq!(answer.field("x-frame-options"), Some("DENY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_keeps_what_it_does_not_name() {
    let backend = named("own").await;
    let routes = json!([
        { "match": { "path": { "prefix": "/secure" } }, "redirect": { "status": 308, "scheme": "https", "port": 443 } },
        { "match": { "path": { "prefix": "/moved" } }, "redirect": { "host": "new.test" } },
        { "match": { "path": { "template": "/u/{id}" } }, "redirect": { "status": 301, "path": "/users/{id}" } },
        { "match": { "path": { "prefix": "/old" } }, "redirect": {}, "rewrite": { "prefix": "/new" } },
        { "match": { "path": { "exact": "/q" } }, "redirect": { "path": "/r?only=this" } },
    ]);
    let proxy = crate::proxy().mesh(routed(&backend, routes)).start().await;
    let host = authority("server");
    for (path, status, location) in [
        ("/secure/a?b=c&d", 308, "https://server.mesh.test/secure/a?b=c&d".to_owned()),
        ("/moved", 302, format!("http://new.test:{}/moved", bowline_tests::PORT)),
        ("/moved//evil.test/..", 302, format!("http://new.test:{}/moved//evil.test/..", bowline_tests::PORT)),
        ("/u/7?x=1", 301, format!("http://{host}/users/7?x=1")),
        ("/old/a?x=1", 302, format!("http://{host}/new/a?x=1")),
        ("/q?x=1", 302, format!("http://{host}/r?only=this")),
        ("/q?a=%0d%0aX:1", 302, format!("http://{host}/r?only=this")),
    ] {
        let answer = proxy.get("server", path).await;
        assert_eq!(answer.expect(status).header("location"), Some(&*location), "{path}");
        assert_eq!((answer.header("x-bowline-error"), answer.body.len()), (None, 0));
    }
    // Behind a load balancer that ends TLS, the caller's scheme is the one that it has told.
    let answer = proxy.request("GET", "server", "/moved", "X-Forwarded-Proto: https\r\n", "").await;
    assert_eq!(
        answer.expect(302).header("location"),
        Some(&*format!("https://new.test:{}/moved", bowline_tests::PORT))
    );
    let h2 = H2Client::connect(proxy.outbound).await;
    let answer = h2.call(request("GET", "server", "/u/7", &[]), b"").await;
    assert_eq!((answer.status, answer.field("location")), (301, Some(&*format!("http://{host}/users/7"))));
    assert_eq!(backend.count(), 0);
    // They are what the mesh file wants, and no failures.
    assert_eq!(proxy.metric("bowline_requests_total", &[("service", "server"), ("class", "3xx")]).await, 9.0);
    assert_eq!(proxy.metric("bowline_local_responses_total", &[("service", "server")]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_response_is_sent_over_every_protocol() {
    let backend = H2Backend::start(|mut stream| async move { stream.answer(200, &[], b"own") }).await;
    let routes = json!([
        { "match": { "path": { "prefix": "/robots.txt" } }, "respond": { "body": "User-agent: *\n" } },
        { "match": { "path": { "prefix": "/gone" } }, "respond": { "status": 410, "body": "{}", "headers": { "Content-Type": "application/json", "X-Why": "sold" } } },
        { "match": { "path": { "prefix": "/pkg.A" } }, "respond": { "status": 403, "body": "not ü" } },
        { "match": { "path": { "exact": "/empty" } }, "respond": { "status": 204 } },
    ]);
    let proxy = crate::proxy().mesh(service("server").at(&backend).with("routes", routes)).start().await;
    let answer = proxy.get("server", "/robots.txt").await;
    assert_eq!(answer.expect(200).text(), "User-agent: *\n");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let answer = proxy.get("server", "/gone").await;
    assert_eq!(answer.expect(410).text(), "{}");
    assert_eq!(
        (answer.header("content-type"), answer.header("x-why")),
        (Some("application/json"), Some("sold"))
    );
    proxy.get("server", "/empty").await.expect(204);
    // The connection goes on behind it, with a body that nobody wanted and after a HEAD.
    let (host, target) = (authority("server"), url("server", "/gone"));
    let mut raw = Raw::connect(proxy.outbound).await;
    raw.call(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc"))
        .await
        .expect(410);
    raw.send(format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    let head = raw.wire.response("HEAD").await.expect("a response");
    assert_eq!((head.status, head.header("content-length")), (410, Some("2")));
    raw.call(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect(410);
    let h2 = H2Client::connect(proxy.outbound).await;
    let answer = h2.call(request("GET", "server", "/gone", &[]), b"").await;
    assert_eq!((answer.status, &answer.body[..]), (410, &b"{}"[..]));
    // A gRPC caller gets the status that stands for it.
    let answer = h2.call(request("POST", "server", "/pkg.A/B", CALL), &message(b"x")).await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("7")));
    assert_eq!(answer.field("grpc-message"), Some("not %C3%BC"));
    assert_eq!(proxy.metric("bowline_route_requests_total", &[("route", "1"), ("class", "4xx")]).await, 5.0);
    assert_eq!(
        proxy.metric("bowline_route_requests_total", &[("route", "2"), ("class", "grpc_error")]).await,
        1.0
    );
}
