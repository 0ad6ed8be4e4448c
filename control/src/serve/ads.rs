//! Aggregated discovery: one stream per client, on which all types of resources are pushed in order.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bowline_xds::kind::ClientKind;
use bowline_xds::node::NodeInfo;
use bowline_xds::server_session::ServerSession;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::access::{Access, peer};
use super::dialect::{Delta, Dialect, Sotw};
use crate::hub::{Hub, Member, TooMany, Who};
use crate::telemetry::metrics::Metrics;

/// How long a client may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client that takes nothing for this long is cut off: it would keep a response, and what it knows is old.
const READS_WITHIN: Duration = Duration::from_secs(30);
/// Most requests a second that are listened to; a client that sends more waits.
const REQUESTS_PER_SECOND: u32 = 500;
/// After a refusal a client is sent nothing for a while, twice as long after each that follows, up to the second one.
const AFTER_NACK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The service.
#[derive(Clone, Debug)]
pub struct Ads {
    hub: Arc<Hub>,
    access: Access,
    metrics: Arc<Metrics>,
}

impl Ads {
    /// Serves what the hub has to those who may have it.
    pub fn new(hub: Arc<Hub>, access: Access, metrics: Arc<Metrics>) -> Self {
        Ads { hub, access, metrics }
    }

    fn begin<D: Dialect>(
        &self,
        request: Request<Streaming<D::Request>>,
    ) -> Result<ReceiverStream<Result<D::Response, Status>>, Status> {
        if let Err(status) = self.access.check(request.metadata()) {
            self.metrics.client_refused();
            return Err(status);
        }
        let peer = peer(&request);
        // One response at a time: what a slow client has not taken yet is all that is kept for it.
        let (out, responses) = mpsc::channel(1);
        let ads = self.clone();
        tokio::spawn(async move {
            if let Err(status) = ads.serve::<D>(request.into_inner(), &out, peer).await {
                let _ = timeout(READS_WITHIN, out.send(Err(status))).await;
            }
        });
        Ok(ReceiverStream::new(responses))
    }

    async fn serve<D: Dialect>(
        &self,
        mut requests: Streaming<D::Request>,
        out: &mpsc::Sender<Result<D::Response, Status>>,
        peer: SocketAddr,
    ) -> Result<(), Status> {
        let first = match timeout(HELLO_WITHIN, requests.message()).await {
            Ok(Ok(Some(first))) => first,
            Ok(Ok(None) | Err(_)) => return Ok(()),
            Err(_elapsed) => return Err(Status::deadline_exceeded("no request came within 10 seconds")),
        };
        let who = self.who::<D>(D::node(&first), peer).inspect_err(|_| self.metrics.client_refused())?;
        let kind = who.kind;
        tracing::info!(client = who.id, kind = kind.as_str(), version = who.version, %peer, "client connected");
        let member = self.hub.join(who).map_err(|TooMany(most)| {
            self.metrics.client_refused();
            Status::resource_exhausted(format!("there are {most} clients already, as many as may be"))
        })?;
        let mut stream = Conversation::<D> {
            ads: self,
            session: D::session(kind),
            member: &member,
            out,
            nacks_in_a_row: 0,
            quiet_until: None,
        };
        let ended = stream.run(first, &mut requests).await;
        match &ended {
            Ok(()) => tracing::info!(client = member.who().id, "client left"),
            Err(status) => {
                self.metrics.client_cut();
                tracing::warn!(client = member.who().id, why = status.message(), "client cut off");
            }
        }
        ended
    }

    fn who<D: Dialect>(&self, node: Option<&Node>, peer: SocketAddr) -> Result<Who, Status> {
        let node = node.ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        let kind = ClientKind::of_node(node);
        let namespace = self.hub.namespace();
        // Envoy's `cluster` is a free text, and gRPC has none; ours names the namespace that the proxy is started for.
        if kind == ClientKind::Bowline && node.cluster != namespace {
            return Err(Status::not_found(format!(
                "namespace {:?} is not served here, {namespace:?} is (bowline-proxy run --namespace {namespace})",
                node.cluster
            )));
        }
        let NodeInfo { id, zone, version, caller, .. } = NodeInfo::of_node(node);
        Ok(Who { id, kind, version, zone, caller, peer, protocol: D::NAME })
    }
}

/// A stream at work.
struct Conversation<'a, D: Dialect> {
    ads: &'a Ads,
    session: ServerSession,
    member: &'a Member,
    out: &'a mpsc::Sender<Result<D::Response, Status>>,
    nacks_in_a_row: u32,
    quiet_until: Option<Instant>,
}

impl<D: Dialect> Conversation<'_, D> {
    async fn run(&mut self, first: D::Request, requests: &mut Streaming<D::Request>) -> Result<(), Status> {
        self.hear(first)?;
        let (mut second, mut heard) = (Instant::now(), 0);
        loop {
            self.say().await?;
            let quiet_until = self.quiet_until;
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.hear(request)?,
                    // It has gone, in good order or not.
                    Ok(None) | Err(_) => return Ok(()),
                },
                () = self.member.woken() => continue,
                () = async { sleep_until(quiet_until.unwrap_or_else(Instant::now)).await }, if quiet_until.is_some() => {
                    self.quiet_until = None;
                    continue;
                }
                () = self.out.closed() => return Ok(()),
            }
            heard += 1;
            if second.elapsed() >= Duration::from_secs(1) {
                (second, heard) = (Instant::now(), 0);
            } else if heard >= REQUESTS_PER_SECOND {
                sleep_until(second + Duration::from_secs(1)).await;
            }
        }
    }

    fn hear(&mut self, request: D::Request) -> Result<(), Status> {
        let who = self.member.who();
        let heard = D::hear(&mut self.session, request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if heard.acked.is_some() {
            self.member.acknowledged(self.session.acknowledged());
            self.nacks_in_a_row = 0;
        }
        if let Some(nack) = heard.nacked {
            self.member.refused(&nack.message);
            self.ads.metrics.nacked(who.kind, nack.resource_type);
            tracing::warn!(
                client = who.id,
                kind = who.kind.as_str(),
                of = nack.resource_type.as_str(),
                why = nack.message,
                "push refused"
            );
            let (least, most) = AFTER_NACK;
            let pause = least.saturating_mul(1 << self.nacks_in_a_row.min(10)).min(most);
            self.nacks_in_a_row += 1;
            self.quiet_until = Some(Instant::now() + pause);
        }
        Ok(())
    }

    /// Sends whatever the client lacks, as far as it takes it.
    async fn say(&mut self) -> Result<(), Status> {
        if self.quiet_until.is_some() {
            return Ok(());
        }
        while let Some(response) = D::say(&mut self.session, &self.member.resources()) {
            if let Some(of) = D::carries(&response) {
                self.ads.metrics.pushed(self.member.who().kind, of);
            }
            self.member.pushed();
            match timeout(READS_WITHIN, self.out.send(Ok(response))).await {
                Ok(Ok(())) => {}
                Ok(Err(_gone)) => return Ok(()),
                Err(_elapsed) => {
                    return Err(Status::deadline_exceeded("the client has taken nothing for 30 seconds"));
                }
            }
        }
        // What it asks for, and what that comes to, is known once it has been answered.
        self.member.looks_at(self.session.interest());
        self.member.lacks_nothing(self.session.acknowledged());
        Ok(())
    }
}

type Pushes<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Pushes<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Pushes<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(Response::new(Box::pin(self.begin::<Sotw>(request)?)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(Box::pin(self.begin::<Delta>(request)?)))
    }
}
