//! How requests fare, as clients report it (the load reporting service of xDS): what a new mesh is judged by, and what the
//! live picture shows.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bowline_xds::load_report::{Report, decode};
use bowline_xds::node::NodeInfo;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingService;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use envoy_types::pb::google::protobuf::Duration as Interval;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use crate::holdback::Counts;
use crate::hub::Hub;
use crate::picture::board::Board;

/// Reports are not listened to in quicker succession than this.
const APART: Duration = Duration::from_millis(50);
/// A client that says nothing for this long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// The service.
#[derive(Clone, Debug)]
pub struct LoadReports {
    hub: Arc<Hub>,
    board: Arc<Board>,
    access: Access,
}

impl LoadReports {
    /// Takes the reports of those who may connect.
    pub fn new(hub: Arc<Hub>, board: Arc<Board>, access: Access) -> Self {
        LoadReports { hub, board, access }
    }

    async fn serve(
        self,
        mut reports: Streaming<LoadStatsRequest>,
        answers: mpsc::Sender<Result<LoadStatsResponse, Status>>,
    ) {
        let Ok(Ok(Some(first))) = timeout(SILENCE, reports.message()).await else { return };
        let Some(node) = first.node.as_ref().map(NodeInfo::of_node) else {
            let _ = answers.send(Err(Status::invalid_argument("the first report has no node"))).await;
            return;
        };
        let mut interval = self.board.interval();
        // What the client was told last.
        let mut told = None;
        let client = self.board.join(&node);
        let mut report = Some(first);
        let (mut listen_from, mut silent_from) = (Instant::now(), Instant::now() + SILENCE);
        loop {
            if let Some(message) = report.take() {
                (listen_from, silent_from) = (Instant::now() + APART, Instant::now() + SILENCE);
                let report = decode(&message);
                self.hub.reported(&node.id, counts(&report));
                client.report(&report);
            }
            let every = *interval.borrow_and_update();
            tokio::select! {
                place = answers.reserve(), if told != Some(every) => {
                    let Ok(place) = place else { return };
                    place.send(Ok(wanted(every)));
                    told = Some(every);
                }
                message = async { sleep_until(listen_from).await; reports.message().await } => match message {
                    Ok(Some(message)) => report = Some(message),
                    // It has gone, in good order or not.
                    Ok(None) | Err(_) => return,
                },
                changed = interval.changed() => if changed.is_err() { return },
                () = sleep_until(silent_from) => return,
            }
        }
    }
}

fn wanted(every: Duration) -> LoadStatsResponse {
    let seconds = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
    LoadStatsResponse {
        send_all_clusters: true,
        load_reporting_interval: Some(Interval { seconds, nanos: 0 }),
        report_endpoint_granularity: true,
        ..LoadStatsResponse::default()
    }
}

fn counts(report: &Report) -> Counts {
    let mut all = Counts::default();
    for service in &report.services {
        all.add(Counts { good: service.good(), failed: service.failed() });
    }
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
        tokio::spawn(self.clone().serve(request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
