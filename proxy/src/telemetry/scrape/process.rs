//! What is counted once: the downstream side, the control plane, the export, the process.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, UNIX_EPOCH};

use bowline_otlp::Dropped;

use super::{Sink, Sources, Tunnels, of, one, whole};
use crate::descriptors::Full;
use crate::telemetry::catalogue::{self as m, Metric};
use crate::telemetry::control::ControlStatus;
use crate::telemetry::metrics::{DownstreamCounters, RedirectRefused, TunnelEnd};

pub(super) fn control(sources: &Sources<'_>, sink: &mut impl Sink) {
    let mut count = |metric: &'static Metric, value: fn(&ControlStatus) -> i64| {
        sink.family(metric);
        if let Some(control) = sources.control {
            sink.int(&[], value(control));
        }
    };
    count(&m::CONTROL_CONNECTED, |control| control.is_connected().into());
    count(&m::CONTROL_STREAMS, |control| whole(control.streams.load(Relaxed)));
    count(&m::CONTROL_PUSHES, |control| whole(control.pushes.load(Relaxed)));
    count(&m::CONTROL_REJECTED, |control| whole(control.rejected.load(Relaxed)));
    count(&m::CONTROL_REJECTED_NOW, |control| whole(control.rejected_now() as u64));
    sink.family(&m::CONTROL_LAST_PUSH);
    if let Some(age) = sources.control.and_then(ControlStatus::last_push_age) {
        sink.float(&[], age);
    }
}

pub(super) fn downstream(sources: &Sources<'_>, sink: &mut impl Sink) {
    let sum = |count: fn(&DownstreamCounters) -> u64| {
        whole(sources.downstream.iter().map(|c| count(c)).sum::<u64>())
    };
    let open: i64 = sources.downstream.iter().map(|c| c.connections.get()).sum();
    one(sink, &m::DOWNSTREAM_CONNECTIONS, open);
    sink.family(&m::DOWNSTREAM_ACCEPTS);
    sink.int(&["vip"], sum(|c| c.accepts_vip.get()));
    sink.int(&["forward_proxy"], sum(|c| c.accepts_forward_proxy.get()));
    sink.int(&["redirected"], sum(|c| c.accepts_redirected.get()));
    sink.int(&["inbound"], sum(|c| c.accepts_inbound.get()));
    sink.int(&["ingress"], sum(|c| c.accepts_ingress.get()));
    sink.family(&m::DOWNSTREAM_REFUSED);
    let counts = sources.proxy.connections_refused.get();
    for reason in Full::ALL.map(Full::as_str) {
        sink.int(&[reason], of(&counts, reason));
    }
    sink.family(&m::DOWNSTREAM_ERRORS);
    sink.int(&["protocol"], sum(|c| c.protocol_errors.get()));
    sink.int(&["flood"], sum(|c| c.floods.get()));
    sink.int(&["tls"], sum(|c| c.tls.get()));
    sink.int(&["timeout"], sum(|c| c.timeouts.get()));
    sink.int(&["broken"], sum(|c| c.broken.get()));
    sink.int(&["panic"], sum(|c| c.panics.get()));
}

pub(super) fn redirected(sources: &Sources<'_>, sink: &mut impl Sink) {
    let mut through = Tunnels::default();
    sources.downstream.iter().for_each(|counters| through.add(&counters.passthrough));
    one(sink, &m::PASSTHROUGH, through.open);
    sink.family(&m::PASSTHROUGH_ENDED);
    // They have no idle timeout.
    for end in TunnelEnd::ALL.into_iter().filter(|end| *end != TunnelEnd::Idle) {
        sink.int(&[end.as_str()], whole(through.ended[end as usize]));
    }
    sink.family(&m::PASSTHROUGH_BYTES);
    sink.int(&["sent"], whole(through.sent));
    sink.int(&["received"], whole(through.received));
    sink.family(&m::REDIRECT_REFUSED);
    for reason in RedirectRefused::ALL.map(RedirectRefused::as_str) {
        sink.int(&[reason], sources.downstream.iter().map(|c| of(&c.redirect_refused.get(), reason)).sum());
    }
}

/// Those who look at requests one by one, and what is exported.
pub(super) fn observers(sources: &Sources<'_>, sink: &mut impl Sink) {
    sink.family(&m::SPANS_EXPORTED);
    if let Some(spans) = sources.spans {
        sink.int(&[], whole(spans.exported()));
    }
    sink.family(&m::SPANS_DROPPED);
    if let Some(spans) = sources.spans {
        for why in Dropped::ALL {
            sink.int(&[why.as_str()], whole(spans.dropped(why)));
        }
    }
    sink.family(&m::SPANS_QUEUED);
    if let Some(spans) = sources.spans {
        sink.int(&[], whole(spans.queued()));
    }
    sink.family(&m::POINTS_EXPORTED);
    if let Some(points) = sources.points {
        sink.int(&[], whole(points.exported()));
    }
    sink.family(&m::POINTS_DROPPED);
    if let Some(points) = sources.points {
        for why in [Dropped::Refused, Dropped::Failed] {
            sink.int(&[why.as_str()], whole(points.dropped(why)));
        }
    }
    let signals = || [("traces", sources.spans), ("metrics", sources.points)];
    sink.family(&m::OTLP_REQUESTS);
    for (signal, counts) in signals() {
        if let Some(counts) = counts {
            sink.int(&[signal], whole(counts.requests()));
        }
    }
    sink.family(&m::OTLP_FAILURES);
    for (signal, counts) in signals() {
        if let Some(counts) = counts {
            sink.int(&[signal], whole(counts.failures()));
        }
    }
    one(sink, &m::RECORDS_DROPPED, whole(sources.records_dropped));
    one(sink, &m::ACCESS_LOG_DROPPED, whole(sources.proxy.access_log_dropped.load(Relaxed)));
}

pub(super) fn process(sources: &Sources<'_>, sink: &mut impl Sink) {
    one(sink, &m::MESH_GENERATION, whole(sources.snapshot.generation));
    sink.family(&m::MESH_RELOADS);
    sink.int(&["applied"], whole(sources.proxy.reloads_applied.load(Relaxed)));
    sink.int(&["refused"], whole(sources.proxy.reloads_refused.load(Relaxed)));
    one(sink, &m::MESH_REFUSED, whole(sources.proxy.mesh_refused.load(Relaxed)));
    one(sink, &m::DRAINING, sources.draining.into());
    let started = sources.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    sink.family(&m::START_TIME);
    sink.float(&[], started.as_secs_f64());
    let usage = Usage::read();
    sink.family(&m::RESIDENT);
    if let Some(usage) = &usage {
        sink.int(&[], whole(usage.resident_bytes));
    }
    sink.family(&m::CPU);
    if let Some(usage) = &usage {
        sink.float(&[], usage.cpu.as_secs_f64());
    }
    sink.family(&m::OPEN_FDS);
    if let Some(usage) = &usage {
        sink.int(&[], whole(usage.open_fds as u64));
    }
    sink.family(&m::BUILD_INFO);
    sink.int(&[env!("CARGO_PKG_VERSION")], 1);
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
