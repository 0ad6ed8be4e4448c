//! HTTP/1.1 on one side and HTTP/2 on the other, in both directions.

use bowline_tests::h2_backend::read;
use bowline_tests::h2_client::request;
use bowline_tests::wait::within;
use bowline_tests::{Backend, Gate, H2Backend, H2Client, Raw, Reply, authority, service, url};
use http::HeaderMap;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_http1_app_calls_an_http2_service() {
    let backend = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        let seen =
            format!("{} {} {:?}", stream.head.method, stream.head.uri, stream.head.headers.get("host"));
        stream.answer(200, &[("x-seen", &seen), ("x-multi", "1"), ("x-multi", "2")], &body);
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).http2()).start().await;
    for size in [0, 1, 5_000_000] {
        let body = "b".repeat(size);
        let answer = proxy
            .request("POST", "server", "/a?b=c", "X-Case: y\r\nCookie: a=1\r\nCookie: b=2\r\n", &body)
            .await;
        assert_eq!(
            answer.expect(200).header("x-seen"),
            Some(format!("POST {} None", url("server", "/a?b=c")).as_str())
        );
        assert!(answer.body == body.as_bytes(), "{size} bytes came changed");
        assert_eq!(answer.head.all("x-multi"), ["1", "2"]);
    }
    let head = backend.heads().pop().expect("a request");
    assert_eq!(head.headers["x-case"], "y");
    assert!(head.headers.get("connection").is_none());
    assert_eq!(backend.accepts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http1_app_gets_heads_and_empty_answers_of_an_http2_service() {
    let backend = H2Backend::start(|mut stream| async move {
        match stream.head.uri.path() {
            "/204" => stream.answer(204, &[], b""),
            "/304" => stream.answer(304, &[("etag", "e")], b""),
            _ => stream.answer(200, &[("content-length", "1000")], b""),
        }
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).http2()).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..2 {
        for (method, path, status) in [("HEAD", "/", 200), ("GET", "/204", 204), ("GET", "/304", 304)] {
            let answer =
                raw.call(format!("{method} {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", path))).await;
            answer.expect(status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_cross_from_http2_to_http1_and_back() {
    let backend = H2Backend::start(|mut stream| async move {
        let (_, trailers) = stream.read().await;
        let mut body =
            stream.head(http::Response::builder().header("trailer", "x-sum").body(()).expect("a head"));
        let _ = body.send_data("hi".into(), false);
        let _ = body.send_trailers(trailers.unwrap_or_default());
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).http2()).start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let target = url("server", "/");
    let answer = raw
        .call(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n0\r\nx-sum: 5\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.expect(200).trailers, [("x-sum".to_owned(), "5".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_app_calls_an_http1_service() {
    let backend = Backend::start(|request| {
        Reply::new(
            200,
            &[("Connection", "keep-alive"), ("Keep-Alive", "timeout=5"), ("X-Case", "y")],
            request.body(),
        )
    })
    .await;
    let proxy =
        crate::proxy().mesh(service("server").at(&backend).with("appProtocol", json!("http"))).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    for size in [0, 1, 60_000] {
        let body = vec![b'b'; size];
        let answer =
            client.call(request("POST", "server", "/a?b", &[("te", "trailers"), ("x-a", "1")]), &body).await;
        assert_eq!((answer.status, answer.field("x-case")), (200, Some("y")));
        assert!(answer.body == body, "{size} bytes came changed");
        assert!(answer.field("connection").is_none() && answer.field("keep-alive").is_none());
    }
    let received = backend.requests().pop().expect("a request");
    assert_eq!(received.head.start, "POST /a?b HTTP/1.1");
    assert_eq!(received.head.all("host"), [authority("server")]);
    assert_eq!((received.header("te"), received.header("x-a")), (None, Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_http2_become_one_line() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy =
        crate::proxy().mesh(service("server").at(&backend).with("appProtocol", json!("http"))).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    client
        .call(request("GET", "server", "/", &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]), b"")
        .await;
    assert_eq!(backend.only_request().head.all("cookie"), ["a=1; b=2; c=3"]);
}

/// Case 9: a GET without a body gets none on its way to HTTP/1.1.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_over_http2_has_no_body_over_http1() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy =
        crate::proxy().mesh(service("server").at(&backend).with("appProtocol", json!("http"))).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    client.call(request("GET", "server", "/", &[]), b"").await;
    let received = backend.only_request();
    assert_eq!((received.header("transfer-encoding"), received.header("content-length")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_trailers_cross_from_http2_to_http1() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy =
        crate::proxy().mesh(service("server").at(&backend).with("appProtocol", json!("http"))).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "5".parse().expect("a value"));
    let call = request("POST", "server", "/", &[("trailer", "x-sum")]);
    assert_eq!(client.try_call(call, b"five!", Some(trailers)).await.expect("an answer").status, 200);
    let received = backend.only_request();
    assert_eq!(received.body(), b"five!");
    assert_eq!(received.payload.trailers, [("x-sum".to_owned(), "5".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_http2_streams_spread_over_http1_connections() {
    let backend =
        Backend::start(|request| Reply::ok(&request.target).after(std::time::Duration::from_millis(20)))
            .await;
    let proxy =
        crate::proxy().mesh(service("server").at(&backend).with("appProtocol", json!("http"))).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let calls = (0..50).map(|n| {
        let path = format!("/{n}");
        let client = &client;
        async move {
            let answer = client.call(request("GET", "server", &path, &[]), b"").await;
            assert_eq!(answer.body, path.as_bytes());
        }
    });
    let mut all: Vec<_> = calls.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|call| call.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(backend.count(), 50);
}

/// Case 53.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "bug: hyper's server can't send interim responses over HTTP/1.1"]
async fn early_hints_reach_the_app() {
    let backend = Backend::start(|_| {
        Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n").then(Reply::ok("x"))
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let answer = proxy.get("server", "/").await;
    assert_eq!(answer.expect(200).text(), "x", "the hint does not get in the way");
    assert_eq!(answer.interim, [103]);
}

/// Case 53, to clients over HTTP/2: as it comes, not with the response.
#[tokio::test(flavor = "multi_thread")]
async fn early_hints_reach_an_http2_app_before_the_response() {
    let gate = Gate::shut();
    let (behind, waiting) = (gate.clone(), gate.clone());
    let h1 = Backend::start(move |_| {
        Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nConnection: x-hop\r\nX-Hop: y\r\n\r\n")
            .then(Reply::ok("x").behind(&behind))
    })
    .await;
    let h2 = H2Backend::start(move |mut stream| {
        let waiting = waiting.clone();
        async move {
            stream.interim(103, &[("link", "</style.css>")]);
            waiting.passed().await;
            stream.answer(200, &[], b"x");
        }
    })
    .await;
    let mesh = bowline_tests::Mesh::of([
        service("h1").at(&h1).with("appProtocol", json!("http")),
        service("h2").at(&h2).http2(),
    ]);
    let proxy = crate::proxy().mesh(mesh).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    for name in ["h1", "h2"] {
        let (mut response, _) = client.open(request("GET", name, "/", &[]), true).await.expect("a stream");
        let hint = H2Client::interim(&mut response).await.expect("a hint");
        assert_eq!((hint.status().as_u16(), hint.headers()["link"].as_bytes()), (103, &b"</style.css>"[..]));
        assert!(hint.headers().get("x-hop").is_none() && hint.headers().get("connection").is_none());
        gate.open();
        assert!(H2Client::interim(&mut response).await.is_none());
        let mut body = H2Client::head(response).await.into_body();
        let (body, _) = within("the body", read(&mut body)).await.expect("the body");
        assert_eq!(body, "x");
    }
}

/// Nothing holds interim responses back, so there may be only so many of them.
#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_without_end_are_cut_short_and_the_response_comes() {
    let backend = H2Backend::start(|mut stream| async move {
        for _ in 0..200 {
            stream.interim(103, &[("link", "</style.css>")]);
        }
        stream.answer(200, &[], b"x");
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).http2()).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let (mut response, _) = client.open(request("GET", "server", "/", &[]), true).await.expect("a stream");
    let mut hints = 0;
    while H2Client::interim(&mut response).await.is_some() {
        hints += 1;
    }
    assert!((1..=16).contains(&hints), "{hints}");
    assert_eq!(H2Client::head(response).await.status(), 200);
}
