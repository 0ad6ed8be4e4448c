//! All metrics, looked at once: the same walk writes the page that is scraped, in both of its formats, and what is
//! pushed over OTLP. No name is written in one that the others don't know.

mod endpoints;
mod guards;
pub mod otlp;
mod process;
mod routes;
mod services;
pub mod text;

use std::time::SystemTime;

use bowline_core::Tick;
use bowline_otlp::ExportCounts;

use super::catalogue::Metric;
use super::control::ControlStatus;
use super::exemplars::OfBuckets;
use super::metrics::{
    DownstreamCounters, Histogram, HistogramTotal, PerWorker, ProxyCounters, TunnelCounters, TunnelEnd,
};
use crate::snapshot::Snapshot;

/// What is looked at.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The mesh in force: what is not in it any more is not shown any more.
    pub snapshot: &'a Snapshot,
    /// Each worker's downstream side.
    pub downstream: Vec<&'a DownstreamCounters>,
    /// The process's own counts.
    pub proxy: &'a ProxyCounters,
    /// The control plane, where there is one.
    pub control: Option<&'a ControlStatus>,
    /// What has become of spans, where they are exported.
    pub spans: Option<&'a ExportCounts>,
    /// What has become of metrics, where they are pushed.
    pub points: Option<&'a ExportCounts>,
    /// Records of requests that nobody had time for.
    pub records_dropped: u64,
    /// The drain has begun.
    pub draining: bool,
    /// When the process started.
    pub started: SystemTime,
    /// Now, for ejections.
    pub now: Tick,
}

/// Where the walk writes to. The values of a metric follow upon its name.
pub trait Sink {
    /// The values that follow are this one's. There may be none.
    fn family(&mut self, metric: &'static Metric);
    /// A whole number, with the values of the metric's labels.
    fn int(&mut self, labels: &[&str], value: i64);
    /// A number.
    fn float(&mut self, labels: &[&str], value: f64);
    /// A histogram.
    fn histogram(&mut self, labels: &[&str], total: &HistogramTotal, exemplars: Option<&OfBuckets>);
}

/// Looks at everything, metric by metric.
pub fn walk(sources: &Sources<'_>, sink: &mut impl Sink) {
    services::requests(sources, sink);
    routes::routes(sources, sink);
    services::limits(sources, sink);
    guards::guards(sources, sink);
    services::tunnels(sources, sink);
    endpoints::endpoints(sources, sink);
    services::dns(sources, sink);
    process::control(sources, sink);
    process::downstream(sources, sink);
    process::redirected(sources, sink);
    process::observers(sources, sink);
    process::process(sources, sink);
}

/// A metric with one value.
fn one(sink: &mut impl Sink, metric: &'static Metric, value: i64) {
    sink.family(metric);
    sink.int(&[], value);
}

/// Counts are far from where the two types differ.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn total<T: Default>(sets: &PerWorker<T>, histogram: impl Fn(&T) -> &Histogram) -> HistogramTotal {
    let mut total = HistogramTotal::default();
    sets.each(|set| histogram(set).add_to(&mut total));
    total
}

/// A count by reason, 0 when there has been none.
fn of(counts: &[(&'static str, u64)], reason: &str) -> i64 {
    counts.iter().find(|(counted, _)| *counted == reason).map_or(0, |(_, count)| whole(*count))
}

/// Tunnels, added up over the workers.
#[derive(Default)]
struct Tunnels {
    open: i64,
    ended: [u64; TunnelEnd::COUNT],
    sent: u64,
    received: u64,
}

impl Tunnels {
    fn add(&mut self, counters: &TunnelCounters) {
        self.open += counters.open.get();
        for (sum, ended) in self.ended.iter_mut().zip(&counters.ended) {
            *sum += ended.get();
        }
        self.sent += counters.sent.get();
        self.received += counters.received.get();
    }

    fn any(&self) -> bool {
        self.open != 0 || self.ended.iter().any(|n| *n > 0)
    }
}

#[cfg(test)]
pub(in crate::telemetry) mod tests;
