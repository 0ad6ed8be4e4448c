//! What has happened between two looks.

use super::latency::Latency;
use super::scrape::{Calls, Endpoint, Scrape, Service};

/// One interval, or all since the proxy's start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// How long it was, in seconds.
    pub(super) seconds: f64,
    /// It is all since the proxy's start.
    pub(super) since_start: bool,
    /// The mesh in force.
    pub(super) generation: f64,
    /// Open connections from the app.
    pub(super) connections: f64,
    /// CPU of the process, in percent of one core.
    pub(super) cpu_percent: f64,
    /// Its resident memory, in bytes.
    pub(super) resident_bytes: f64,
    /// Its services, by name.
    pub(super) services: Vec<Row>,
}

/// A service or an endpoint in an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// The service's name, or the endpoint's address.
    pub(super) name: String,
    /// Requests (attempts) a second.
    pub(super) rate: f64,
    /// The share of them that went well, in percent; `None`: there was none.
    pub(super) success: Option<f64>,
    /// The latency that half of them did not exceed.
    pub(super) p50: Option<Latency>,
    /// Nor 95 %.
    pub(super) p95: Option<Latency>,
    /// Nor 99 %.
    pub(super) p99: Option<Latency>,
    /// Under way now.
    pub(super) in_flight: f64,
    /// Repetitions a second.
    pub(super) retries: f64,
    /// Turned away by limits, a second.
    pub(super) shed: f64,
    /// How many of its endpoints are ejected; of an endpoint, 1 or 0.
    pub(super) ejected: usize,
    /// Its endpoints, by address.
    pub(super) endpoints: Vec<Row>,
}

impl Frame {
    /// What has happened in so many seconds between two looks. After a restart of the proxy that is all there is.
    pub(super) fn between(before: &Scrape, after: &Scrape, seconds: f64) -> Self {
        let none = Scrape::default();
        // The same process has the same start to the last digit.
        let restarted = before.process.started != after.process.started;
        let before = if restarted { &none } else { before };
        Frame { since_start: false, ..Self::of(before, after, seconds) }
    }

    /// All since the proxy's start; `now` is in seconds since the Unix epoch.
    pub(super) fn since_start(scrape: &Scrape, now: f64) -> Self {
        let seconds = now - scrape.process.started;
        Frame { since_start: true, ..Self::of(&Scrape::default(), scrape, seconds) }
    }

    fn of(before: &Scrape, after: &Scrape, seconds: f64) -> Self {
        // A clock that is behind the proxy's, or a start that is not known, must not make rates of millions.
        let seconds = seconds.max(0.001);
        let (nothing, cpu) = (Service::default(), new(after.process.cpu_seconds, before.process.cpu_seconds));
        Frame {
            seconds,
            since_start: false,
            generation: after.process.generation,
            connections: after.process.connections,
            cpu_percent: cpu / seconds * 100.0,
            resident_bytes: after.process.resident_bytes,
            services: after
                .services
                .iter()
                .map(|(name, now)| {
                    let then = before.services.get(name).unwrap_or(&nothing);
                    service(name, then, now, seconds)
                })
                .collect(),
        }
    }

    /// Only this service.
    pub(super) fn only(&mut self, service: &str) {
        self.services.retain(|row| row.name == service);
    }
}

fn service(name: &str, then: &Service, now: &Service, seconds: f64) -> Row {
    let nothing = Endpoint::default();
    let endpoints: Vec<Row> = now
        .endpoints
        .iter()
        .map(|(address, now)| {
            let then = then.endpoints.get(address).unwrap_or(&nothing);
            Row { ejected: now.ejected.into(), ..row(address, &then.calls, &now.calls, seconds) }
        })
        .collect();
    Row {
        retries: new(now.retries, then.retries) / seconds,
        shed: new(now.shed, then.shed) / seconds,
        ejected: endpoints.iter().map(|endpoint| endpoint.ejected).sum(),
        endpoints,
        ..row(name, &then.calls, &now.calls, seconds)
    }
}

fn row(name: &str, then: &Calls, now: &Calls, seconds: f64) -> Row {
    let good = new(now.good, then.good);
    let failed = new(now.failed, then.failed);
    let ended = good + failed;
    let latencies = now.latencies.since(&then.latencies);
    Row {
        name: name.to_owned(),
        rate: (ended + new(now.cancelled, then.cancelled)) / seconds,
        success: (ended > 0.0).then(|| good / ended * 100.0),
        p50: latencies.percentile(0.5),
        p95: latencies.percentile(0.95),
        p99: latencies.percentile(0.99),
        in_flight: now.in_flight,
        ..Row::default()
    }
}

/// What a counter has grown by; one that has gone back has begun again.
fn new(now: f64, then: f64) -> f64 {
    if now < then { now } else { now - then }
}

#[cfg(test)]
mod tests;
