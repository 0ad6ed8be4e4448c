//! A mesh in words: what clients dial, where it goes, and what holds on the way, defaults included.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use bowline_api::mesh_file::Loaded;
use bowline_api::model::{AppProtocol, AttemptTimeout, BalancingPolicy, Endpoints, RetryConditions, Seconds};
use bowline_api::{Mesh, Service};
use bowline_look::style::Style;
use bowline_look::words::count;

/// How much there is.
pub(super) struct Counts {
    pub(super) services: usize,
    pub(super) aliases: usize,
    pub(super) endpoints: usize,
}

impl Counts {
    pub(super) fn of(mesh: &Mesh) -> Self {
        Self {
            services: mesh.services.len(),
            aliases: mesh.services.iter().map(|s| s.client_aliases.len()).sum(),
            endpoints: mesh.services.iter().map(|s| s.endpoints.static_endpoints().len()).sum(),
        }
    }
}

/// Writes the mesh, a paragraph for each service.
pub(super) fn write(loaded: &Loaded, style: Style, out: &mut impl Write) -> io::Result<()> {
    let mesh = &loaded.mesh;
    let counts = Counts::of(mesh);
    writeln!(
        out,
        "{}: {}, {}, {} in namespace {} ({})",
        style.good("valid"),
        count(counts.services, "service", "services"),
        count(counts.aliases, "alias", "aliases"),
        count(counts.endpoints, "endpoint", "endpoints"),
        style.strong(&mesh.namespace),
        count(loaded.files.len(), "file", "files"),
    )?;
    for service in &mesh.services {
        let protocol = service.app_protocol.map_or("detected", AppProtocol::as_str);
        writeln!(out, "\n{}  {}", style.strong(&service.discovery_name), style.faint(protocol))?;
        for (what, words) in rows(service) {
            writeln!(out, "  {}  {words}", style.faint(format!("{what:<9}")))?;
        }
    }
    Ok(())
}

fn rows(service: &Service) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("dialled", dialled(service)),
        ("endpoints", endpoints(service)),
        ("timeouts", timeouts(service)),
        ("retries", retries(service)),
        ("balancing", balancing(service)),
        ("ejection", ejection(service)),
    ];
    if let Some(vip) = service.vip {
        rows.insert(1, ("vip", format!("{vip}, pinned")));
    }
    rows
}

fn dialled(service: &Service) -> String {
    if service.client_aliases.is_empty() {
        return "by nobody: it has no clientAliases".to_owned();
    }
    let names: Vec<String> =
        service.client_aliases.iter().map(|alias| format!("{}:{}", alias.dns_name, alias.port)).collect();
    names.join(", ")
}

fn endpoints(service: &Service) -> String {
    let list = match &service.endpoints {
        Endpoints::Static(list) => list,
        Endpoints::Dns(dns) => return format!("from DNS, {}", dns.name),
        Endpoints::CloudMap(_) => return "from Cloud Map".to_owned(),
        Endpoints::Registered(_) => return "registered by their proxies".to_owned(),
    };
    if list.is_empty() {
        return "none: every request gets a 503".to_owned();
    }
    let mut words = vec![format!("{} static", list.len())];
    let zones: BTreeSet<&str> = list.iter().filter_map(|e| e.zone.as_deref()).collect();
    if !zones.is_empty() {
        // A zone is any text, and a terminal would obey what is in it.
        let zones: Vec<String> = zones.into_iter().map(|zone| zone.escape_debug().to_string()).collect();
        words.push(format!("zones {}", zones.join(" ")));
    }
    let drained = list.iter().filter(|e| e.weight == 0).count();
    if drained > 0 {
        words.push(format!("{drained} of weight 0, without new traffic"));
    }
    words.join(", ")
}

fn timeouts(service: &Service) -> String {
    // What is not declared is detected, and is HTTP more often than not.
    let spoken = service.app_protocol.unwrap_or(AppProtocol::Http);
    let mut words = vec![match service.response_headers_timeout(spoken) {
        Some(limit)
            if service.app_protocol.is_none() && service.timeout.response_headers_seconds.is_none() =>
        {
            format!("{} to response headers (gRPC: its own grpc-timeout)", time(limit))
        }
        Some(limit) => format!("{} to response headers", time(limit)),
        None if spoken == AppProtocol::Grpc => {
            "none to response headers but the call's grpc-timeout".to_owned()
        }
        None => "none to response headers".to_owned(),
    }];
    if let Some(limit) = service.request_timeout() {
        words.push(format!("{} for the whole response", time(limit)));
    }
    words.push(match service.timeout.per_attempt_seconds {
        AttemptTimeout::Auto => "attempts by recent latency".to_owned(),
        AttemptTimeout::Fixed(seconds) => match seconds.limit() {
            Some(limit) => format!("{} per attempt", time(limit)),
            None => "no bound per attempt".to_owned(),
        },
    });
    words.push(format!("{} to connect", time(service.timeout.connect())));
    words.push(match service.idle_timeout(spoken) {
        Some(limit) => format!("{} idle", time(limit)),
        None => "idle for ever".to_owned(),
    });
    words.join(", ")
}

fn retries(service: &Service) -> String {
    let retry = &service.retry;
    if retry.retries == 0 {
        return "off".to_owned();
    }
    let spoken = service.app_protocol.unwrap_or(AppProtocol::Http);
    let (idempotent, other) =
        (service.retry_conditions(spoken, true), service.retry_conditions(spoken, false));
    let on = if idempotent == other {
        format!("every method on {}", conditions(&other))
    } else {
        format!("GET and the like on {}; POST and PATCH on {}", conditions(&idempotent), conditions(&other))
    };
    format!(
        "up to {}; {on}; at most {} % of requests + {}/s; bodies to {} B; {} to {} ms apart",
        retry.retries,
        retry.budget.percent,
        retry.budget.min_per_second,
        retry.max_body_bytes,
        retry.backoff.base_milliseconds,
        retry.backoff.max_milliseconds,
    )
}

fn conditions(conditions: &RetryConditions) -> String {
    let words = [
        (conditions.connect_failure, "connectFailure"),
        (conditions.refused_stream, "refusedStream"),
        (conditions.reset, "reset"),
        (conditions.timeout, "timeout"),
        (conditions.unavailable, "unavailable"),
    ];
    let mut words: Vec<String> =
        words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()).collect();
    words.extend(conditions.statuses.iter().map(u16::to_string));
    words.join(", ")
}

fn balancing(service: &Service) -> String {
    let policy = match service.load_balancing.policy {
        BalancingPolicy::PeakEwma => "peakEwma: the faster and less busy of two at random",
        BalancingPolicy::LeastRequest => "leastRequest: the less busy of two at random",
        BalancingPolicy::RoundRobin => "roundRobin: one after the other",
        BalancingPolicy::Random => "random",
        BalancingPolicy::RingHash => "ringHash: the same endpoint for the same hash",
        BalancingPolicy::Maglev => "maglev: the same endpoint for the same hash",
    };
    match service.load_balancing.panic_percent {
        0 => policy.to_owned(),
        percent => format!("{policy}; all endpoints when fewer than {percent} % are left"),
    }
}

fn ejection(service: &Service) -> String {
    let outlier = &service.outlier_detection;
    if !outlier.is_on() {
        return "off".to_owned();
    }
    format!(
        "after {} in a row, for {} × n up to {}, at most {} % of endpoints, never the last",
        count(outlier.consecutive_failures as usize, "failure", "failures"),
        outlier.base_ejection_seconds,
        outlier.max_ejection_seconds,
        outlier.max_ejection_percent,
    )
}

fn time(duration: Duration) -> Seconds {
    Seconds::from_duration(duration)
}
