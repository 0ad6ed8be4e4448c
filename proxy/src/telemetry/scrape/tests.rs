use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_core::Tick;
use bowline_otlp::{ExportCounts, SpanId, TraceId};

use super::text::{Format, page};
use super::{Sink, Sources, otlp, walk};
use crate::snapshot::Snapshot;
use crate::telemetry::catalogue::{self, Kind, Metric};
use crate::telemetry::exemplars::OfBuckets;
use crate::telemetry::metrics::{Class, DownstreamCounters, HistogramTotal, ProxyCounters};

/// A mesh of so many services with so many endpoints each.
pub(in crate::telemetry) fn mesh(services: usize, endpoints: usize) -> Snapshot {
    let list = if services == 0 { " []" } else { "" };
    let mut text = format!("namespace: mesh.test\nservices:{list}\n");
    for service in 0..services {
        let list: Vec<String> = (0..endpoints)
            .map(|n| format!("{{ address: '10.{}.{}.{n}:9001' }}", service / 250, service % 250))
            .collect();
        text += &format!(
            "- {{ discoveryName: service-{service}, endpoints: {{ static: [{}] }} }}\n",
            list.join(", ")
        );
    }
    let mesh = bowline_api::mesh_file::parse("mesh.yaml", &text).unwrap();
    Snapshot::new(mesh, &BTreeMap::new(), &BTreeMap::new(), None, Tick::ZERO)
}

/// Each service and endpoint has had some requests.
pub(in crate::telemetry) fn busy(snapshot: &Snapshot) {
    for service in &snapshot.services {
        let counters = service.shared.counters.register();
        counters.requests[Class::Success as usize].add(12_345);
        counters.duration.record(Duration::from_millis(7));
        for endpoint in &service.endpoints {
            let counters = endpoint.shared.counters.register();
            counters.attempts[Class::Success as usize].add(1234);
            counters.in_flight.add(1);
            counters.bytes_sent.add(100_000);
            for n in 0..16 {
                counters.duration.record(Duration::from_micros(400 << n));
            }
        }
    }
}

/// Everything that there can be beside the services.
#[derive(Default)]
pub(in crate::telemetry) struct Rest {
    proxy: ProxyCounters,
    downstream: DownstreamCounters,
    counts: ExportCounts,
}

impl Rest {
    pub(in crate::telemetry) fn sources<'a>(&'a self, snapshot: &'a Snapshot) -> Sources<'a> {
        Sources {
            snapshot,
            downstream: vec![&self.downstream],
            proxy: &self.proxy,
            control: None,
            spans: Some(&self.counts),
            points: Some(&self.counts),
            records_dropped: 0,
            draining: false,
            started: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            now: Tick::ZERO,
        }
    }
}

/// Which metrics come, and with how many values.
#[derive(Default)]
struct Seen(Vec<(&'static str, usize)>);

impl Seen {
    fn value(&mut self) {
        self.0.last_mut().expect("a metric comes before its values").1 += 1;
    }
}

impl Sink for Seen {
    fn family(&mut self, metric: &'static Metric) {
        self.0.push((metric.name, 0));
    }
    fn int(&mut self, _: &[&str], _: i64) {
        self.value();
    }
    fn float(&mut self, _: &[&str], _: f64) {
        self.value();
    }
    fn histogram(&mut self, _: &[&str], _: &HistogramTotal, _: Option<&OfBuckets>) {
        self.value();
    }
}

#[test]
fn the_walk_comes_by_every_metric_of_the_catalogue_once() {
    let (snapshot, rest, mut seen) = (mesh(2, 2), Rest::default(), Seen::default());
    busy(&snapshot);
    walk(&rest.sources(&snapshot), &mut seen);
    let names: Vec<&str> = seen.0.iter().map(|(name, _)| *name).collect();
    let known: Vec<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>(), known.iter().collect::<BTreeSet<_>>());
    assert_eq!(names.len(), known.len());
    assert!(seen.0.contains(&("bowline_endpoint_duration_seconds", 4)));
}

#[test]
fn names_keep_the_rules_of_both_worlds() {
    let mut names = BTreeSet::new();
    for metric in catalogue::ALL {
        assert!(names.insert(metric.otlp), "{} comes twice", metric.otlp);
        assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        if let Some(unit) = metric.unit_in_name() {
            assert!(metric.family().ends_with(unit), "{} is in {unit}", metric.name);
        }
        let of_otlp = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
        assert!(metric.otlp.chars().all(of_otlp), "{}", metric.otlp);
        assert!(metric.help.ends_with('.') && !metric.help.contains(['"', '\\', '\n']), "{}", metric.name);
    }
    // A name that is the beginning of another one is a mistake for those who make trees of them.
    for name in &names {
        let below = format!("{name}.");
        assert!(!names.iter().any(|other| other.starts_with(&below)), "{name}");
    }
}

/// Figures for tests/bench: `cargo test --release -p bowline-proxy scrape::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints what a scrape of a large mesh costs; tells nothing true or false"]
fn cost() {
    let (snapshot, rest) = (mesh(1000, 10), Rest::default());
    let at = UNIX_EPOCH + Duration::from_secs(1_700_000_001);
    for has_traffic in [false, true] {
        if has_traffic {
            busy(&snapshot);
            for service in &snapshot.services {
                service.shared.exemplars.note(0.1, TraceId::from(1), SpanId::from(1), SystemTime::now());
            }
        }
        let sources = rest.sources(&snapshot);
        for (what, make) in [
            ("Prometheus", &(|| page(&sources, Format::Prometheus).len()) as &dyn Fn() -> usize),
            ("OpenMetrics", &|| page(&sources, Format::OpenMetrics).len()),
            ("OTLP", &|| {
                drop(otlp::metrics(&sources, at));
                0
            }),
        ] {
            let (mut best, mut bytes) = (Duration::MAX, 0);
            for _ in 0..10 {
                let begun = Instant::now();
                bytes = make();
                best = best.min(begun.elapsed());
            }
            println!("traffic {has_traffic:<5} {what:<12} {best:>10.1?} {bytes:>10} bytes");
        }
    }
}
