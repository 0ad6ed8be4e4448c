//! What becomes of headers on their way, in both directions.

use bowline_tests::{Backend, Raw, Reply, authority, service, url};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn names_keep_their_case_and_values_their_bytes() {
    let value = "\t a  b\u{a0}\u{ff}\"\\;,=é \t";
    // The bytes of a Latin-1 text: all above 0x7f are obs-text, which is allowed and must survive.
    let sent: Vec<u8> = latin1_bytes(&format!(
        "GET {} HTTP/1.1\r\nHoSt: {}\r\nX-CamelCase: one\r\nx_under: two\r\nX-Bytes:{value}\r\nX-Empty:\r\n\r\n",
        url("server", "/"),
        authority("server"),
    ));
    let answer: Vec<u8> = latin1_bytes(&format!("HTTP/1.1 200 OK\r\nX-sErVeD-bY: me\r\nX-Bytes:{value}\r\nX-Empty:\r\ncontent-LENGTH: 0\r\n\r\n"));
    let backend = Backend::start(move |_| Reply::raw(answer.clone())).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let answer = Raw::connect(proxy.outbound).await.call(sent).await;
    let request = backend.only_request();
    let trimmed = value.trim_matches([' ', '\t']);
    for (head, names) in [
        (&request.head, &["HoSt", "X-CamelCase", "x_under", "X-Bytes", "X-Empty"][..]),
        (&answer.expect(200).head, &["X-sErVeD-bY", "X-Bytes", "X-Empty", "content-LENGTH"][..]),
    ] {
        for name in names {
            assert!(head.names().contains(name), "{name} in {:?}", head.names());
        }
        assert_eq!(head.header("x-bytes"), Some(trimmed));
        assert_eq!(head.header("x-empty"), Some(""));
    }
}

fn latin1_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_one_name_stay_in_order() {
    let backend = Backend::start(|_| {
        Reply::new(200, &[("Set-Cookie", "a=1"), ("X", "1"), ("Set-Cookie", "b=2, c"), ("x", "2"), ("Set-Cookie", "a=3")], "")
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let lines = "Accept: z\r\nVia: 1\r\nACCEPT: a, b\r\nvia: 2\r\naccept: z\r\nCookie: b=1\r\nCookie: a=2\r\n";
    let answer = proxy.request("GET", "server", "/", lines, "").await;
    let request = backend.only_request();
    assert_eq!(request.head.all("accept"), ["z", "a, b", "z"]);
    assert_eq!(request.head.all("via"), ["1", "2"]);
    assert_eq!(request.head.all("cookie"), ["b=1", "a=2"]);
    let names: Vec<_> = request.head.names().into_iter().filter(|name| name.eq_ignore_ascii_case("accept")).collect();
    assert_eq!(names, ["Accept", "ACCEPT", "accept"]);
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2, c", "a=3"]);
    assert_eq!(answer.head.all("x"), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_added_but_the_request_id() {
    let backend = Backend::start(|_| Reply::new(200, &[("Date", "then"), ("Server", "me")], "x")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let answer = proxy.get("server", "/").await;
    let mut names = backend.only_request().head.names().iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["host", "x-request-id"]);
    let mut names = answer.head.names();
    names.sort_unstable();
    assert_eq!(names, ["Content-Length", "Date", "Server"]);
    assert_eq!(answer.header("date"), Some("then"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_set_where_there_is_none() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    for _ in 0..20 {
        proxy.get("server", "/").await.expect(200);
    }
    proxy.request("GET", "server", "/", "X-Request-ID: mine/4\r\n", "").await.expect(200);
    let mut ids: Vec<_> = backend.requests().iter().map(|request| request.header("x-request-id").unwrap_or_default().to_owned()).collect();
    assert_eq!(ids.pop().as_deref(), Some("mine/4"));
    for id in &ids {
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert!(id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()) && id.as_bytes()[14] == b'4', "{id}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "each has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_attempts_of_a_request_have_the_same_id() {
    let [a, b] = Backend::several(|_, _| Reply::status(503)).await;
    let server = service("server").at_all([&a, &b]).no_ejections().retry(json!({ "retries": 1 }));
    let proxy = crate::proxy().mesh(server).start().await;
    proxy.get("server", "/").await.expect(503);
    assert_eq!(a.only_request().header("x-request-id"), b.only_request().header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_one_connection_only_is_taken_out() {
    let headers = &[("Connection", "x-hop, keep-alive"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("X-Stays", "1")];
    let backend = Backend::start(|_| Reply::new(200, headers, "x")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let lines = "Connection: X-Hop , keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
                 TE: gzip\r\nUpgrade: h2c\r\nX-Stays: 1\r\n";
    let answer = proxy.request("GET", "server", "/", lines, "").await;
    let request = backend.only_request();
    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade", "connection"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    for name in ["x-hop", "keep-alive", "connection"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!((request.header("x-stays"), answer.header("x-stays")), (Some("1"), Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_cannot_take_out_what_frames_or_addresses_the_message() {
    let backend = Backend::start(|_| Reply::ok("x")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    proxy.request("POST", "server", "/", "Connection: content-length, host, close\r\n", "five!").await.expect(200);
    let request = backend.only_request();
    assert_eq!(request.header("host"), Some(authority("server").as_str()));
    assert_eq!(request.body(), b"five!");
}

#[tokio::test(flavor = "multi_thread")]
async fn te_trailers_stays() {
    let backend = Backend::start(|_| Reply::ok("x")).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    proxy.request("GET", "server", "/", "TE: trailers\r\n", "").await.expect(200);
    assert_eq!(backend.only_request().header("te"), Some("trailers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn close_is_between_neighbours() {
    let backend = Backend::start(|request| match request.index {
        0 => Reply::ok("x"),
        _ => Reply::new(200, &[("Connection", "close")], "x").then_close(),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    // The app's wish closes its connection and leaves the one to the endpoint open.
    let mut raw = Raw::connect(proxy.outbound).await;
    let answer = raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", url("server", "/"))).await;
    assert_eq!(answer.expect(200).header("connection"), Some("close"));
    raw.closed().await;
    // The endpoint's wish leaves the app's open.
    let mut raw = Raw::connect(proxy.outbound).await;
    for _ in 0..3 {
        let answer = raw.call(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", url("server", "/"))).await;
        assert_eq!(answer.expect(200).header("connection"), None);
    }
    assert_eq!((backend.count(), backend.accepts()), (4, 3));
}
