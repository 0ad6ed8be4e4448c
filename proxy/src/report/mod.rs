//! How this proxy's requests fare, reported to the control plane (the load reporting service of xDS): it judges a new mesh
//! by that before all proxies get it, and shows it to whoever looks.
//!
//! `counts` reads the counters, `delta` is what has changed since the last report; both know nothing of the stream.

mod counts;
mod delta;

use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_xds::load_report::{Failure, Report, encode};
use bowline_xds::node::NodeInfo;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use self::counts::Counts;
use crate::clock::Clock;
use crate::discovery::{Backoff, Target};
use crate::snapshot::Published;
use crate::telemetry::failures::{self, Failures};

/// A control plane that asks for reports in quicker succession does not get them.
const LEAST_INTERVAL: Duration = Duration::from_millis(500);
/// Ejections, and endpoints that come back, are reported at once, but not in quicker succession than this.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Reports, and knows what has been reported already, whoever it was reported to.
pub struct Reporter {
    node: NodeInfo,
    published: Arc<Published>,
    failures: Arc<Failures>,
    clock: Clock,
    reported: Counts,
    /// The number of the last failure that was reported.
    failure: u64,
    /// When the last report was made.
    at: Instant,
}

/// When reports are due.
struct Due {
    every: Duration,
    next: Instant,
}

impl Reporter {
    /// One that has reported nothing; what has been counted until now it never will.
    pub fn new(node: NodeInfo, published: Arc<Published>, failures: Arc<Failures>) -> Self {
        let clock = Clock::new();
        let reported = Counts::read(&published.current(), clock.now());
        Reporter { node, published, failures, clock, reported, failure: 0, at: Instant::now() }
    }

    /// Reports for ever, to whichever address takes reports.
    pub async fn run(mut self, targets: Vec<Target>, seed: u64) {
        let mut backoff = Backoff::new(seed);
        for at in 0.. {
            let began = Instant::now();
            if let Err(why) = self.stream(&targets[at % targets.len()]).await {
                // The stream of pushes says aloud when the control plane is away; one that wants no reports is none of ours.
                tracing::debug!(why, "no load is reported");
            }
            if began.elapsed() > Duration::from_secs(10) {
                backoff.reset();
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn stream(&mut self, target: &Target) -> Result<(), String> {
        let channel = target.connect().await?;
        let mut client = LoadReportingServiceClient::new(channel);
        let (reports, sent) = mpsc::channel(1);
        let first = LoadStatsRequest { node: Some(self.node.to_node()), cluster_stats: Vec::new() };
        // The channel has room for it.
        let _ = reports.try_send(first);
        let stream = client.stream_load_stats(target.authorise(ReceiverStream::new(sent))).await;
        let mut answers = stream.map_err(|status| status.message().to_owned())?.into_inner();
        // Whoever listens now may not have listened before.
        self.reported.forget_levels();
        let failures = self.failures.clone();
        let mut due: Option<Due> = None;
        loop {
            let next = due.as_ref().map(|due| due.next);
            tokio::select! {
                answer = answers.message() => match answer.map_err(|status| status.message().to_owned())? {
                    Some(answer) => {
                        let every = interval(&answer);
                        let soonest = Instant::now().max(self.at + every.min(AT_ONCE));
                        let next = match &due {
                            Some(due) => due.next.min(self.at + every).max(soonest),
                            None => soonest,
                        };
                        due = Some(Due { every, next });
                    }
                    None => return Ok(()),
                },
                () = failures.ejection(), if due.is_some() => {
                    if let Some(due) = &mut due {
                        due.next = due.next.min(self.at + AT_ONCE);
                    }
                }
                () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {
                    let (report, counts, failure) = self.report();
                    if reports.send(encode(&self.node.id, &report)).await.is_err() {
                        return Ok(());
                    }
                    (self.at, self.failure) = (Instant::now(), failure);
                    let returns = counts.next_return();
                    self.reported = counts;
                    if let Some(due) = &mut due {
                        let return_at = returns.map(|tick| self.clock.instant(tick).max(self.at + AT_ONCE));
                        due.next = return_at.into_iter().fold(self.at + due.every, Instant::min);
                    }
                }
            }
        }
    }

    /// What is new, with the counts that it comes up to and the number of the last failure in it.
    fn report(&self) -> (Report, Counts, u64) {
        let counts = Counts::read(&self.published.current(), self.clock.now());
        let failures = self.failures.since(self.failure);
        let last = failures.last().map_or(self.failure, |(number, _)| *number);
        let report = Report {
            period: self.at.elapsed(),
            services: delta::since(&self.reported, &counts),
            failures: failures.into_iter().map(|(_, failure)| as_reported(failure)).collect(),
        };
        (report, counts, last)
    }
}

fn interval(answer: &LoadStatsResponse) -> Duration {
    let wanted = answer.load_reporting_interval.unwrap_or_default();
    let wanted = Duration::from_secs(wanted.seconds.max(0).unsigned_abs())
        + Duration::from_nanos(wanted.nanos.max(0).unsigned_abs().into());
    // An interval of years would be none.
    wanted.clamp(LEAST_INTERVAL, Duration::from_secs(3600))
}

fn as_reported(failure: failures::Failure) -> Failure {
    let at = failure.at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Failure {
        at_micros: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
        service: failure.service,
        endpoint: failure.endpoint,
        reason: failure.reason.to_owned(),
        detail: failure.detail,
        told: failure.told,
        times: failure.times,
    }
}

/// How long until a moment; zero when it has passed.
fn left(until: Tick, now: Tick) -> Duration {
    Duration::from_nanos(until.0.saturating_sub(now.0))
}

#[cfg(test)]
mod tests;
