//! The same as metrics of OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use bowline_otlp::{Attributes, HistogramPoint, MetricBuffer, MetricInfo, MetricKind};

use super::{Sink, Sources, walk};
use crate::telemetry::catalogue::{Kind, Metric};
use crate::telemetry::exemplars::OfBuckets;
use crate::telemetry::metrics::{BOUNDS_MICROS, HistogramTotal};

/// All metrics as of now, ready to be exported.
pub fn metrics(sources: &Sources<'_>, now: SystemTime) -> MetricBuffer {
    let nanos = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    let buffer = MetricBuffer::new(nanos(sources.started), nanos(now));
    let mut points = Points { buffer, attributes: &[] };
    walk(sources, &mut points);
    points.buffer
}

struct Points {
    buffer: MetricBuffer,
    attributes: &'static [&'static str],
}

/// The labels as attributes. An empty one says that there is none.
fn attributes(names: &[&str], values: &[&str], to: &mut Attributes<'_>) {
    for (name, value) in names.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
        to.str(name, value);
    }
}

impl Sink for Points {
    fn family(&mut self, metric: &'static Metric) {
        self.attributes = metric.attributes;
        let kind = match metric.kind {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge => MetricKind::Gauge,
            Kind::Histogram => MetricKind::Histogram,
        };
        let info = MetricInfo { name: metric.otlp, description: metric.help, unit: metric.unit, kind };
        self.buffer.metric(info);
    }

    fn int(&mut self, labels: &[&str], value: i64) {
        let names = self.attributes;
        self.buffer.int(value, |to| attributes(names, labels, to));
    }

    fn float(&mut self, labels: &[&str], value: f64) {
        let names = self.attributes;
        self.buffer.double(value, |to| attributes(names, labels, to));
    }

    fn histogram(&mut self, labels: &[&str], total: &HistogramTotal, exemplars: Option<&OfBuckets>) {
        let names = self.attributes;
        let bounds = BOUNDS_MICROS.map(|micros| micros as f64 / 1e6);
        let point =
            HistogramPoint { bounds: &bounds, buckets: &total.buckets, sum: total.sum_nanos as f64 / 1e9 };
        let exemplars = exemplars.into_iter().flatten().flatten().copied();
        self.buffer.histogram(&point, exemplars, |to| attributes(names, labels, to));
    }
}
