mod collector;

use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry_proto::tonic::trace::v1::Span as Read;

use self::collector::{Collector, Received, Reply};
use super::{Dropped, ExportCounts, MetricsExporter, StartError, TraceExporter, Traces};
use crate::env::{Protocol, Settings};
use crate::metric::{MetricBuffer, MetricInfo, MetricKind};
use crate::resource::Resource;
use crate::span::Span;

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];
/// Ten times what anything here takes.
const SOON: Duration = Duration::from_secs(20);

fn settings(protocol: Protocol, address: std::net::SocketAddr, more: &[(&str, &str)]) -> Settings {
    let endpoint = format!("http://{address}");
    let word = if protocol == Protocol::Grpc { "grpc" } else { "http/protobuf" };
    let settings = Settings::from_env(&|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" if !more.iter().any(|(known, _)| *known == name) => {
            Some(endpoint.clone())
        }
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(word.to_owned()),
        "OTEL_SERVICE_NAME" => Some("shop".to_owned()),
        _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    });
    assert_eq!(settings.problems, [""; 0]);
    settings
}

fn start(protocol: Protocol, address: std::net::SocketAddr, more: &[(&str, &str)]) -> Traces {
    let settings = settings(protocol, address, more);
    let resource = Resource::new(&settings, [], "1");
    TraceExporter::start(&settings.traces.unwrap(), &resource, ("bowline-proxy", "1")).unwrap()
}

fn push(traces: &Traces, number: u64) {
    let span = Span {
        trace_id: TraceId::from(u128::from(number) << 64 | 1),
        span_id: SpanId::from(number),
        parent: None,
        parent_is_remote: false,
        state: None,
        sampled: true,
        kind: SpanKind::Client,
        name: "GET",
        start_unix_nanos: number,
        end_unix_nanos: number + 1,
        error: None,
    };
    traces.push(&span, |at| at.int("number", number as i64));
}

fn spans(received: &Received) -> Vec<&Read> {
    let groups = received.traces.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    groups.flat_map(|scope| &scope.spans).collect()
}

fn numbers(received: &Received) -> Vec<u64> {
    spans(received).iter().map(|span| span.start_time_unix_nano).collect()
}

/// Waits until nothing is kept any more: everything has been taken or given up.
async fn settled(counts: &ExportCounts) {
    let until = Instant::now() + SOON;
    while counts.queued() > 0 {
        assert!(Instant::now() < until, "{counts:?}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn dropped(counts: &ExportCounts) -> [u64; Dropped::COUNT] {
    Dropped::ALL.map(|why| counts.dropped(why))
}

/// A batch of two, and a delay that no test waits for.
const TWO: &[(&str, &str)] =
    &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];

#[tokio::test]
async fn a_full_batch_goes_at_once_and_the_rest_after_the_delay() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, []);
        let more = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"), ("OTEL_BSP_SCHEDULE_DELAY", "300")];
        let begun = Instant::now();
        let traces = start(protocol, collector.address, &more);
        for number in 1..=3 {
            push(&traces, number);
        }
        let first = collector.next().await;
        assert_eq!(numbers(&first), [1, 2]);
        assert_eq!(numbers(&collector.next().await), [3]);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        settled(traces.counts()).await;
        assert_eq!((traces.counts().exported(), traces.counts().requests()), (3, 2));
        assert_eq!((traces.counts().failures(), dropped(traces.counts())), (0, [0; 4]));

        let [around] = &first.traces.resource_spans[..] else { panic!("{first:?}") };
        let attributes = &around.resource.as_ref().unwrap().attributes;
        assert!(attributes.iter().any(|attribute| {
            attribute.key == "service.name" && format!("{:?}", attribute.value).contains("\"shop\"")
        }));
        let [scope] = &around.scope_spans[..] else { panic!("{around:?}") };
        assert_eq!(scope.scope.as_ref().unwrap().name, "bowline-proxy");
        assert_eq!(scope.spans[0].attributes[0].key, "number");
        if protocol == Protocol::HttpProtobuf {
            assert_eq!((first.path.as_str(), collector.connections()), ("/v1/traces", 1));
            assert_eq!(first.headers["content-type"], "application/x-protobuf");
            assert_eq!(first.headers["host"], collector.address.to_string().as_str());
        }
    }
}

#[tokio::test]
async fn headers_and_gzip() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, []);
        let more = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc,x-team=a"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        let traces = start(protocol, collector.address, &[TWO, &more].concat());
        push(&traces, 1);
        push(&traces, 2);
        let received = collector.next().await;
        assert_eq!(numbers(&received), [1, 2]);
        assert_eq!(received.headers["authorization"], "Basic abc");
        assert_eq!(received.headers["x-team"], "a");
        let encoding = if protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
        assert_eq!(received.headers[encoding], "gzip");
        settled(traces.counts()).await;
        assert_eq!(traces.counts().exported(), 2);
    }
}

#[tokio::test]
async fn what_is_rejected_or_refused_is_counted_and_not_tried_again() {
    let (partial, grpc, http) = (Reply::Partial(1, "too old"), Protocol::Grpc, Protocol::HttpProtobuf);
    let code = |code| Reply::Status(code, None);
    for (protocol, reply, refused) in [
        (grpc, partial.clone(), 1),
        (http, partial, 1),
        (grpc, code(tonic::Code::InvalidArgument), 2),
        (grpc, code(tonic::Code::Unauthenticated), 2),
        (grpc, code(tonic::Code::ResourceExhausted), 2),
        (http, Reply::Http(400, &[]), 2),
        (http, Reply::Http(401, &[]), 2),
        (http, Reply::Http(302, &[("location", "/")]), 2),
        (http, Reply::Http(500, &[]), 2),
    ] {
        let mut collector = Collector::start(protocol, [reply.clone()]);
        let traces = start(protocol, collector.address, TWO);
        push(&traces, 1);
        push(&traces, 2);
        collector.next().await;
        settled(traces.counts()).await;
        let counts = traces.counts();
        assert_eq!(dropped(counts), [0, refused, 0, 0], "{reply:?}");
        assert_eq!((counts.exported(), counts.failures()), (2 - refused, 1), "{reply:?}");
        assert!(!collector.has_more(), "{reply:?}");
        // The next ones are taken.
        push(&traces, 3);
        push(&traces, 4);
        assert_eq!(numbers(&collector.next().await), [3, 4]);
        settled(counts).await;
        assert_eq!(counts.exported(), 4 - refused, "{reply:?}");
    }
}

#[tokio::test]
async fn what_is_not_taken_now_is_sent_again_and_not_before_the_collector_wants_it() {
    let (grpc, http) = (Protocol::Grpc, Protocol::HttpProtobuf);
    for (protocol, reply, not_before) in [
        (grpc, Reply::Status(tonic::Code::Unavailable, None), 100),
        (grpc, Reply::Status(tonic::Code::Unavailable, Some(400)), 400),
        (grpc, Reply::Status(tonic::Code::ResourceExhausted, Some(400)), 400),
        (http, Reply::Http(503, &[]), 100),
        (http, Reply::Http(429, &[("retry-after", "1")]), 1000),
        (http, Reply::Http(502, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), 100),
    ] {
        let mut collector = Collector::start(protocol, [reply.clone()]);
        let traces = start(protocol, collector.address, TWO);
        push(&traces, 1);
        push(&traces, 2);
        collector.next().await;
        let refused_at = Instant::now();
        assert_eq!(numbers(&collector.next().await), [1, 2]);
        // The clock here begins when the request is seen, which may be a little after the exporter's.
        assert!(refused_at.elapsed() >= Duration::from_millis(not_before * 9 / 10), "{reply:?}");
        settled(traces.counts()).await;
        let counts = traces.counts();
        assert_eq!((counts.exported(), counts.requests(), counts.failures()), (2, 2, 1), "{reply:?}");
        assert_eq!(dropped(counts), [0; 4]);
    }
}

#[tokio::test]
async fn a_collector_that_hangs_is_left_after_the_timeout() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, [Reply::Hang]);
        let more = [("OTEL_EXPORTER_OTLP_TIMEOUT", "200")];
        let traces = start(protocol, collector.address, &[TWO, &more].concat());
        push(&traces, 1);
        push(&traces, 2);
        assert_eq!(numbers(&collector.next().await), [1, 2]);
        assert_eq!(numbers(&collector.next().await), [1, 2]);
        settled(traces.counts()).await;
        assert_eq!((traces.counts().exported(), traces.counts().failures()), (2, 1));
    }
}

#[tokio::test]
async fn while_a_collector_is_slow_what_is_kept_is_bounded_and_nobody_waits() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, [Reply::Hang, Reply::Hang]);
        let more = [("OTEL_BSP_MAX_QUEUE_SIZE", "10")];
        let traces = start(protocol, collector.address, &[TWO, &more].concat());
        for number in 0..100 {
            push(&traces, number + 1);
        }
        // What is being sent counts as kept.
        assert_eq!((traces.counts().queued(), dropped(traces.counts())), (10, [90, 0, 0, 0]));
        assert_eq!(collector.next().await.traces.resource_spans.len(), 1);
        collector.next().await;
        assert_eq!(traces.counts().queued(), 10);
        assert!(!collector.has_more());
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_and_comes_back_gets_what_there_was_room_for() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, []);
        let more = [("OTEL_BSP_MAX_QUEUE_SIZE", "20")];
        let traces = start(protocol, collector.address, &[TWO, &more].concat());
        push(&traces, 1);
        push(&traces, 2);
        collector.next().await;
        settled(traces.counts()).await;
        collector.go();
        for number in 3..33 {
            push(&traces, number);
        }
        let counts = traces.counts();
        let until = Instant::now() + SOON;
        while counts.failures() < 2 {
            assert!(Instant::now() < until, "{counts:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((counts.queued(), dropped(counts)), (20, [10, 0, 0, 0]));
        collector.come_back();
        let mut got = Vec::new();
        while got.len() < 20 {
            got.extend(numbers(&collector.next().await));
        }
        got.sort_unstable();
        assert_eq!(got, (3..23).collect::<Vec<_>>());
        settled(counts).await;
        assert_eq!((counts.exported(), dropped(counts)), (22, [10, 0, 0, 0]));
    }
}

#[tokio::test]
async fn what_no_try_has_brought_there_is_given_up() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, []);
        collector.go();
        let more = [("OTEL_BSP_EXPORT_TIMEOUT", "400")];
        let traces = start(protocol, collector.address, &[TWO, &more].concat());
        push(&traces, 1);
        push(&traces, 2);
        settled(traces.counts()).await;
        assert_eq!(dropped(traces.counts()), [0, 0, 2, 0]);
        assert!(traces.counts().requests() >= 2);
    }
}

#[tokio::test]
async fn a_flush_sends_what_is_there_and_gives_up_in_time() {
    for protocol in BOTH {
        let mut collector = Collector::start(protocol, []);
        let traces = start(protocol, collector.address, TWO);
        for number in 1..=5 {
            push(&traces, number);
        }
        traces.flush(SOON).await;
        let counts = traces.counts();
        assert_eq!((counts.exported(), counts.queued(), dropped(counts)), (5, 0, [0; 4]));
        push(&traces, 6);
        assert_eq!(dropped(counts), [0, 0, 0, 1]);

        collector.go();
        let traces = start(protocol, collector.address, TWO);
        for number in 1..=5 {
            push(&traces, number);
        }
        let begun = Instant::now();
        traces.flush(Duration::from_millis(300)).await;
        assert!(begun.elapsed() < SOON / 2);
        let counts = traces.counts();
        assert_eq!((counts.exported(), counts.queued(), dropped(counts)), (0, 0, [0, 0, 0, 5]));
    }
}

#[tokio::test]
async fn a_connection_that_the_collector_has_closed_meanwhile_is_no_failure() {
    let protocol = Protocol::HttpProtobuf;
    let mut collector = Collector::start(protocol, [Reply::TakeAndClose, Reply::Take, Reply::Take]);
    let traces = start(protocol, collector.address, TWO);
    for (number, connections) in [(1, 1), (3, 2), (5, 2)] {
        push(&traces, number);
        push(&traces, number + 1);
        assert_eq!(numbers(&collector.next().await), [number, number + 1]);
        settled(traces.counts()).await;
        assert_eq!(collector.connections(), connections);
    }
    assert_eq!((traces.counts().exported(), traces.counts().failures()), (6, 0));
}

#[tokio::test]
async fn metrics_take_the_same_way() {
    for protocol in BOTH {
        let script = match protocol {
            Protocol::Grpc => Reply::Status(tonic::Code::Unavailable, None),
            Protocol::HttpProtobuf => Reply::Http(503, &[]),
        };
        let mut collector = Collector::start(protocol, [script, Reply::Take, Reply::Partial(1, "no")]);
        let settings = settings(protocol, collector.address, &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
        let resource = Resource::new(&settings, [], "1");
        let scope = ("bowline-proxy", "1");
        let mut exporter = MetricsExporter::new(&settings.metrics.unwrap(), &resource, scope).unwrap();
        let info = MetricInfo {
            name: "bowline.requests",
            description: "Requests.",
            unit: "{request}",
            kind: MetricKind::Counter,
        };
        for _ in 0..2 {
            let mut metrics = MetricBuffer::new(1, 2);
            metrics.metric(info);
            for number in 0..5 {
                metrics.int(number, |_| {});
            }
            exporter.export(metrics).await;
        }
        for _ in 0..3 {
            let received = collector.next().await;
            let [resource] = &received.metrics.resource_metrics[..] else { panic!("{received:?}") };
            assert!(!resource.resource.as_ref().unwrap().attributes.is_empty());
            let [scope] = &resource.scope_metrics[..] else { panic!("{resource:?}") };
            assert_eq!(scope.scope.as_ref().unwrap().name, "bowline-proxy");
            assert_eq!(scope.metrics[0].name, "bowline.requests");
            assert!(protocol == Protocol::Grpc || received.path == "/v1/metrics");
        }
        let counts = exporter.counts();
        assert_eq!((counts.exported(), counts.requests(), dropped(counts)), (9, 3, [0, 1, 0, 0]));
    }
}

/// A certificate for 127.0.0.1 that is its own authority, and its key; `None`, aloud, without openssl.
fn certificate(folder: &std::path::Path) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    match made {
        Ok(made) if made.status.success() => Some((certificate, key)),
        Ok(made) => panic!("openssl: {}", String::from_utf8_lossy(&made.stderr)),
        Err(error) => {
            assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "openssl is missing");
            eprintln!("left out: openssl can't be run: {error}");
            None
        }
    }
}

#[tokio::test]
async fn https_with_an_authority_of_ones_own() {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ServerConfig, crypto::ring};

    let folder = tempfile::tempdir().unwrap();
    let Some((certificate, key)) = certificate(folder.path()) else { return };
    let config = ServerConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    let acceptor = std::sync::Arc::new(config).into();
    let protocol = Protocol::HttpProtobuf;
    let mut collector = Collector::with_tls(protocol, [], Some(acceptor));
    let url = format!("https://{}", collector.address);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str());

    // Unknown authority: never reached.
    let more = [endpoint, ("OTEL_BSP_EXPORT_TIMEOUT", "300")];
    let traces = start(protocol, collector.address, &[TWO, &more].concat());
    push(&traces, 1);
    push(&traces, 2);
    settled(traces.counts()).await;
    assert_eq!(dropped(traces.counts()), [0, 0, 2, 0]);
    assert!(!collector.has_more());

    let more = [endpoint, ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.to_str().unwrap())];
    let traces = start(protocol, collector.address, &[TWO, &more].concat());
    push(&traces, 3);
    push(&traces, 4);
    assert_eq!(numbers(&collector.next().await), [3, 4]);
    settled(traces.counts()).await;
    assert_eq!(traces.counts().exported(), 2);

    // What can't be used is said when the exporter is started.
    let more = [endpoint, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")];
    let settings = settings(protocol, collector.address, &more);
    let resource = Resource::new(&settings, [], "1");
    let error = MetricsExporter::new(&settings.metrics.unwrap(), &resource, ("a", "1")).unwrap_err();
    assert!(matches!(&error, StartError::File(path, _) if path.ends_with("nowhere.pem")), "{error}");
}

/// Figures: `cargo test --release -p bowline-otlp export::tests::cost -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what a span costs; tells nothing true or false"]
async fn cost() {
    const SPANS: u64 = 200_000;
    for protocol in BOTH {
        for (compression, ms) in [("none", 0), ("gzip", 0), ("none", 5), ("none", 20)] {
            let collector = Collector::start(protocol, vec![Reply::Slow(ms); 1000]);
            let more =
                [("OTEL_BSP_MAX_QUEUE_SIZE", "16384"), ("OTEL_EXPORTER_OTLP_COMPRESSION", compression)];
            let traces = start(protocol, collector.address, &more);
            let (begun, mut pushing) = (Instant::now(), Duration::MAX);
            for batch in 0..SPANS / 500 {
                let before = Instant::now();
                (1..=500).for_each(|number| push_typical(&traces, batch * 500 + number));
                // The least: whatever else runs meanwhile is no part of it.
                pushing = pushing.min(before.elapsed());
                while traces.counts().queued() > 8192 {
                    tokio::task::yield_now().await;
                }
            }
            traces.flush(SOON).await;
            let (all, counts) = (begun.elapsed(), traces.counts());
            println!(
                "{protocol:?} {compression}, {ms} ms: push {:.0} ns a span, {:.0} spans a second to a collector that decodes them; exported {}, dropped {:?}",
                pushing.as_nanos() as f64 / 500.0,
                counts.exported() as f64 / all.as_secs_f64(),
                counts.exported(),
                dropped(counts),
            );
        }
    }
}

/// A span with as many attributes as a proxy gives it.
fn push_typical(traces: &Traces, number: u64) {
    let span = Span {
        trace_id: TraceId::from(u128::from(number) << 64 | 1),
        span_id: SpanId::from(number),
        parent: Some(SpanId::from(number + 1)),
        parent_is_remote: true,
        state: None,
        sampled: true,
        kind: SpanKind::Client,
        name: "GET server",
        start_unix_nanos: 1_700_000_000_000_000_000 + number,
        end_unix_nanos: 1_700_000_000_000_000_000 + 2 * number,
        error: None,
    };
    traces.push(&span, |at| {
        at.str("http.request.method", "GET");
        at.str("url.full", "http://server.hello-world.com:5000/v1/orders/17");
        at.str("server.address", "server.hello-world.com");
        at.int("server.port", 5000);
        at.int("http.response.status_code", 200);
        at.str("network.peer.address", "10.0.12.34");
        at.int("network.peer.port", 9001);
        at.str("network.protocol.version", "1.1");
        at.str("bowline.service", "server");
        at.str("bowline.endpoint", "10.0.12.34:9001");
        at.str("bowline.zone", "eu-west-1a");
        at.int("bowline.attempts", 1);
    });
}
