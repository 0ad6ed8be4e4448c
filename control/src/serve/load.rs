//! How requests fare, as clients report it (the load reporting service of xDS): what a new mesh is judged by.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingService;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use envoy_types::pb::google::protobuf::Duration as Interval;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use crate::holdback::Counts;
use crate::hub::Hub;

/// How often clients are to report, in seconds.
const EVERY_SECONDS: i64 = 1;
/// A client that says nothing for this long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// The service.
#[derive(Clone, Debug)]
pub struct LoadReports {
    hub: Arc<Hub>,
    access: Access,
}

impl LoadReports {
    /// Takes the reports of those who may connect.
    pub fn new(hub: Arc<Hub>, access: Access) -> Self {
        LoadReports { hub, access }
    }
}

fn counts(report: &LoadStatsRequest) -> Counts {
    let mut all = Counts::default();
    for stats in report.cluster_stats.iter().flat_map(|cluster| &cluster.upstream_locality_stats) {
        all.add(Counts { good: stats.total_successful_requests, failed: stats.total_error_requests });
    }
    // Never sent to any endpoint.
    let dropped = report.cluster_stats.iter().map(|cluster| cluster.total_dropped_requests).sum();
    all.add(Counts { good: 0, failed: dropped });
    all
}

#[tonic::async_trait]
impl LoadReportingService for LoadReports {
    type StreamLoadStatsStream = Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        self.access.check(request.metadata())?;
        let (answers, stream) = mpsc::channel(1);
        let hub = self.hub.clone();
        let mut reports = request.into_inner();
        tokio::spawn(async move {
            let mut id = None;
            while let Ok(Ok(Some(report))) = timeout(SILENCE, reports.message()).await {
                if let Some(node) = &report.node {
                    id = Some(node.id.clone());
                }
                let Some(id) = &id else { return };
                hub.reported(id, counts(&report));
                let wanted = LoadStatsResponse {
                    send_all_clusters: true,
                    load_reporting_interval: Some(Interval { seconds: EVERY_SECONDS, nanos: 0 }),
                    ..LoadStatsResponse::default()
                };
                // It is the same each time: once is enough.
                if answers.capacity() > 0 && answers.try_send(Ok(wanted)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
