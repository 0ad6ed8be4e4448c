//! The page that is scraped: Prometheus' text format (0.0.4), and OpenMetrics 1.0.0 for those who ask for it.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::ACCEPT;

use super::{Sink, Sources, walk};
use crate::snapshot::Endpoint;
use crate::telemetry::catalogue::{self, Kind, Metric};
use crate::telemetry::exemplars::{Exemplar, OfBuckets};
use crate::telemetry::metrics::{BUCKETS, HistogramTotal};

/// The bounds of [`crate::telemetry::metrics::BOUNDS_MICROS`] in seconds, in the one form that both formats take.
pub(super) const BOUNDS: [&str; BUCKETS] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0",
    "10.0", "15.0", "+Inf",
];

/// So long is a line, about: what the page will need is estimated before it is written.
const LINE: usize = 110;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What every scraper understands.
    Prometheus,
    /// With units and exemplars.
    OpenMetrics,
}

impl Format {
    /// What a scraper wants to have. What is not clear is Prometheus' format.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let mut best = (0.0, Format::Prometheus);
        for value in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
            for range in value.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let (mut weight, mut version) = (1.0, None);
                for part in parts {
                    match part.split_once('=') {
                        Some(("q", text)) => weight = text.parse().unwrap_or(0.0),
                        Some(("version", text)) => version = Some(text.trim_matches('"')),
                        _ => {}
                    }
                }
                let format = match (name.to_ascii_lowercase().as_str(), version) {
                    ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
                    ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Prometheus,
                    _ => continue,
                };
                if weight > best.0 {
                    best = (weight, format);
                }
            }
        }
        best.1
    }

    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The whole page.
pub fn page(sources: &Sources<'_>, format: Format) -> String {
    let mut page = Page {
        out: String::with_capacity(lines(sources) * LINE),
        format,
        metric: None,
        series: String::new(),
    };
    walk(sources, &mut page);
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    page.out
}

/// How many lines there will be, about. A large page that grows by doubling costs as much as it does to write.
fn lines(sources: &Sources<'_>) -> usize {
    let of_service = 30;
    let of_endpoint = |endpoint: &Endpoint| match endpoint.shared.counters.sum(|c| c.attempts_so_far()) {
        0 => 9,
        _ => 9 + BUCKETS + 2,
    };
    let services = sources.snapshot.services.iter();
    let all = services.map(|service| of_service + service.all_endpoints().map(of_endpoint).sum::<usize>());
    2 * catalogue::ALL.len() + 80 + all.sum::<usize>()
}

struct Page {
    out: String,
    format: Format,
    metric: Option<&'static Metric>,
    /// The name and labels of a histogram's buckets, up to the bound.
    series: String,
}

impl Page {
    /// The name and labels of a sample.
    fn series(&mut self, suffix: &str, labels: &[&str]) {
        let Some(metric) = self.metric else { return };
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        series(&mut self.out, metric, suffix, labels);
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.out.push(' ');
    }
}

/// Without the closing bracket.
fn series(out: &mut String, metric: &Metric, suffix: &str, values: &[&str]) {
    out.push_str(metric.name);
    out.push_str(suffix);
    let mut separator = '{';
    for (name, value) in metric.labels.iter().zip(values) {
        out.push(separator);
        out.push_str(name);
        out.push_str("=\"");
        escaped(out, value);
        out.push('"');
        separator = ',';
    }
}

fn escaped(out: &mut String, text: &str) {
    // Names of services are checked when the mesh is read; this is for those of the future.
    if !text.bytes().any(|c| matches!(c, b'"' | b'\\' | b'\n')) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

impl Sink for Page {
    fn family(&mut self, metric: &'static Metric) {
        self.metric = Some(metric);
        let name = match self.format {
            Format::Prometheus => metric.name,
            Format::OpenMetrics => metric.family(),
        };
        let _ = writeln!(self.out, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.as_str());
        if let (Format::OpenMetrics, Some(unit)) = (self.format, metric.unit_in_name()) {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
    }

    fn int(&mut self, labels: &[&str], value: i64) {
        self.series("", labels);
        if value < 0 {
            self.out.push('-');
        }
        digits(&mut self.out, value.unsigned_abs());
        self.out.push('\n');
    }

    fn float(&mut self, labels: &[&str], value: f64) {
        self.series("", labels);
        let _ = writeln!(self.out, "{value}");
    }

    fn histogram(&mut self, labels: &[&str], total: &HistogramTotal, exemplars: Option<&OfBuckets>) {
        let Some(metric) = self.metric else { return };
        debug_assert!(metric.kind == Kind::Histogram, "{}", metric.name);
        self.series.clear();
        series(&mut self.series, metric, "_bucket", labels);
        self.series.push_str(if labels.is_empty() { "{le=\"" } else { ",le=\"" });
        let exemplars = exemplars.filter(|_| self.format == Format::OpenMetrics);
        let mut count = 0;
        for (at, (observed, bound)) in total.buckets.iter().zip(BOUNDS).enumerate() {
            count += observed;
            self.out.push_str(&self.series);
            self.out.push_str(bound);
            self.out.push_str("\"} ");
            digits(&mut self.out, count);
            if let Some(exemplar) = exemplars.and_then(|all| all[at]) {
                write_exemplar(&mut self.out, &exemplar);
            }
            self.out.push('\n');
        }
        self.series("_sum", labels);
        seconds(&mut self.out, total.sum_nanos);
        self.out.push('\n');
        self.series("_count", labels);
        digits(&mut self.out, count);
        self.out.push('\n');
    }
}

/// Every number of a large page comes by here, so this is not the formatter of the standard library.
fn digits(out: &mut String, mut value: u64) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&text[at..]).unwrap_or_default());
}

/// Nanoseconds as seconds, without a rounding error.
fn seconds(out: &mut String, nanos: u64) {
    digits(out, nanos / 1_000_000_000);
    let fraction = nanos % 1_000_000_000;
    if fraction > 0 {
        // The leading one keeps the zeros behind the point.
        let point = out.len();
        digits(out, 1_000_000_000 + fraction);
        out.replace_range(point..=point, ".");
        out.truncate(out.trim_end_matches('0').len());
    }
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    let Exemplar { value, trace_id, span_id, unix_nanos } = exemplar;
    let (seconds, millis) = (unix_nanos / 1_000_000_000, unix_nanos / 1_000_000 % 1000);
    let _ = write!(out, " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {seconds}.{millis:03}");
}

#[cfg(test)]
mod tests;
