//! What the control plane counts, and the text in which Prometheus reads it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use bowline_xds::kind::ClientKind;
use bowline_xds::resource::ResourceType;

use super::zone::ZoneMetrics;

/// Upper bounds of the buckets of `bowline_control_ack_seconds`.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const KINDS: usize = ClientKind::ALL.len();
const TYPES: usize = ResourceType::ALL.len();

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    clients: [AtomicI64; KINDS],
    refused_clients: AtomicU64,
    pushes: [[AtomicU64; TYPES]; KINDS],
    nacks: [[AtomicU64; TYPES]; KINDS],
    cut: AtomicU64,
    revision: AtomicU64,
    ack_buckets: [AtomicU64; BOUNDS.len() + 1],
    ack_micros: AtomicU64,
    changes: AtomicU64,
    reloads_applied: AtomicU64,
    reloads_refused: AtomicU64,
    /// Of the zone that is kept.
    pub zone: ZoneMetrics,
}

/// What is true at the moment of a scrape and kept elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// Services in the mesh.
    pub services: usize,
    /// Endpoints by source.
    pub endpoints: Vec<(&'static str, usize)>,
    /// Services that keep endpoints until somebody confirms that they are gone.
    pub held: usize,
    /// Sources that can't look, with for how many seconds.
    pub troubles: Vec<(String, f64)>,
    /// Seconds since the process started.
    pub uptime: f64,
}

/// Each metric with its kind and its meaning: what `# HELP` says, and the reference page.
pub const CATALOGUE: [(&str, &str, &str); 19] = [
    ("bowline_control_clients", "gauge", "Clients connected, by kind."),
    (
        "bowline_control_clients_refused_total",
        "counter",
        "Clients turned away: no token, another namespace, too many.",
    ),
    (
        "bowline_control_clients_cut_total",
        "counter",
        "Clients cut off because they did not read, or did not keep to the protocol.",
    ),
    ("bowline_control_pushes_total", "counter", "Responses sent, by kind of client and type of resource."),
    (
        "bowline_control_nacks_total",
        "counter",
        "Responses that a client refused, by kind of client and type of resource.",
    ),
    (
        "bowline_control_ack_seconds",
        "histogram",
        "From the publication of a revision to a client's acknowledgement.",
    ),
    ("bowline_control_revision", "gauge", "The number of what was published last."),
    (
        "bowline_control_changes_total",
        "counter",
        "Changes that sources have reported, before they are gathered into pushes.",
    ),
    ("bowline_control_mesh_reloads_total", "counter", "Times the mesh file was read anew, by result."),
    ("bowline_control_services", "gauge", "Services in the mesh."),
    ("bowline_control_endpoints", "gauge", "Endpoints, by the source that they come from."),
    (
        "bowline_control_held_services",
        "gauge",
        "Services that keep their last endpoints until somebody confirms that they are gone.",
    ),
    (
        "bowline_control_source_error_seconds",
        "gauge",
        "For how long a source has not been able to look; absent while it can.",
    ),
    (
        "bowline_control_zone_names",
        "gauge",
        "Names by how they are in the zone that is kept: `published`, `pending`, `taken` (somebody else has a record there), `outside` \
         of the zone, `leaving` (not in the mesh any more, and taken out soon). Absent without a zone, as are the next ones.",
    ),
    (
        "bowline_control_zone_changes_total",
        "counter",
        "Names whose records were created, replaced because they were not right, or deleted, by action.",
    ),
    (
        "bowline_control_zone_disturbed_total",
        "counter",
        "Names whose records somebody else has changed; they are put right, unless they are somebody else's now.",
    ),
    (
        "bowline_control_zone_requests_total",
        "counter",
        "Requests to Route 53, by call and result; `throttled` ones are made again later.",
    ),
    ("bowline_control_uptime_seconds", "gauge", "Seconds since the process started."),
    ("bowline_control_build_info", "gauge", "Always 1; the version is in a label."),
];

impl Metrics {
    /// A client has come.
    pub fn client_joined(&self, kind: ClientKind) {
        self.clients[kind as usize].fetch_add(1, Relaxed);
    }

    /// A client has gone.
    pub fn client_left(&self, kind: ClientKind) {
        self.clients[kind as usize].fetch_sub(1, Relaxed);
    }

    /// A client was turned away.
    pub fn client_refused(&self) {
        self.refused_clients.fetch_add(1, Relaxed);
    }

    /// A client was cut off.
    pub fn client_cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    /// A response was sent.
    pub fn pushed(&self, kind: ClientKind, of: ResourceType) {
        self.pushes[kind as usize][of as usize].fetch_add(1, Relaxed);
    }

    /// A response was refused.
    pub fn nacked(&self, kind: ClientKind, of: ResourceType) {
        self.nacks[kind as usize][of as usize].fetch_add(1, Relaxed);
    }

    /// A revision was published.
    pub fn revision(&self, revision: u64) {
        self.revision.fetch_max(revision, Relaxed);
    }

    /// A revision was acknowledged after so many seconds.
    pub fn acknowledged(&self, seconds: f64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.ack_buckets[bucket].fetch_add(1, Relaxed);
        self.ack_micros.fetch_add((seconds * 1e6) as u64, Relaxed);
    }

    /// A source has reported a change.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    /// The mesh file was read anew.
    pub fn reloaded(&self, applied: bool) {
        if applied { &self.reloads_applied } else { &self.reloads_refused }.fetch_add(1, Relaxed);
    }

    /// The page.
    pub fn render(&self, now: &Now) -> String {
        let mut page = String::with_capacity(4096);
        for (name, kind, help) in CATALOGUE {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            self.samples(name, now, &mut page);
        }
        page
    }

    fn samples(&self, name: &str, now: &Now, page: &mut String) {
        let mut line = |labels: &str, value: f64| {
            let _ = writeln!(page, "{name}{labels} {value}");
        };
        let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        let table = |counts: &[[AtomicU64; TYPES]; KINDS]| {
            let mut rows = Vec::new();
            for (kind, counts) in ClientKind::ALL.iter().zip(counts) {
                for (of, value) in ResourceType::ALL.iter().zip(counts) {
                    rows.push((
                        format!("{{kind=\"{}\",type=\"{}\"}}", kind.as_str(), of.as_str()),
                        count(value),
                    ));
                }
            }
            rows
        };
        match name {
            "bowline_control_clients" => {
                for (kind, value) in ClientKind::ALL.iter().zip(&self.clients) {
                    line(&format!("{{kind=\"{}\"}}", kind.as_str()), value.load(Relaxed) as f64);
                }
            }
            "bowline_control_clients_refused_total" => line("", count(&self.refused_clients)),
            "bowline_control_clients_cut_total" => line("", count(&self.cut)),
            "bowline_control_pushes_total" => {
                table(&self.pushes).iter().for_each(|(labels, value)| line(labels, *value));
            }
            "bowline_control_nacks_total" => {
                table(&self.nacks).iter().for_each(|(labels, value)| line(labels, *value));
            }
            "bowline_control_ack_seconds" => self.ack_histogram(page),
            "bowline_control_revision" => line("", count(&self.revision)),
            "bowline_control_changes_total" => line("", count(&self.changes)),
            "bowline_control_mesh_reloads_total" => {
                line("{result=\"applied\"}", count(&self.reloads_applied));
                line("{result=\"refused\"}", count(&self.reloads_refused));
            }
            "bowline_control_services" => line("", now.services as f64),
            "bowline_control_endpoints" => {
                now.endpoints
                    .iter()
                    .for_each(|(source, n)| line(&format!("{{source=\"{source}\"}}"), *n as f64));
            }
            "bowline_control_held_services" => line("", now.held as f64),
            "bowline_control_source_error_seconds" => {
                now.troubles.iter().for_each(|(source, s)| line(&format!("{{source=\"{source}\"}}"), *s));
            }
            zone if zone.starts_with("bowline_control_zone_") => self.zone.samples(zone, page),
            "bowline_control_uptime_seconds" => line("", now.uptime),
            "bowline_control_build_info" => {
                line(&format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
            }
            _ => unreachable!("{name} is in the catalogue and nowhere else"),
        }
    }

    fn ack_histogram(&self, page: &mut String) {
        let name = "bowline_control_ack_seconds";
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().map(f64::to_string).chain(["+Inf".into()]).zip(&self.ack_buckets)
        {
            below += bucket.load(Relaxed);
            let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(page, "{name}_sum {}", self.ack_micros.load(Relaxed) as f64 / 1e6);
        let _ = writeln!(page, "{name}_count {below}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_help_and_buckets_add_up() {
        let metrics = Metrics::default();
        metrics.acknowledged(0.003);
        metrics.acknowledged(60.0);
        metrics.pushed(ClientKind::Envoy, ResourceType::Endpoint);
        let page = metrics.render(&Now { endpoints: vec![("dns", 3)], ..Now::default() });
        for (name, ..) in CATALOGUE {
            assert!(page.contains(&format!("# HELP {name} ")), "{name}");
        }
        assert!(page.contains("bowline_control_ack_seconds_bucket{le=\"0.0025\"} 0\n"), "{page}");
        assert!(page.contains("bowline_control_ack_seconds_bucket{le=\"0.005\"} 1\n"));
        assert!(page.contains("bowline_control_ack_seconds_bucket{le=\"+Inf\"} 2\n"));
        assert!(page.contains("bowline_control_endpoints{source=\"dns\"} 3\n"));
    }
}
