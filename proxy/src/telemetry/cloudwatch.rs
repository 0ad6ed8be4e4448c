//! Metrics for Amazon CloudWatch, as lines of its embedded metric format on stdout: CloudWatch Logs takes the metrics out
//! of them. Names and dimensions are those of Service Connect, so that an alarm that exists needs another namespace
//! and nothing else.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::every::Repeated;
use super::metrics::{BOUNDS_MICROS, Class, HistogramTotal};
use super::push::Look;
use super::scrape::Sources;
use crate::snapshot::Service;

/// What lines are about.
#[derive(Clone, Debug)]
pub struct Settings {
    /// CloudWatch's namespace; none that begins with `AWS/`, which is Amazon's own.
    pub namespace: String,
    /// The service and cluster of ECS, where they are known.
    pub place: Option<(String, String)>,
    /// What the app's ports are registered as.
    pub registered: BTreeMap<u16, String>,
}

/// Makes the lines: what has happened since the last ones.
#[derive(Debug)]
pub struct CloudWatch {
    settings: Settings,
    before: BTreeMap<String, Counts>,
}

/// What is known of one service.
#[derive(Clone, Debug, Default)]
struct Counts {
    requests: [u64; Class::COUNT],
    grpc: u64,
    duration: HistogramTotal,
    connects: u64,
    bytes: u64,
    /// Not a count: as it is now.
    connections: i64,
    /// Endpoints that have had requests.
    targets: Vec<(std::net::SocketAddr, u64)>,
}

impl Counts {
    fn of(service: &Service) -> Self {
        let mut counts = Counts::default();
        service.shared.counters.each(|c| {
            counts.requests.iter_mut().zip(&c.requests).for_each(|(sum, count)| *sum += count.get());
            counts.grpc += c.grpc_requests.get();
            c.duration.add_to(&mut counts.duration);
        });
        for endpoint in service.all_endpoints() {
            let mut attempts = 0;
            endpoint.shared.counters.each(|c| {
                counts.connects += c.connects.get();
                counts.bytes += c.bytes_sent.get() + c.bytes_received.get();
                counts.connections += c.connections.get();
                attempts += c.attempts_so_far();
            });
            counts.targets.push((endpoint.shared.addr, attempts));
        }
        counts
    }

    fn total(&self) -> u64 {
        self.requests.iter().sum()
    }
}

/// Endpoints can leave with what they have counted: less than before is nothing.
fn since(now: u64, before: u64) -> u64 {
    now.saturating_sub(before)
}

impl CloudWatch {
    /// Nothing has happened yet.
    pub fn new(settings: Settings) -> Self {
        CloudWatch { settings, before: BTreeMap::new() }
    }

    /// Begins to write lines to stdout.
    pub fn start(settings: Settings, every: Duration, look: Look) -> Repeated {
        Repeated::start(every, |mut turns| async move {
            let mut lines = CloudWatch::new(settings);
            while turns.next().await {
                let mut text = String::new();
                look(&mut |sources| text = lines.lines(sources, SystemTime::now()));
                // Whoever reads stdout may take their time, and nothing else is to wait for them.
                let written = tokio::task::spawn_blocking(move || {
                    let mut stdout = std::io::stdout().lock();
                    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
                });
                if !matches!(written.await, Ok(Ok(()))) {
                    return;
                }
            }
        })
    }

    /// A line for each service that has had something to do since the last time.
    pub fn lines(&mut self, sources: &Sources<'_>, at: SystemTime) -> String {
        let millis = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let before = std::mem::take(&mut self.before);
        let (mut text, nothing) = (String::new(), Counts::default());
        for service in &sources.snapshot.services {
            let now = Counts::of(service);
            let then = before.get(&service.name).unwrap_or(&nothing);
            if now.total() > then.total() || now.connections > 0 || now.bytes > then.bytes {
                text.push_str(&self.line(&service.name, &now, then, millis).to_string());
                text.push('\n');
            }
            self.before.insert(service.name.clone(), now);
        }
        text
    }

    fn line(&self, name: &str, now: &Counts, then: &Counts, millis: u64) -> Value {
        let port = name.strip_prefix("inbound:").and_then(|port| port.parse::<u16>().ok());
        let (dimension, name) = match port {
            // Callers of the app: what it is registered as.
            Some(port) => ("DiscoveryName", self.settings.registered.get(&port).map_or(name, String::as_str)),
            None => ("TargetDiscoveryName", name),
        };
        let mut line = Map::new();
        let mut dimensions = vec![vec![dimension]];
        line.insert(dimension.to_owned(), name.into());
        if let Some((service, cluster)) = &self.settings.place {
            dimensions.push(vec![dimension, "ServiceName", "ClusterName"]);
            line.insert("ServiceName".to_owned(), service.as_str().into());
            line.insert("ClusterName".to_owned(), cluster.as_str().into());
        }
        let mut metrics = Vec::new();
        let mut add = |name: &str, unit: &str, value: Value| {
            metrics.push(json!({ "Name": name, "Unit": unit }));
            line.insert(name.to_owned(), value);
        };
        let requests = since(now.total(), then.total());
        add("RequestCount", "Count", requests.into());
        let grpc = since(now.grpc, then.grpc);
        if grpc > 0 {
            add("GrpcRequestCount", "Count", grpc.into());
        }
        add("ActiveConnectionCount", "Count", now.connections.into());
        add("NewConnectionCount", "Count", since(now.connects, then.connects).into());
        let bytes = since(now.bytes, then.bytes);
        add(if port.is_some() { "ProcessedBytes" } else { "TargetProcessedBytes" }, "Bytes", bytes.into());
        if port.is_none() {
            let classes = [
                ("HTTPCode_Target_2XX_Count", Class::Success),
                ("HTTPCode_Target_3XX_Count", Class::Redirect),
                ("HTTPCode_Target_4XX_Count", Class::ClientError),
                ("HTTPCode_Target_5XX_Count", Class::ServerError),
            ];
            for (name, class) in classes {
                let count = since(now.requests[class as usize], then.requests[class as usize]);
                add(name, "Count", count.into());
            }
            let targets: Vec<u64> = now
                .targets
                .iter()
                .map(|(addr, count)| {
                    let known = then.targets.iter().find(|(known, _)| known == addr);
                    since(*count, known.map_or(0, |(_, count)| *count))
                })
                .filter(|count| *count > 0)
                .collect();
            if !targets.is_empty() {
                let mean = targets.iter().sum::<u64>() as f64 / targets.len() as f64;
                add("RequestCountPerTarget", "Count", mean.into());
            }
            if let Some(times) = times(&now.duration, &then.duration) {
                add("TargetResponseTime", "Milliseconds", times);
            }
        }
        let about = json!({
            "Timestamp": millis,
            "CloudWatchMetrics": [{
                "Namespace": self.settings.namespace,
                "Dimensions": dimensions,
                "Metrics": metrics,
            }],
        });
        line.insert("_aws".to_owned(), about);
        Value::Object(line)
    }
}

/// Latencies in milliseconds: the middle of each bucket with how many are in it. Count and sum are exact.
fn times(now: &HistogramTotal, then: &HistogramTotal) -> Option<Value> {
    let (mut values, mut counts) = (Vec::new(), Vec::new());
    for (at, (now, then)) in now.buckets.iter().zip(&then.buckets).enumerate() {
        let count = since(*now, *then);
        if count > 0 {
            let below = at.checked_sub(1).map_or(0, |below| BOUNDS_MICROS[below]);
            let above = BOUNDS_MICROS.get(at).copied().unwrap_or(below);
            values.push((below + above) as f64 / 2e3);
            counts.push(count);
        }
    }
    let sum = since(now.sum_nanos, then.sum_nanos) as f64 / 1e6;
    let (min, max) = (*values.first()?, *values.last()?);
    let count: u64 = counts.iter().sum();
    Some(json!({ "Values": values, "Counts": counts, "Min": min, "Max": max, "Count": count, "Sum": sum }))
}

#[cfg(test)]
mod tests;
