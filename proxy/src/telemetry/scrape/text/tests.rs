use std::time::{Duration, UNIX_EPOCH};

use bowline_otlp::{SpanId, TraceId};
use http::{HeaderMap, HeaderValue};

use super::super::tests::{Rest, busy, mesh};
use super::{BOUNDS, Format, digits, escaped, page, seconds};
use crate::telemetry::metrics::BOUNDS_MICROS;

fn wanted(accept: &str) -> Format {
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_str(accept).unwrap());
    Format::wanted(&headers)
}

#[test]
fn a_scraper_gets_what_it_asks_for() {
    assert_eq!(Format::wanted(&HeaderMap::new()), Format::Prometheus);
    for plain in [
        "*/*",
        "text/plain",
        "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;q=0.1,text/plain",
        "application/openmetrics-text;q=x",
        "application/json",
    ] {
        assert_eq!(wanted(plain), Format::Prometheus, "{plain}");
    }
    // As Prometheus 2 and 3 ask.
    for open in [
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "Application/OpenMetrics-Text; version=\"1.0.0\"",
    ] {
        assert_eq!(wanted(open), Format::OpenMetrics, "{open}");
    }
}

#[test]
fn numbers_are_written_as_they_are() {
    let written = |write: &dyn Fn(&mut String)| {
        let mut out = String::new();
        write(&mut out);
        out
    };
    for value in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
        assert_eq!(written(&|out| digits(out, value)), value.to_string());
    }
    for (nanos, text) in [
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000_000, "1.5"),
        (10_000_000_000, "10"),
        (123_000_000_456, "123.000000456"),
        (50_000_000, "0.05"),
    ] {
        assert_eq!(written(&|out| seconds(out, nanos)), text);
    }
    assert_eq!(written(&|out| escaped(out, "a\"b\\c\nd")), "a\\\"b\\\\c\\nd");
    for (text, micros) in BOUNDS.iter().zip(BOUNDS_MICROS) {
        assert_eq!(text.parse::<f64>().unwrap(), micros as f64 / 1e6);
    }
    assert_eq!(BOUNDS.last(), Some(&"+Inf"));
}

#[test]
fn the_two_formats_differ_in_what_open_metrics_adds() {
    let (snapshot, rest) = (mesh(1, 1), Rest::default());
    busy(&snapshot);
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    snapshot.services[0].shared.exemplars.note(0.007, TraceId::from(10), SpanId::from(11), at);
    let sources = rest.sources(&snapshot);
    let (plain, open) = (page(&sources, Format::Prometheus), page(&sources, Format::OpenMetrics));

    assert!(plain.contains("# TYPE bowline_requests_total counter\n"));
    assert!(open.contains("# TYPE bowline_requests counter\n"));
    let sample = "\nbowline_requests_total{service=\"service-0\",class=\"2xx\"} 12345\n";
    assert!(plain.contains(sample) && open.contains(sample));
    assert!(open.contains("# UNIT bowline_request_duration_seconds seconds\n"));
    assert!(open.contains("# UNIT process_cpu_seconds seconds\n"));
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1);
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));

    let bucket = "bowline_request_duration_seconds_bucket{service=\"service-0\",le=\"0.01\"} 1";
    let exemplar = " # {trace_id=\"0000000000000000000000000000000a\",span_id=\"000000000000000b\"} 0.007 1700000000.123";
    assert!(open.contains(&format!("\n{bucket}{exemplar}\n")), "{open}");
    assert!(plain.contains(&format!("\n{bucket}\n")) && !plain.contains(" # {"));
    assert!(plain.contains("\nbowline_request_duration_seconds_sum{service=\"service-0\"} 0.007\n"));

    // What is the same in both: all samples.
    let samples = |page: &str| -> Vec<String> {
        let lines = page.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
        lines.map(|line| line.split(" # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(samples(&plain), samples(&open));
}

#[test]
fn an_endpoint_without_requests_has_no_histogram() {
    let (snapshot, rest) = (mesh(1, 2), Rest::default());
    let before = page(&rest.sources(&snapshot), Format::Prometheus);
    assert!(!before.contains("bowline_endpoint_duration_seconds_bucket"));
    let counters = snapshot.services[0].endpoints[1].shared.counters.register();
    counters.duration.record(Duration::from_millis(1));
    let after = page(&rest.sources(&snapshot), Format::Prometheus);
    let count = "bowline_endpoint_duration_seconds_count{service=\"service-0\",endpoint=";
    assert_eq!(after.matches(count).count(), 1);
    assert!(after.contains(&format!("{count}\"10.0.0.1:9001\"}} 1\n")));
}
