//! The scrape: all workers' counters added up and written in Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowline_core::Tick;

use super::catalogue::{self as m, Metric};
use super::control::ControlStatus;
use super::metrics::{
    BOUNDS_MICROS, Class, DownstreamCounters, Histogram, HistogramTotal, PerWorker, ProxyCounters,
    RedirectRefused, TunnelCounters, TunnelEnd,
};
use crate::descriptors::Full;
use crate::limiter::{Kind, Shed};
use crate::snapshot::{Endpoint, Origin, Service, Snapshot};

/// The content type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape looks at.
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
    /// The drain has begun.
    pub draining: bool,
    /// When the process started.
    pub started: SystemTime,
    /// Now, for ejections.
    pub now: Tick,
}

/// The whole page.
pub fn render(sources: &Sources<'_>) -> String {
    let mut page = Page(String::with_capacity(4096));
    services(&mut page, sources);
    limits(&mut page, sources);
    tunnels(&mut page, sources);
    endpoints(&mut page, sources);
    dns(&mut page, sources);
    control(&mut page, sources);
    downstream(&mut page, sources);
    redirected(&mut page, sources);
    process(&mut page, sources);
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, metric: &Metric) {
        let _ = writeln!(self.0, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(self.0, "# TYPE {} {}", metric.name, metric.kind.as_str());
    }

    fn sample(&mut self, metric: &Metric, labels: &[&str], value: impl std::fmt::Display) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        self.0.push_str(metric.name);
        self.labels(metric.labels, labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    fn labels(&mut self, names: &[&str], values: &[&str], le: Option<&str>) {
        if names.is_empty() && le.is_none() {
            return;
        }
        self.0.push('{');
        let mut separator = "";
        for (name, value) in names.iter().copied().zip(values.iter().copied()).chain(le.map(|le| ("le", le)))
        {
            let _ = write!(self.0, "{separator}{name}=\"");
            // Names of services are checked when the mesh is read; this is for those of the future.
            for c in value.chars() {
                match c {
                    '"' | '\\' => self.0.extend(['\\', c]),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
            separator = ",";
        }
        self.0.push('}');
    }

    fn histogram(&mut self, metric: &Metric, labels: &[&str], total: &HistogramTotal) {
        let mut count = 0;
        for (at, observed) in total.buckets.iter().enumerate() {
            count += observed;
            let bound = match BOUNDS_MICROS.get(at) {
                Some(micros) => (*micros as f64 / 1e6).to_string(),
                None => "+Inf".to_owned(),
            };
            let _ = write!(self.0, "{}_bucket", metric.name);
            self.labels(metric.labels, labels, Some(&bound));
            let _ = writeln!(self.0, " {count}");
        }
        for (suffix, value) in [("sum", total.sum_nanos as f64 / 1e9), ("count", count as f64)] {
            let _ = write!(self.0, "{}_{suffix}", metric.name);
            self.labels(metric.labels, labels, None);
            let _ = writeln!(self.0, " {value}");
        }
    }

    fn one(&mut self, metric: &Metric, value: impl std::fmt::Display) {
        self.family(metric);
        self.sample(metric, &[], value);
    }
}

fn total<T: Default>(sets: &PerWorker<T>, histogram: impl Fn(&T) -> &Histogram) -> HistogramTotal {
    let mut total = HistogramTotal::default();
    sets.each(|set| histogram(set).add_to(&mut total));
    total
}

/// A service's counts by reason.
type ReasonCounts = fn(&Service) -> Vec<(&'static str, u64)>;
/// A level of an endpoint.
type Level = fn(&Endpoint) -> i64;

fn services(page: &mut Page, sources: &Sources<'_>) {
    let all = || sources.snapshot.services.iter().map(AsRef::as_ref);
    page.family(&m::REQUESTS);
    for service in all() {
        for class in Class::ALL {
            let count = service.shared.counters.sum(|c| c.requests[class as usize].get());
            if count > 0 || class == Class::Success {
                page.sample(&m::REQUESTS, &[&service.name, class.as_str("local")], count);
            }
        }
    }
    for class in Class::ALL {
        let count: u64 = sources.downstream.iter().map(|c| c.outside[class as usize].get()).sum();
        if count > 0 {
            page.sample(&m::REQUESTS, &["", class.as_str("local")], count);
        }
    }
    page.family(&m::REQUEST_DURATION);
    for service in all() {
        let total = total(&service.shared.counters, |c| &c.duration);
        page.histogram(&m::REQUEST_DURATION, &[&service.name], &total);
    }
    page.family(&m::LOCAL_RESPONSES);
    for service in all() {
        for (reason, count) in service.shared.local_responses.get() {
            page.sample(&m::LOCAL_RESPONSES, &[&service.name, reason], count);
        }
    }
    for (reason, count) in unrouted(sources) {
        page.sample(&m::LOCAL_RESPONSES, &["", reason], count);
    }
    let by_reason: [(&Metric, ReasonCounts); 3] = [
        (&m::ATTEMPT_FAILURES, |s| s.shared.attempt_failures.get()),
        (&m::RETRIES, |s| s.shared.retries.get()),
        (&m::RETRIES_REFUSED, |s| s.shared.retries_refused.get()),
    ];
    for (metric, counts) in by_reason {
        page.family(metric);
        for service in all() {
            for (reason, count) in counts(service) {
                page.sample(metric, &[&service.name, reason], count);
            }
        }
    }
    page.family(&m::BYPASSED);
    for service in all() {
        page.sample(&m::BYPASSED, &[&service.name], u8::from(service.bypassed));
    }
    page.family(&m::BROKEN_BODIES);
    for service in all() {
        let count = service.shared.counters.sum(|c| c.broken_bodies.get());
        page.sample(&m::BROKEN_BODIES, &[&service.name], count);
    }
}

/// What the proxy answered without a service, added up over the workers.
fn unrouted(sources: &Sources<'_>) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (reason, count) in sources.downstream.iter().flat_map(|counters| counters.unrouted.get()) {
        *sums.entry(reason).or_insert(0) += count;
    }
    sums
}

/// A count by reason, 0 when there has been none.
fn of(counts: &[(&'static str, u64)], reason: &str) -> u64 {
    counts.iter().find(|(counted, _)| *counted == reason).map_or(0, |(_, count)| *count)
}

/// Only services with limits are shown.
fn limits(page: &mut Page, sources: &Sources<'_>) {
    let all = || {
        let services = sources.snapshot.services.iter().map(|service| (&service.name, &service.shared));
        services.filter_map(|(name, shared)| shared.limiter.limits().map(|limits| (name, shared, limits)))
    };
    page.family(&m::LIMIT_IN_USE);
    for (service, shared, _) in all() {
        page.sample(&m::LIMIT_IN_USE, &[service, "requests"], shared.limiter.taken(Kind::Request));
        page.sample(&m::LIMIT_IN_USE, &[service, "connections"], shared.limiter.taken(Kind::Connection));
    }
    page.family(&m::LIMIT);
    for (service, _, limits) in all() {
        page.sample(&m::LIMIT, &[service, "requests"], limits.requests);
        page.sample(&m::LIMIT, &[service, "connections"], limits.connections);
        page.sample(&m::LIMIT, &[service, "pending"], limits.pending);
    }
    page.family(&m::WAITING);
    for (service, shared, _) in all() {
        page.sample(&m::WAITING, &[service, "request"], shared.limiter.waiting(Kind::Request));
        page.sample(&m::WAITING, &[service, "connection"], shared.limiter.waiting(Kind::Connection));
    }
    page.family(&m::SHED);
    for (service, shared, _) in all() {
        let counts = shared.limiter.shed.get();
        for reason in Shed::ALL.map(Shed::as_str) {
            page.sample(&m::SHED, &[service, reason], of(&counts, reason));
        }
    }
    page.family(&m::QUEUE_DURATION);
    for (service, shared, _) in all() {
        page.histogram(&m::QUEUE_DURATION, &[service], &total(&shared.counters, |c| &c.waited));
    }
}

/// One service's tunnels, added up over the workers.
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

/// Only services that have had a tunnel are shown: most never have one.
fn tunnels(page: &mut Page, sources: &Sources<'_>) {
    let mut outside = Tunnels::default();
    sources.downstream.iter().for_each(|counters| outside.add(&counters.outside_tunnels));
    let of_services = sources.snapshot.services.iter().map(|service| {
        let mut sum = Tunnels::default();
        service.shared.counters.each(|counters| sum.add(&counters.tunnels));
        (service.name.as_str(), sum)
    });
    let all: Vec<_> = of_services.chain([("", outside)]).filter(|(_, tunnels)| tunnels.any()).collect();
    page.family(&m::TUNNELS);
    for (service, tunnels) in &all {
        page.sample(&m::TUNNELS, &[service], tunnels.open);
    }
    page.family(&m::TUNNELS_ENDED);
    for (service, tunnels) in &all {
        for end in TunnelEnd::ALL {
            page.sample(&m::TUNNELS_ENDED, &[service, end.as_str()], tunnels.ended[end as usize]);
        }
    }
    page.family(&m::TUNNEL_BYTES);
    for (service, tunnels) in &all {
        page.sample(&m::TUNNEL_BYTES, &[service, "sent"], tunnels.sent);
        page.sample(&m::TUNNEL_BYTES, &[service, "received"], tunnels.received);
    }
}

fn endpoints(page: &mut Page, sources: &Sources<'_>) {
    // A label value each, made once for all families.
    let all: Vec<(&Service, &Endpoint, String)> = sources
        .snapshot
        .services
        .iter()
        .flat_map(|service| service.endpoints.iter().map(move |e| (&**service, e, e.shared.addr.to_string())))
        .collect();
    page.family(&m::ENDPOINT_ATTEMPTS);
    for (service, endpoint, addr) in &all {
        for class in Class::ALL {
            let count = endpoint.shared.counters.sum(|c| c.attempts[class as usize].get());
            if count > 0 || class == Class::Success {
                page.sample(&m::ENDPOINT_ATTEMPTS, &[&service.name, addr, class.as_str("failed")], count);
            }
        }
    }
    page.family(&m::ENDPOINT_DURATION);
    for (service, endpoint, addr) in &all {
        let total = total(&endpoint.shared.counters, |c| &c.duration);
        page.histogram(&m::ENDPOINT_DURATION, &[&service.name, addr], &total);
    }
    let gauges: [(&Metric, Level); 2] = [
        (&m::ENDPOINT_IN_FLIGHT, |e| gauge(e, |c| c.in_flight.get())),
        (&m::ENDPOINT_CONNECTIONS, |e| gauge(e, |c| c.connections.get())),
    ];
    for (metric, level) in gauges {
        page.family(metric);
        for (service, endpoint, addr) in &all {
            page.sample(metric, &[&service.name, addr], level(endpoint));
        }
    }
    page.family(&m::ENDPOINT_CONNECTS);
    for (service, endpoint, addr) in &all {
        let counters = &endpoint.shared.counters;
        let (ok, failed) = (counters.sum(|c| c.connects.get()), counters.sum(|c| c.connect_failures.get()));
        page.sample(&m::ENDPOINT_CONNECTS, &[&service.name, addr, "ok"], ok);
        page.sample(&m::ENDPOINT_CONNECTS, &[&service.name, addr, "failed"], failed);
    }
    page.family(&m::ENDPOINT_BYTES);
    for (service, endpoint, addr) in &all {
        let counters = &endpoint.shared.counters;
        page.sample(&m::ENDPOINT_BYTES, &[&service.name, addr, "sent"], counters.sum(|c| c.bytes_sent.get()));
        let received = counters.sum(|c| c.bytes_received.get());
        page.sample(&m::ENDPOINT_BYTES, &[&service.name, addr, "received"], received);
    }
    page.family(&m::ENDPOINT_EJECTED);
    for (service, endpoint, addr) in &all {
        let ejected = endpoint.shared.health.is_ejected(sources.now);
        page.sample(&m::ENDPOINT_EJECTED, &[&service.name, addr], u8::from(ejected));
    }
    page.family(&m::EJECTIONS);
    for (service, endpoint, addr) in &all {
        page.sample(&m::EJECTIONS, &[&service.name, addr], endpoint.shared.ejections.load(Relaxed));
    }
}

fn control(page: &mut Page, sources: &Sources<'_>) {
    let mut one = |metric: &Metric, value: &dyn Fn(&ControlStatus) -> Option<f64>| {
        page.family(metric);
        if let Some(value) = sources.control.and_then(value) {
            page.sample(metric, &[], value);
        }
    };
    one(&m::CONTROL_CONNECTED, &|control| Some(f64::from(u8::from(control.is_connected()))));
    one(&m::CONTROL_STREAMS, &|control| Some(control.streams.load(Relaxed) as f64));
    one(&m::CONTROL_PUSHES, &|control| Some(control.pushes.load(Relaxed) as f64));
    one(&m::CONTROL_REJECTED, &|control| Some(control.rejected.load(Relaxed) as f64));
    one(&m::CONTROL_REJECTED_NOW, &|control| Some(control.rejected_now() as f64));
    one(&m::CONTROL_LAST_PUSH, &ControlStatus::last_push_age);
}

fn dns(page: &mut Page, sources: &Sources<'_>) {
    let all = || {
        sources.snapshot.services.iter().filter_map(|service| match &service.origin {
            Origin::Dns(dns) => Some((&service.name, dns)),
            _ => None,
        })
    };
    page.family(&m::DNS_LOOKUPS);
    for (service, dns) in all() {
        for (result, count) in dns.lookups.get() {
            page.sample(&m::DNS_LOOKUPS, &[service, result], count);
        }
    }
    page.family(&m::DNS_LAST_GOOD);
    for (service, dns) in all() {
        if let Some(age) = dns.age_seconds(sources.now) {
            page.sample(&m::DNS_LAST_GOOD, &[service], age);
        }
    }
    page.family(&m::DNS_TROUBLE);
    for (service, dns) in all() {
        page.sample(&m::DNS_TROUBLE, &[service], u8::from(dns.trouble().is_some()));
    }
}

/// A gauge of an endpoint, added up over the workers.
fn gauge(endpoint: &Endpoint, level: impl Fn(&super::metrics::EndpointCounters) -> i64) -> i64 {
    let mut sum = 0;
    endpoint.shared.counters.each(|counters| sum += level(counters));
    sum
}

fn downstream(page: &mut Page, sources: &Sources<'_>) {
    let sum =
        |count: fn(&DownstreamCounters) -> u64| sources.downstream.iter().map(|c| count(c)).sum::<u64>();
    let open: i64 = sources.downstream.iter().map(|c| c.connections.get()).sum();
    page.one(&m::DOWNSTREAM_CONNECTIONS, open);
    page.family(&m::DOWNSTREAM_ACCEPTS);
    page.sample(&m::DOWNSTREAM_ACCEPTS, &["vip"], sum(|c| c.accepts_vip.get()));
    page.sample(&m::DOWNSTREAM_ACCEPTS, &["forward_proxy"], sum(|c| c.accepts_forward_proxy.get()));
    page.sample(&m::DOWNSTREAM_ACCEPTS, &["redirected"], sum(|c| c.accepts_redirected.get()));
    page.sample(&m::DOWNSTREAM_ACCEPTS, &["inbound"], sum(|c| c.accepts_inbound.get()));
    page.family(&m::DOWNSTREAM_REFUSED);
    let counts = sources.proxy.connections_refused.get();
    for reason in Full::ALL.map(Full::as_str) {
        page.sample(&m::DOWNSTREAM_REFUSED, &[reason], of(&counts, reason));
    }
    page.family(&m::DOWNSTREAM_ERRORS);
    page.sample(&m::DOWNSTREAM_ERRORS, &["protocol"], sum(|c| c.protocol_errors.get()));
    page.sample(&m::DOWNSTREAM_ERRORS, &["flood"], sum(|c| c.floods.get()));
    page.sample(&m::DOWNSTREAM_ERRORS, &["tls"], sum(|c| c.tls.get()));
    page.sample(&m::DOWNSTREAM_ERRORS, &["timeout"], sum(|c| c.timeouts.get()));
    page.sample(&m::DOWNSTREAM_ERRORS, &["broken"], sum(|c| c.broken.get()));
    page.sample(&m::DOWNSTREAM_ERRORS, &["panic"], sum(|c| c.panics.get()));
}

fn redirected(page: &mut Page, sources: &Sources<'_>) {
    let mut through = Tunnels::default();
    sources.downstream.iter().for_each(|counters| through.add(&counters.passthrough));
    page.one(&m::PASSTHROUGH, through.open);
    page.family(&m::PASSTHROUGH_ENDED);
    // They have no idle timeout.
    for end in TunnelEnd::ALL.into_iter().filter(|end| *end != TunnelEnd::Idle) {
        page.sample(&m::PASSTHROUGH_ENDED, &[end.as_str()], through.ended[end as usize]);
    }
    page.family(&m::PASSTHROUGH_BYTES);
    page.sample(&m::PASSTHROUGH_BYTES, &["sent"], through.sent);
    page.sample(&m::PASSTHROUGH_BYTES, &["received"], through.received);
    page.family(&m::REDIRECT_REFUSED);
    for reason in RedirectRefused::ALL.map(RedirectRefused::as_str) {
        let count: u64 = sources.downstream.iter().map(|c| of(&c.redirect_refused.get(), reason)).sum();
        page.sample(&m::REDIRECT_REFUSED, &[reason], count);
    }
}

fn process(page: &mut Page, sources: &Sources<'_>) {
    page.one(&m::MESH_GENERATION, sources.snapshot.generation);
    page.family(&m::MESH_RELOADS);
    page.sample(&m::MESH_RELOADS, &["applied"], sources.proxy.reloads_applied.load(Relaxed));
    page.sample(&m::MESH_RELOADS, &["refused"], sources.proxy.reloads_refused.load(Relaxed));
    page.one(&m::MESH_REFUSED, sources.proxy.mesh_refused.load(Relaxed));
    page.one(&m::DRAINING, u8::from(sources.draining));
    let started = sources.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.one(&m::START_TIME, started.as_secs_f64());
    if let Some(usage) = Usage::read() {
        page.one(&m::RESIDENT, usage.resident_bytes);
        page.one(&m::CPU, usage.cpu.as_secs_f64());
        page.one(&m::OPEN_FDS, usage.open_fds);
    }
    page.family(&m::BUILD_INFO);
    page.sample(&m::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
}

/// What the kernel says of this process.
struct Usage {
    resident_bytes: u64,
    cpu: Duration,
    open_fds: usize,
}

impl Usage {
    fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name may hold spaces and brackets: fields are counted from behind its closing bracket.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Usage {
            resident_bytes: kilobytes * 1024,
            // USER_HZ, which is 100 on every Linux that Rust runs on.
            cpu: Duration::from_millis(ticks * 10),
            open_fds: std::fs::read_dir("/proc/self/fd").ok()?.count(),
        })
    }
}
