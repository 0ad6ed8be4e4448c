//! Metrics, as OTLP has them: cumulative sums, gauges, and histograms with explicit bounds and exemplars.

use opentelemetry::trace::{SpanId, TraceId};

use crate::span::Attributes;
use crate::wire;

/// A portion ends at this many bytes: collectors take 4 MiB at a time by default.
const PORTION_BYTES: usize = 1 << 20;

/// One metric, without its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// The unit, by UCUM: `s`, `By`, `{request}`.
    pub unit: &'static str,
    /// How it is to be read.
    pub kind: MetricKind,
}

/// How a metric is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, since the start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by upper bound, since the start.
    Histogram,
}

/// An observation that stands for others of its bucket, and where to look it up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// What was observed.
    pub value: f64,
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// When, in nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
}

/// A point of a histogram.
#[derive(Clone, Copy, Debug)]
pub struct HistogramPoint<'a> {
    /// Upper bounds, rising.
    pub bounds: &'a [f64],
    /// Observations by bucket, not added up; one more than bounds.
    pub buckets: &'a [u64],
    /// The sum of all observations.
    pub sum: f64,
}

// The fields of Metric, of what holds its points, and of points.
const METRICS: u32 = 2;
const NAME: u32 = 1;
const DESCRIPTION: u32 = 2;
const UNIT: u32 = 3;
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const POINTS: u32 = 1;
const TEMPORALITY: u32 = 2;
const IS_MONOTONIC: u32 = 3;
const CUMULATIVE: u64 = 2;
const START: u32 = 2;
const TIME: u32 = 3;
const AS_DOUBLE: u32 = 4;
const AS_INT: u32 = 6;
const NUMBER_ATTRIBUTES: u32 = 7;
const HISTOGRAM_COUNT: u32 = 4;
const HISTOGRAM_SUM: u32 = 5;
const HISTOGRAM_BUCKETS: u32 = 6;
const HISTOGRAM_BOUNDS: u32 = 7;
const HISTOGRAM_EXEMPLARS: u32 = 8;
const HISTOGRAM_ATTRIBUTES: u32 = 9;
const EXEMPLAR_TIME: u32 = 2;
const EXEMPLAR_DOUBLE: u32 = 3;
const EXEMPLAR_SPAN: u32 = 4;
const EXEMPLAR_TRACE: u32 = 5;

/// Metrics as the `metrics` field of `ScopeMetrics` messages.
#[derive(Debug)]
pub struct MetricBuffer {
    start: u64,
    now: u64,
    bytes: Vec<u8>,
    points: usize,
    open: Option<Open>,
    full: Vec<Portion>,
}

/// What goes into one request.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) bytes: Vec<u8>,
    pub(crate) points: usize,
}

/// The metric whose points come.
#[derive(Clone, Copy, Debug)]
struct Open {
    info: MetricInfo,
    /// Where it begins, its header included, and where the two messages around its points do.
    begin: usize,
    metric: usize,
    data: usize,
    points: usize,
}

impl MetricBuffer {
    /// Without any. All counts are since `start_unix_nanos`, and hold at `unix_nanos`.
    pub fn new(start_unix_nanos: u64, unix_nanos: u64) -> Self {
        MetricBuffer {
            start: start_unix_nanos,
            now: unix_nanos,
            bytes: Vec::new(),
            points: 0,
            open: None,
            full: Vec::new(),
        }
    }

    /// Begins a metric; its points follow. One that gets none is left out.
    pub fn metric(&mut self, info: MetricInfo) {
        self.end_metric();
        let begin = self.bytes.len();
        let out = &mut self.bytes;
        let metric = wire::begin_message(out, METRICS);
        wire::bytes(out, NAME, info.name.as_bytes());
        wire::bytes(out, DESCRIPTION, info.description.as_bytes());
        wire::bytes(out, UNIT, info.unit.as_bytes());
        let data = match info.kind {
            MetricKind::Counter => SUM,
            MetricKind::Gauge => GAUGE,
            MetricKind::Histogram => HISTOGRAM,
        };
        let data = wire::begin_message(out, data);
        if info.kind != MetricKind::Gauge {
            wire::number(out, TEMPORALITY, CUMULATIVE);
        }
        if info.kind == MetricKind::Counter {
            wire::number(out, IS_MONOTONIC, 1);
        }
        self.open = Some(Open { info, begin, metric, data, points: 0 });
    }

    /// A point of a counter or gauge.
    pub fn int(&mut self, value: i64, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.number(AS_INT, value as u64, attributes);
    }

    /// A point of a counter or gauge.
    pub fn double(&mut self, value: f64, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.number(AS_DOUBLE, value.to_bits(), attributes);
    }

    fn number(&mut self, field: u32, bits: u64, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let Some(open) = self.open.filter(|open| open.info.kind != MetricKind::Histogram) else {
            debug_assert!(false, "a number for no counter or gauge");
            return;
        };
        let point = wire::begin_message(&mut self.bytes, POINTS);
        attributes(&mut Attributes::alone(&mut self.bytes, NUMBER_ATTRIBUTES));
        if open.info.kind == MetricKind::Counter {
            wire::fixed64(&mut self.bytes, START, self.start);
        }
        wire::fixed64(&mut self.bytes, TIME, self.now);
        wire::fixed64(&mut self.bytes, field, bits);
        self.end_point(point);
    }

    /// A point of a histogram.
    pub fn histogram(
        &mut self,
        point: &HistogramPoint<'_>,
        exemplars: impl IntoIterator<Item = Exemplar>,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        if !self.open.is_some_and(|open| open.info.kind == MetricKind::Histogram) {
            debug_assert!(false, "a histogram's point for another metric");
            return;
        }
        let out = &mut self.bytes;
        let begin = wire::begin_message(out, POINTS);
        attributes(&mut Attributes::alone(out, HISTOGRAM_ATTRIBUTES));
        wire::fixed64(out, START, self.start);
        wire::fixed64(out, TIME, self.now);
        wire::fixed64(out, HISTOGRAM_COUNT, point.buckets.iter().sum());
        wire::fixed64(out, HISTOGRAM_SUM, point.sum.to_bits());
        wire::header(out, HISTOGRAM_BUCKETS, 8 * point.buckets.len());
        point.buckets.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        wire::header(out, HISTOGRAM_BOUNDS, 8 * point.bounds.len());
        point.bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        for exemplar in exemplars {
            // Three numbers of eight bytes, and ids of eight and sixteen.
            wire::header(out, HISTOGRAM_EXEMPLARS, 2 * 9 + 10 + 18);
            wire::fixed64(out, EXEMPLAR_TIME, exemplar.unix_nanos);
            wire::fixed64(out, EXEMPLAR_DOUBLE, exemplar.value.to_bits());
            wire::bytes(out, EXEMPLAR_SPAN, &exemplar.span_id.to_bytes());
            wire::bytes(out, EXEMPLAR_TRACE, &exemplar.trace_id.to_bytes());
        }
        self.end_point(begin);
    }

    fn end_point(&mut self, begin: usize) {
        wire::end_message(&mut self.bytes, begin);
        self.points += 1;
        let Some(open) = &mut self.open else { return };
        open.points += 1;
        if self.bytes.len() >= PORTION_BYTES {
            let info = open.info;
            self.end_portion();
            self.metric(info);
        }
    }

    fn end_metric(&mut self) {
        match self.open.take() {
            None => {}
            Some(open) if open.points == 0 => self.bytes.truncate(open.begin),
            Some(open) => {
                // The outer message began before the inner one, which may move when its length is written: the outer
                // one's end is looked at after that.
                wire::end_message(&mut self.bytes, open.data);
                wire::end_message(&mut self.bytes, open.metric);
            }
        }
    }

    fn end_portion(&mut self) {
        self.end_metric();
        let bytes = std::mem::take(&mut self.bytes);
        let points = std::mem::take(&mut self.points);
        if points > 0 {
            self.full.push(Portion { bytes, points });
        }
    }

    /// All of them, in portions for a request each.
    pub(crate) fn finish(mut self) -> Vec<Portion> {
        self.end_portion();
        self.full
    }
}

#[cfg(test)]
mod tests;
