//! The board: what there is to be seen at one moment, put together from the stage, the proxy and the app.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline_api::admin::EndpointSummary;

use super::admin;
use super::metrics::Metrics;
use super::table::LOG_LINES;
use crate::endpoint::Service;
use crate::load::tally::{Shared, Tally};
use crate::stage::Stage;

/// How an endpoint stands with the proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    /// It gets traffic.
    Active,
    /// Outlier detection keeps it out, for so many seconds still.
    Ejected(f64),
    /// It is in the mesh file and gets no new traffic.
    Draining,
    /// It is not in the mesh.
    Absent,
    /// It was in the mesh.
    Removed,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// What it serves.
    pub(crate) service: Service,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Attempts a second.
    pub(crate) rate: f64,
    /// Attempts under way.
    pub(crate) open: i64,
    /// Milliseconds, as the app saw them recently.
    pub(crate) p50: Option<f64>,
    /// The same.
    pub(crate) p99: Option<f64>,
    /// Attempts that failed.
    pub(crate) failed: u64,
    /// How often it was ejected.
    pub(crate) ejections: u64,
    /// How it stands.
    pub(crate) state: State,
    /// What the demo has done to it.
    pub(crate) fault: String,
}

/// All there is to be seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    /// The endpoints.
    pub(crate) rows: Vec<Row>,
    /// HTTP requests a second, lately.
    pub(crate) rate: f64,
    /// The app's counts.
    pub(crate) tally: Tally,
    /// The app's recent p99 for HTTP in milliseconds.
    pub(crate) p99: Option<f64>,
    /// Retries by reason, those of both services.
    pub(crate) retries: Vec<(String, u64)>,
    /// Retries of the HTTP service and of the gRPC service.
    pub(crate) retries_by_service: [u64; 2],
    /// Resident memory of the proxy, in bytes.
    pub(crate) resident: f64,
    /// CPU time of the proxy, in seconds.
    pub(crate) cpu: f64,
    /// What the proxy logged last.
    pub(crate) log: Vec<String>,
}

impl Board {
    /// Retries, all of them.
    pub(crate) fn all_retries(&self) -> u64 {
        self.retries.iter().map(|(_, count)| count).sum()
    }

    /// Ejections, all of them.
    pub(crate) fn all_ejections(&self) -> u64 {
        self.rows.iter().map(|row| row.ejections).sum()
    }
}

/// Over which time rates are taken.
const RATE_OVER: Duration = Duration::from_millis(1000);
/// How often the recent latencies forget their oldest part: four parts make two seconds.
const TURN: Duration = Duration::from_millis(500);

/// A count over time, and its rate.
#[derive(Debug, Default)]
struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    fn add(&mut self, now: Instant, count: u64) -> f64 {
        self.0.push_back((now, count));
        // The one sample that is older than the window is kept: the window is measured from it.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER) {
            self.0.pop_front();
        }
        let Some((since, first)) = self.0.front() else { return 0.0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(*first) as f64 / seconds } else { 0.0 }
    }
}

/// Looks again and again, and remembers what only the past can tell.
#[derive(Debug)]
pub(crate) struct Watcher {
    admin: SocketAddr,
    tally: Shared,
    meters: HashMap<SocketAddr, Meter>,
    requests: Meter,
    turned: Instant,
    board: Board,
}

impl Watcher {
    /// Looks at the proxy with this admin address.
    pub(crate) fn new(admin: SocketAddr, tally: Shared) -> Self {
        let (requests, board) = (Meter::default(), Board::default());
        Watcher { admin, tally, meters: HashMap::new(), requests, turned: Instant::now(), board }
    }

    /// What was seen last.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Looks.
    pub(crate) async fn look(&mut self, stage: &Stage) -> io::Result<&Board> {
        let (endpoints, metrics) =
            tokio::try_join!(admin::endpoints(self.admin), admin::metrics(self.admin))?;
        let now = Instant::now();
        let tally = {
            let mut tally = self.tally.lock();
            if now.duration_since(self.turned) >= TURN {
                self.turned = now;
                tally.turn();
            }
            tally.clone()
        };
        let rows = stage.endpoints.iter().map(|endpoint| {
            let seen = endpoints.iter().find(|seen| seen.address == endpoint.address);
            let before = self.board.rows.iter().find(|row| row.address == endpoint.address);
            let meter = self.meters.entry(endpoint.address).or_default();
            let mut row = row(endpoint.service, endpoint.address, seen, before, &metrics, meter, now);
            if let Some(latency) = tally.latency_of(endpoint.address) {
                (row.p50, row.p99) = (latency.percentile(50.0), latency.percentile(99.0));
            }
            row.fault.clone_from(&endpoint.fault);
            row
        });
        let retries = |service| metrics.sum("bowline_retries_total", &[("service", service)]) as u64;
        self.board = Board {
            rows: rows.collect(),
            rate: self.requests.add(now, tally.http_requests()),
            p99: tally.http_recent.all().percentile(99.0),
            tally,
            retries: metrics
                .by_label("bowline_retries_total", "reason")
                .into_iter()
                .map(|(reason, count)| (reason, count as u64))
                .collect(),
            retries_by_service: [retries("server"), retries("stream")],
            resident: metrics.sum("process_resident_memory_bytes", &[]),
            cpu: metrics.sum("process_cpu_seconds_total", &[]),
            log: stage.proxy.as_ref().map(|proxy| proxy.log().last(LOG_LINES)).unwrap_or_default(),
        };
        Ok(&self.board)
    }
}

fn row(
    service: Service,
    address: SocketAddr,
    seen: Option<&EndpointSummary>,
    before: Option<&Row>,
    metrics: &Metrics,
    meter: &mut Meter,
    now: Instant,
) -> Row {
    let mut row = Row {
        service,
        address,
        rate: 0.0,
        open: 0,
        p50: None,
        p99: None,
        failed: before.map_or(0, |row| row.failed),
        ejections: before.map_or(0, |row| row.ejections),
        state: State::Absent,
        fault: String::new(),
    };
    let Some(seen) = seen else {
        // The proxy forgets the counts of an endpoint that is removed; the board keeps the last ones.
        if before.is_some_and(|row| row.state != State::Absent) {
            row.state = State::Removed;
        }
        return row;
    };
    row.rate = meter.add(now, seen.attempts);
    row.open = seen.in_flight;
    row.failed = seen.failures;
    let labels = [("endpoint", address.to_string())];
    row.ejections =
        metrics.sum("bowline_ejections_total", &labels.each_ref().map(|(k, v)| (*k, v.as_str()))) as u64;
    row.state = match (seen.state.as_str(), seen.ejected_for_seconds) {
        (_, Some(seconds)) => State::Ejected(seconds),
        ("draining", None) => State::Draining,
        _ => State::Active,
    };
    row
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Meter;

    #[test]
    fn rates_are_taken_over_about_a_second() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut at = |millis: u64, count| meter.add(start + Duration::from_millis(millis), count);
        assert_eq!(at(0, 100), 0.0);
        assert_eq!(at(500, 150), 100.0);
        assert_eq!(at(1000, 200), 100.0);
        assert_eq!(at(1500, 200), 50.0);
        assert_eq!(at(2000, 200), 0.0);
        assert_eq!(at(9000, 200), 0.0);
    }
}
