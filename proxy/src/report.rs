//! How this proxy's requests fare, reported to the control plane (the load reporting service of xDS): it judges a new mesh
//! by that, before all proxies get it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_xds::node::NodeInfo;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use crate::discovery::{Backoff, Target};
use crate::snapshot::Published;
use crate::telemetry::metrics::Class;

/// A control plane that asks for reports in quicker succession does not get them.
const LEAST_INTERVAL: Duration = Duration::from_millis(500);

/// Requests of a service that have ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ended {
    good: u64,
    failed: u64,
}

/// Reports for ever, to whichever address takes reports.
pub async fn run(targets: Vec<Target>, node: NodeInfo, published: Arc<Published>, seed: u64) {
    let mut backoff = Backoff::new(seed);
    // What has been reported already, whoever it was reported to.
    let mut reported = ended(&published);
    for at in 0.. {
        let began = Instant::now();
        if let Err(why) = stream(&targets[at % targets.len()], &node, &published, &mut reported).await {
            // The stream of pushes says aloud when the control plane is away; one that wants no reports is none of ours.
            tracing::debug!(why, "no load is reported");
        }
        if began.elapsed() > Duration::from_secs(10) {
            backoff.reset();
        }
        sleep(backoff.pause()).await;
    }
}

async fn stream(
    target: &Target,
    node: &NodeInfo,
    published: &Published,
    reported: &mut BTreeMap<String, Ended>,
) -> Result<(), String> {
    let channel = target.connect().await?;
    let mut client = LoadReportingServiceClient::new(channel);
    let (reports, sent) = mpsc::channel(1);
    let first = LoadStatsRequest { node: Some(node.to_node()), cluster_stats: Vec::new() };
    // The channel has room for it.
    let _ = reports.try_send(first);
    let stream = client.stream_load_stats(target.authorise(ReceiverStream::new(sent))).await;
    let mut answers = stream.map_err(|status| status.message().to_owned())?.into_inner();
    let mut every = None;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            answer = answers.message() => match answer.map_err(|status| status.message().to_owned())? {
                Some(answer) => {
                    let wanted = answer.load_reporting_interval.unwrap_or_default();
                    let wanted = Duration::from_secs(wanted.seconds.max(0).unsigned_abs())
                        + Duration::from_nanos(wanted.nanos.max(0).unsigned_abs().into());
                    every = Some(wanted.max(LEAST_INTERVAL));
                    due = due.max(Instant::now());
                }
                None => return Ok(()),
            },
            () = sleep_until(due), if every.is_some() => {
                due = Instant::now() + every.unwrap_or(LEAST_INTERVAL);
                let now = ended(published);
                let report = LoadStatsRequest { node: None, cluster_stats: since(reported, &now) };
                if reports.send(report).await.is_err() {
                    return Ok(());
                }
                *reported = now;
            }
        }
    }
}

/// What has ended of each service.
fn ended(published: &Published) -> BTreeMap<String, Ended> {
    let snapshot = published.current();
    let of = |service: &crate::snapshot::Service| {
        let count = |class: Class| service.shared.counters.sum(|c| c.requests[class as usize].get());
        // Whoever went away first says nothing of the service.
        let failed = [Class::ServerError, Class::GrpcError, Class::None].map(count).into_iter().sum();
        let good = [Class::Success, Class::Redirect, Class::ClientError].map(count).into_iter().sum();
        Ended { good, failed }
    };
    snapshot.services.iter().map(|service| (service.name.clone(), of(service))).collect()
}

/// What has ended since.
fn since(before: &BTreeMap<String, Ended>, now: &BTreeMap<String, Ended>) -> Vec<ClusterStats> {
    let mut stats = Vec::new();
    for (service, now) in now {
        let before = before.get(service).copied().unwrap_or_default();
        // A service that went and came back counts from nothing.
        let good = now.good.checked_sub(before.good).unwrap_or(now.good);
        let failed = now.failed.checked_sub(before.failed).unwrap_or(now.failed);
        if good + failed > 0 {
            let locality = UpstreamLocalityStats {
                total_successful_requests: good,
                total_error_requests: failed,
                total_issued_requests: good + failed,
                ..UpstreamLocalityStats::default()
            };
            stats.push(ClusterStats {
                cluster_name: service.clone(),
                upstream_locality_stats: vec![locality],
                ..ClusterStats::default()
            });
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_reported() {
        let at = |good, failed| BTreeMap::from([("s".to_owned(), Ended { good, failed })]);
        let of = |stats: Vec<ClusterStats>| {
            stats.first().map(|cluster| {
                let locality = &cluster.upstream_locality_stats[0];
                (locality.total_successful_requests, locality.total_error_requests)
            })
        };
        assert_eq!(of(since(&BTreeMap::new(), &at(3, 1))), Some((3, 1)));
        assert_eq!(of(since(&at(3, 1), &at(5, 1))), Some((2, 0)));
        assert_eq!(of(since(&at(3, 1), &at(3, 1))), None);
        assert_eq!(of(since(&at(3, 1), &at(1, 0))), Some((1, 0)));
    }
}
