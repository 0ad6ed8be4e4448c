//! Requests looked at one by one: the lines of the access log, and those of a tap.

use bowline_proxy::observe::fields;
use bowline_tests::client::Raw;
use bowline_tests::h2_client::request;
use bowline_tests::sockets::refusing;
use bowline_tests::{Backend, H2Backend, Proxy, Reply, eventually, grpc, service, url};
use serde_json::{Value, json};

async fn line(proxy: &Proxy, with: impl Fn(&Value) -> bool) -> Value {
    let line = eventually("a line", async || proxy.out().into_iter().find(|line| with(line))).await;
    let known: Vec<&str> = fields::ALL.iter().map(|field| field.name).collect();
    for key in line.as_object().expect("an object").keys() {
        assert!(known.contains(&key.as_str()), "{key} stands in no table");
    }
    line
}

fn path(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["path"] == wanted
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_line_that_says_what_became_of_it() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/bad" => Reply::status(500),
        "/broken" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").then_close(),
        _ => Reply::ok("four"),
    })
    .await;
    let endpoint = json!({ "address": backend.addr().to_string(), "zone": "a" });
    let mesh = [
        service("server").with("endpoints", json!({ "static": [endpoint] })).no_ejections(),
        service("nobody").at(refusing()).retry(json!({ "retries": 1 })),
    ];
    let proxy =
        crate::proxy().mesh(bowline_tests::Mesh::of(mesh)).arg("--access-log").arg("json").start().await;

    let headers = "User-Agent: te\"st\r\nX-Request-Id: r-1\r\nX-Forwarded-For: 10.1.2.3\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    proxy.request("POST", "server", "/good?secret=1", headers, "body!").await.expect(200);
    let good = line(&proxy, path("/good")).await;
    let is = |line: &Value, key: &str, value: Value| assert_eq!(line[key], value, "{key} of {line}");
    for (key, value) in [
        ("direction", json!("outbound")),
        ("service", json!("server")),
        ("method", json!("POST")),
        ("authority", json!(bowline_tests::authority("server"))),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
        ("bytes_received", json!(5)),
        ("bytes_sent", json!(4)),
        ("endpoint", json!(backend.addr().to_string())),
        ("zone", json!("a")),
        ("attempts", json!(1)),
        ("ended", json!("complete")),
        ("user_agent", json!("te\"st")),
        ("request_id", json!("r-1")),
        ("x_forwarded_for", json!("10.1.2.3")),
        ("reason", Value::Null),
        ("trace_id", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("span_id", Value::Null),
    ] {
        is(&good, key, value);
    }
    let (upstream, duration) = (good["upstream_ms"].as_f64().unwrap(), good["duration_ms"].as_f64().unwrap());
    assert!(0.0 < upstream && upstream <= duration, "{good}");
    assert!(good["time"].as_str().unwrap().ends_with('Z'), "{good}");

    proxy.get("server", "/bad").await.expect(500);
    is(&line(&proxy, path("/bad")).await, "status", json!(500));

    proxy.get("nobody", "/away").await.expect(503);
    let away = line(&proxy, path("/away")).await;
    is(&away, "reason", json!("connect_failure"));
    is(&away, "attempts", json!(2));
    is(&away, "retried_for", json!(["connect_failure"]));

    let mut broken = Raw::connect(proxy.outbound).await;
    let (target, host) = (url("server", "/broken"), bowline_tests::authority("server"));
    broken.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert!(broken.try_response("GET").await.is_err(), "it breaks off");
    let broken = line(&proxy, path("/broken")).await;
    is(&broken, "ended", json!("broken"));
    is(&broken, "reason", json!("reset"));
    is(&broken, "bytes_sent", json!(3));

    proxy.get("unknown", "/x").await.expect(502);
    let unknown = line(&proxy, path("/x")).await;
    is(&unknown, "reason", json!("unknown_service"));
    is(&unknown, "service", Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_is_told_apart_and_a_grpc_status_is_read_from_the_trailers() {
    let hanging = Backend::start(|_| Reply::hang()).await;
    let greeter = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        let _ = body.send_trailers(grpc::status(9));
    })
    .await;
    let mesh =
        [service("server").at(&hanging), service("greeter").at(&greeter).with("appProtocol", json!("grpc"))];
    let proxy =
        crate::proxy().mesh(bowline_tests::Mesh::of(mesh)).arg("--access-log").arg("json").start().await;
    let mut raw = Raw::connect(proxy.outbound).await;
    let (target, host) = (url("server", "/left"), bowline_tests::authority("server"));
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    hanging.has_received(1).await;
    drop(raw);
    let left = line(&proxy, path("/left")).await;
    assert_eq!((&left["ended"], &left["status"]), (&json!("cancelled"), &Value::Null), "{left}");

    let client = bowline_tests::H2Client::connect(proxy.outbound).await;
    let greet = request("POST", "greeter", "/greeter.Greeter/Greet", grpc::CALL);
    client.call(greet, &grpc::message(b"ann")).await;
    let call = line(&proxy, |line| line["service"] == "greeter").await;
    assert_eq!(call["grpc_status"], "FAILED_PRECONDITION", "{call}");
    assert_eq!((&call["protocol"], &call["status"]), (&json!("HTTP/2"), &json!(200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_request_is_inbound() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let addr = app.addr();
    let inbound = format!("127.0.0.1:0={addr}");
    let proxy = crate::proxy().arg("--inbound").arg(inbound).arg("--access-log").arg("json").start().await;
    let mut raw = Raw::connect(proxy.inbound[0]).await;
    raw.call("GET /in?q=1 HTTP/1.1\r\nHost: whoever\r\n\r\n").await.expect(200);
    let seen = line(&proxy, path("/in")).await;
    assert_eq!((&seen["direction"], &seen["client"]), (&json!("inbound"), &json!("127.0.0.1")));
    assert_eq!(seen["service"], format!("inbound:{}", addr.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_lines_are_as_service_connects_and_have_the_query_when_asked() {
    let backend = Backend::start(|_| Reply::ok("four")).await;
    let args = ["--access-log", "text", "--access-log-query"];
    let proxy = crate::proxy().mesh(service("server").at(&backend));
    let proxy = args.into_iter().fold(proxy, bowline_tests::proxy::Builder::arg).start().await;
    proxy.request("GET", "server", "/a?b=c", "User-Agent: te\"st\r\n", "").await.expect(200);
    let line = eventually("a line", async || proxy.out_lines().into_iter().next()).await;
    let rest = line.split_once("] ").expect("a time").1;
    let wanted = "\"GET /a?b=c HTTP/1.1\" 200 0 4 ";
    assert!(rest.starts_with(wanted), "{line}");
    let host = bowline_tests::authority("server");
    let wanted = format!(
        " \"-\" \"te\\\"st\" \"-\" \"{host}\" \"{}\" direction=outbound service=server attempts=1 ended=complete",
        backend.addr()
    );
    assert!(rest.ends_with(&wanted), "{line}\n{wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_leaves_out_what_went_well_and_no_failure() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/bad" => Reply::status(500),
        _ => Reply::ok("well"),
    })
    .await;
    let args = ["--access-log", "json", "--access-log-percent", "0"];
    let proxy = crate::proxy().mesh(service("server").at(&backend).no_ejections());
    let proxy = args.into_iter().fold(proxy, bowline_tests::proxy::Builder::arg).start().await;
    for path in ["/well", "/bad", "/well", "/bad"] {
        proxy.get("server", path).await;
    }
    eventually("two lines", async || (proxy.out().len() == 2).then_some(())).await;
    assert!(proxy.out().iter().all(|line| line["path"] == "/bad"), "{:?}", proxy.out());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_shows_what_its_filter_lets_through_and_costs_nothing_when_it_is_over() {
    let backend = Backend::start(|request| match request.target.as_str() {
        "/bad" => Reply::status(503),
        _ => Reply::ok("well"),
    })
    .await;
    let mesh = service("server").at(&backend).no_ejections().retry(json!({ "retries": 0 }));
    let proxy = crate::proxy().mesh(mesh).start().await;
    for (query, expected) in [
        ("status=5xx&limit=1", "/bad"),
        ("failed=true&limit=1", "/bad"),
        ("header=x-user:ann&limit=1", "/ann"),
        ("path=/we&method=GET&service=server&limit=1", "/well"),
        ("slower-than-ms=0&status=200-299&limit=1", "/well"),
    ] {
        let mut tap = Raw::connect(proxy.admin).await;
        tap.send(format!("GET /tap?{query} HTTP/1.1\r\nHost: admin\r\n\r\n")).await;
        // Its head comes when the tap is open.
        let head = bowline_tests::wait::within("a head", tap.wire.head()).await.unwrap().unwrap();
        assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
        proxy.get("server", "/well").await;
        proxy.get("server", "/bad").await;
        proxy.request("GET", "server", "/ann", "X-User: ann-marie\r\n", "").await;
        let lines = bowline_tests::wait::within("a line", tap.wire.request_body(&head)).await.unwrap();
        let text = String::from_utf8(lines.body).unwrap();
        let line: Value = serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(line["path"], expected, "{query}");
    }
    let wrong = proxy.admin("GET", "/tap?statu=5xx").await;
    assert!(wrong.expect(400).text().contains("did you mean status?"), "{}", wrong.text());
    assert!(proxy.admin("GET", "/tap?help=true").await.expect(200).text().contains("slower-than-ms"));
}
