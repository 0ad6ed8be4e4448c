//! Metrics on their way out: scraped by a real Prometheus, pushed over OTLP, written for CloudWatch. `tests/run` installs
//! `prometheus`, and says by `BOWLINE_REQUIRE_INTEROP` that it must be there; without it, what needs it is left out, aloud.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bowline_proxy::telemetry::catalogue::{self, Kind};
use bowline_tests::dns::DnsServer;
use bowline_tests::h2_client::request;
use bowline_tests::metrics::Scrape;
use bowline_tests::proxy::Builder;
use bowline_tests::wait::within;
use bowline_tests::{Backend, H2Backend, H2Client, Mesh, Proxy, Reply, eventually, grpc, service};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// Where a program is, if it is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "{name} is missing");
        eprintln!("SKIPPED: {name} is missing; tests/run installs it");
    }
    found
}

/// A proxy that has something to say in nearly every metric.
async fn talkative() -> (Proxy, Backend, DnsServer) {
    let backend =
        Backend::start(|request| if request.index == 0 { Reply::status(503) } else { Reply::ok("") }).await;
    let mesh = Mesh::of([
        service("server").at(&backend).retry(json!({})).limits(9, 9, 9),
        service("gone").at(bowline_tests::sockets::refusing()).retry(json!({})),
        service("named").with("endpoints", json!({ "dns": { "name": "a.test", "port": 80 } })),
    ]);
    let dns = DnsServer::start().await;
    dns.addresses("a.test", ["127.0.0.1"], 60);
    // A collector that can't be reached has metrics of its own.
    let collector = format!("http://{}", bowline_tests::sockets::refusing());
    let proxy = crate::proxy().arg("--resolver").arg(dns.addr().to_string()).mesh(mesh);
    let proxy = proxy.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).start().await;
    proxy.get("server", "/").await.expect(200);
    proxy.get("gone", "/").await.expect(503);
    (proxy, backend, dns)
}

async fn promtool(args: &[&str], input: &[u8]) -> Option<Output> {
    let mut command = Command::new(program("promtool")?);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("promtool");
    let mut stdin = child.stdin.take().expect("its stdin");
    stdin.write_all(input).await.expect("it reads");
    drop(stdin);
    Some(within("promtool ends", child.wait_with_output()).await.expect("its output"))
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_to_complain_about() {
    let (proxy, _backend, _dns) = talkative().await;
    let mut page = proxy.admin("GET", "/metrics").await.expect(200).text();
    // Those that have no value here, such as the control plane's, get one: what has none is not looked at.
    for metric in catalogue::ALL {
        let begin = format!("\n{}", metric.name);
        if !page.contains(&format!("{begin} "))
            && !page.contains(&format!("{begin}{{"))
            && metric.kind != Kind::Histogram
        {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("{label}=\"x\"")).collect();
            let head = format!("# TYPE {} {}\n", metric.name, metric.kind.as_str());
            let sample = format!("{head}{}{{{}}} 1\n", metric.name, labels.join(","));
            page = page.replace(&head, &sample);
        }
    }
    let Some(said) = promtool(&["check", "metrics"], page.as_bytes()).await else { return };
    let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && words.is_empty(), "{words}");
    // It does complain where there is something.
    let Some(said) = promtool(&["check", "metrics"], b"# TYPE a counter\na 1\n").await else { return };
    assert!(!said.status.success());
}

/// What a scraper gets that asks as Prometheus does.
async fn open_metrics(proxy: &Proxy) -> (Option<String>, String) {
    let ask = "GET /metrics HTTP/1.1\r\nHost: proxy\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n";
    let mut raw = bowline_tests::client::Raw::connect(proxy.admin).await;
    let answer = raw.call(ask).await;
    (answer.header("content-type").map(str::to_owned), answer.expect(200).text())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_metrics_for_those_who_ask_for_it() {
    let (proxy, _backend, _dns) = talkative().await;
    let (kind, page) = open_metrics(&proxy).await;
    assert_eq!(kind.as_deref(), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    assert!(page.contains("# TYPE bowline_requests counter\n"), "{page}");
}

/// A Prometheus that scrapes one proxy; it is killed when this is dropped.
struct Prometheus {
    url: String,
    _child: Child,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    async fn of(proxy: &Proxy) -> Option<Self> {
        let program = program("prometheus")?;
        let dir = tempfile::tempdir().expect("a folder");
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: proxy\n  static_configs: [{{ targets: ['{}'] }}]\n",
            proxy.admin
        );
        std::fs::write(&config, text).expect("its configuration");
        let addr = bowline_tests::sockets::refusing();
        let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let child = Command::new(program)
            .arg(flag("config.file", &config))
            .arg(flag("storage.tsdb.path", &dir.path().join("data")))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus");
        Some(Prometheus { url: addr.to_string(), _child: child, _dir: dir })
    }

    /// The results of a question, as soon as there are any.
    async fn query(&self, kind: &str, question: &str) -> Vec<Value> {
        let query: String = question.bytes().map(|byte| format!("%{byte:02x}")).collect();
        // All that there is: only exemplars are asked for with a time.
        self.ask(&format!("{kind}?query={query}&start=0&end=9999999999")).await
    }

    async fn ask(&self, path: &str) -> Vec<Value> {
        let request = format!("GET /api/v1/{path} HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n");
        eventually(path, async || {
            let mut socket = tokio::net::TcpStream::connect(&self.url).await.ok()?;
            socket.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await.ok()?;
            let body = &answer[answer.find('{')?..=answer.rfind('}')?];
            let answer: Value = serde_json::from_str(body).ok()?;
            let results = match &answer["data"] {
                Value::Array(results) => results,
                data => data["result"].as_array()?,
            };
            (!results.is_empty()).then(|| results.clone())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_scrapes_the_proxy_and_answers() {
    let (proxy, _backend, _dns) = talkative().await;
    let Some(prometheus) = Prometheus::of(&proxy).await else { return };
    let up = prometheus.query("query", "up == 1").await;
    assert_eq!(up.len(), 1, "{up:?}");
    let requests =
        prometheus.query("query", "bowline_requests_total{service=\"server\",class=\"2xx\"}").await;
    assert_eq!(requests[0]["value"][1], "1", "{requests:?}");
    let bucket = "bowline_request_duration_seconds_bucket{service=\"server\",le=\"1.0\"} == 1";
    assert_eq!(prometheus.query("query", bucket).await.len(), 1);
    // Units are told in OpenMetrics alone.
    let told = prometheus.ask("targets/metadata?metric=bowline_request_duration_seconds").await;
    assert_eq!((&told[0]["type"], &told[0]["unit"]), (&json!("histogram"), &json!("seconds")), "{told:?}");
    let said = prometheus.query("query", "count({__name__=~\"bowline_.+\"})").await;
    assert!(said[0]["value"][1].as_str().is_some_and(|count| count.parse::<u32>().unwrap_or(0) > 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_graph_of_prometheus_one_comes_to_the_trace() {
    let collector = Backend::start(|_| Reply::ok("")).await;
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy()
        .mesh(service("server").at(&backend))
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{}/v1/traces", collector.addr()))
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
        .await;
    let Some(prometheus) = Prometheus::of(&proxy).await else { return };
    proxy.get("server", "/").await.expect(200);
    let question = "bowline_request_duration_seconds_bucket{service=\"server\"}";
    let found = prometheus.query("query_exemplars", question).await;
    let exemplar = &found[0]["exemplars"][0];
    let spans = eventually("its spans", async || {
        let request = collector.requests().pop()?;
        Some(ExportTraceServiceRequest::decode(request.body()).expect("a request of OTLP"))
    })
    .await;
    let span = &spans.resource_spans[0].scope_spans[0].spans[0];
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    assert_eq!(exemplar["labels"]["trace_id"], hex(&span.trace_id), "{found:?}");
    // The request itself, which is the parent of its attempt.
    let ids: Vec<String> =
        spans.resource_spans[0].scope_spans[0].spans.iter().map(|span| hex(&span.span_id)).collect();
    assert!(ids.iter().any(|id| exemplar["labels"]["span_id"] == *id), "{found:?} {ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_pushed_over_otlp_and_once_more_at_the_end() {
    let collector = Backend::start(|_| Reply::ok("")).await;
    let backend = Backend::start(|_| Reply::ok("")).await;
    let mut proxy = crate::proxy()
        .mesh(service("server").at(&backend))
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("http://{}/v1/metrics", collector.addr()))
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_SERVICE_NAME", "shop")
        .start()
        .await;
    proxy.get("server", "/").await.expect(200);
    let request = eventually("a push with the request in it", async || {
        collector.requests().into_iter().rev().find_map(|request| {
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/metrics"));
            let read = ExportMetricsServiceRequest::decode(request.body()).expect("a request of OTLP");
            (count(&read, "bowline.requests") == 1).then_some(read)
        })
    })
    .await;
    let resource = request.resource_metrics[0].resource.as_ref().expect("a resource");
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "service.name"));
    let known: std::collections::BTreeSet<&str> = catalogue::ALL.iter().map(|metric| metric.otlp).collect();
    for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
        assert!(known.contains(metric.name.as_str()), "{} stands in no table", metric.name);
        assert!(!metric.unit.is_empty() && !metric.description.is_empty(), "{}", metric.name);
    }
    // What has been pushed is in the next scrape.
    eventually("it is counted", async || {
        (proxy.metrics().await.sum("bowline_otlp_points_exported_total", &[]) > 0.0).then_some(())
    })
    .await;

    // The last push is made after the last request.
    proxy.get("server", "/").await.expect(200);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    let last = collector.requests().pop().expect("a last push");
    let last = ExportMetricsServiceRequest::decode(last.body()).expect("a request of OTLP");
    assert_eq!(count(&last, "bowline.requests"), 2);
}

/// The sum of a counter's points.
fn count(request: &ExportMetricsServiceRequest, name: &str) -> i64 {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let mut total = 0;
    for metric in scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == name) {
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{name} is {:?}", metric.data) };
        for point in &sum.data_points {
            let Some(Number::AsInt(value)) = point.value else { panic!("{name} is no whole number") };
            total += value;
        }
    }
    total
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudwatch_gets_its_lines_on_stdout() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let proxy = crate::proxy()
        .mesh(service("server").at(&backend))
        .arg("--cloudwatch-metrics")
        .arg("1")
        .arg("--access-log")
        .arg("json")
        .start()
        .await;
    for _ in 0..3 {
        proxy.get("server", "/").await.expect(200);
    }
    let mut seen = 0;
    eventually("three requests are told", async || {
        // The access log and these lines share stdout, line by line.
        let written = proxy.out_lines();
        let lines: Vec<Value> =
            written.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        seen = lines
            .iter()
            .filter(|line| line["TargetDiscoveryName"] == "server")
            .map(|line| {
                assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Bowline/ServiceConnect");
                line["RequestCount"].as_u64().expect("a number")
            })
            .sum();
        (seen >= 3).then_some(())
    })
    .await;
    assert_eq!(seen, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_amazons_own_is_refused() {
    let args = ["--cloudwatch-metrics", "60", "--cloudwatch-namespace", "AWS/ECS"];
    let ended = args.into_iter().fold(crate::proxy(), Builder::arg).run_to_end().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("Amazon's own"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_are_told_from_other_requests() {
    let greeter = H2Backend::start(|mut stream| async move {
        let mut body = stream.head(grpc::head());
        let _ = body.send_trailers(grpc::status(0));
    })
    .await;
    let backend = Backend::start(|_| Reply::ok("")).await;
    let mesh = [service("server").at(&backend), service("greeter").at(&greeter)];
    let proxy = crate::proxy().mesh(Mesh::of(mesh)).start().await;
    let client = H2Client::connect(proxy.outbound).await;
    let greet = request("POST", "greeter", "/greeter.Greeter/Greet", grpc::CALL);
    client.call(greet, &grpc::message(b"ann")).await;
    proxy.get("server", "/").await.expect(200);
    let scrape = proxy.metrics().await;
    for (name, calls) in [("greeter", 1.0), ("server", 0.0)] {
        let service = [("service", name)];
        assert_eq!(scrape.sum("bowline_grpc_requests_total", &service), calls);
        assert_eq!(scrape.sum("bowline_requests_total", &service), 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_autoscaler_needs_is_there_by_name() {
    let gate = bowline_tests::wait::Gate::shut();
    let held = gate.clone();
    let app = Backend::start(move |_| Reply::ok("").behind(&held)).await;
    let proxy = crate::proxy().arg("--inbound").arg(format!("127.0.0.1:0={}", app.addr())).start().await;
    let name = format!("inbound:{}", app.addr().port());
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut raw = bowline_tests::client::Raw::connect(proxy.inbound[0]).await;
        raw.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        callers.push(raw);
    }
    let of = |scrape: &Scrape, metric: &str| scrape.sum(metric, &[("service", &name)]);
    eventually("three are under way", async || {
        (of(&proxy.metrics().await, "bowline_requests_in_flight") == 3.0).then_some(())
    })
    .await;
    gate.open();
    for raw in &mut callers {
        raw.response().await.expect(200);
    }
    eventually("all have ended", async || {
        let scrape = proxy.metrics().await;
        (of(&scrape, "bowline_requests_in_flight") == 0.0).then(|| of(&scrape, "bowline_requests_total"))
    })
    .await;
    assert_eq!(of(&proxy.metrics().await, "bowline_requests_total"), 3.0);
}
