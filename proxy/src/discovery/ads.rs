//! The stream to the control plane: what it pushes goes through the session (bowline-xds, pure) and comes out as worlds.
//! Here are the sockets: which address, how long to wait, when to try again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bowline_xds::client_session::ClientSession;
use bowline_xds::world::World;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::last_good::LastGood;
use crate::telemetry::control::ControlStatus;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How often the control plane is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// The first pause before another try, and the longest. Each is twice the one before, and drawn from its upper half, so
/// that a thousand proxies do not come back at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// A stream that lived for this long was a good one: the pauses begin anew.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// How long changes are gathered before the last good mesh is written again.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The largest response that is read.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// One address of the control plane, and what it wants to be shown.
#[derive(Clone, Debug)]
pub struct Target {
    url: String,
    endpoint: Endpoint,
    tokens: Vec<MetadataValue<Ascii>>,
}

impl Target {
    /// Reads what the flags say.
    ///
    /// # Errors
    /// In words: the URL is none, or a file can't be read.
    pub fn new(url: &str, tokens: &[String], authority: Option<&Path>) -> Result<Self, String> {
        let wrong = |why: String| format!("--control {url}: {why}");
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let mut endpoint = Endpoint::from_shared(with_scheme.clone())
            .map_err(|_| wrong("not a URL such as http://127.0.0.1:18000".to_owned()))?
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true);
        match with_scheme.split("://").next() {
            Some("http") => {}
            Some("https") => {
                let mut tls = ClientTlsConfig::new();
                let file = authority.ok_or_else(|| {
                    wrong(
                        "https needs --control-ca FILE, the authority that signed its certificate".to_owned(),
                    )
                })?;
                let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
                endpoint = endpoint.tls_config(tls).map_err(|error| wrong(error.to_string()))?;
            }
            other => return Err(wrong(format!("{} is neither http nor https", other.unwrap_or_default()))),
        }
        let tokens =
            tokens.iter().map(|token| format!("Bearer {token}").parse()).collect::<Result<_, _>>().map_err(
                |_| "the token for the control plane has characters that a header can't carry".to_owned(),
            )?;
        Ok(Target { url: with_scheme, endpoint, tokens })
    }

    /// Its address, as it was written.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// In words, down to the cause.
    pub async fn connect(&self) -> Result<Channel, String> {
        match timeout(CONNECT_WITHIN, self.endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(causes(&error)),
            Err(_elapsed) => Err(format!("no connection within {CONNECT_WITHIN:?}")),
        }
    }

    /// Shows the tokens.
    pub fn authorise<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        for token in &self.tokens {
            request.metadata_mut().append("authorization", token.clone());
        }
        request
    }
}

/// An error with everything that is behind it: tonic's own words are "transport error".
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The pauses between tries.
#[derive(Debug)]
pub struct Backoff {
    rng: fastrand::Rng,
    pause: Duration,
}

impl Backoff {
    /// Begins with the shortest.
    pub fn new(seed: u64) -> Self {
        Backoff { rng: fastrand::Rng::with_seed(seed), pause: BACKOFF.0 }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(BACKOFF.1);
        pause.mul_f64(0.5 + self.rng.f64() / 2.0)
    }

    /// The last try was a good one.
    pub fn reset(&mut self) {
        self.pause = BACKOFF.0;
    }
}

/// The stream, whoever it is to.
pub(super) struct Ads {
    pub(super) session: ClientSession,
    pub(super) targets: Vec<Target>,
    pub(super) status: Arc<ControlStatus>,
    pub(super) worlds: watch::Sender<Option<Arc<World>>>,
    pub(super) last_good: Option<LastGood>,
    pub(super) backoff: Backoff,
}

impl Ads {
    /// Keeps a stream open for ever, to whichever address answers.
    pub(super) async fn run(mut self) {
        let mut at = 0;
        loop {
            let target = self.targets[at % self.targets.len()].clone();
            let began = Instant::now();
            let why = match self.stream(&target).await {
                Ok(()) => "the control plane has ended the stream".to_owned(),
                Err(why) => why,
            };
            tracing::warn!(
                control = target.url,
                why,
                "no stream to the control plane: what is known stays in force"
            );
            self.status.lost(&target.url, &why);
            if began.elapsed() >= GOOD_STREAM {
                self.backoff.reset();
            }
            at += 1;
            sleep(self.backoff.pause()).await;
        }
    }

    async fn stream(&mut self, target: &Target) -> Result<(), String> {
        let channel = target.connect().await?;
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
        let (requests, sent) = mpsc::channel::<DeltaDiscoveryRequest>(64);
        for request in self.session.connected() {
            // The channel has room for all of them.
            let _ = requests.try_send(request);
        }
        let stream = target.authorise(ReceiverStream::new(sent));
        let mut responses =
            client.delta_aggregated_resources(stream).await.map_err(|status| said(&status))?.into_inner();
        self.status.connected(&target.url);
        tracing::info!(control = target.url, "connected to the control plane");
        let mut save_at: Option<Instant> = None;
        loop {
            let response = tokio::select! {
                response = responses.message() => response,
                () = async { sleep_until(save_at.unwrap_or_else(Instant::now)).await }, if save_at.is_some() => {
                    save_at = None;
                    self.save();
                    continue;
                }
            };
            let Some(response) =
                response.map_err(|status| said(&status)).inspect_err(|_| self.save_if(save_at))?
            else {
                self.save_if(save_at);
                return Ok(());
            };
            let step = self.session.on_response(response);
            for rejected in &step.rejected {
                self.status.rejected.fetch_add(1, Relaxed);
                tracing::error!(
                    resource = rejected.name,
                    kind = rejected.resource_type.as_str(),
                    why = rejected.why,
                    "a pushed resource is refused: its last good version stays"
                );
            }
            for ignored in &step.ignored {
                tracing::debug!(ignored, "a newer control plane says what this version does not know");
            }
            let rejected: BTreeMap<_, _> = self
                .session
                .rejected()
                .into_iter()
                .map(|r| ((r.resource_type.as_str().to_owned(), r.name), r.why))
                .collect();
            self.status.pushed(rejected);
            if self.session.is_complete() && (!step.changed.is_empty() || self.worlds.borrow().is_none()) {
                self.worlds.send_replace(Some(Arc::new(self.session.world())));
                save_at.get_or_insert_with(|| Instant::now() + SAVE_EVERY);
            }
            for request in step.requests {
                if requests.send(request).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn save_if(&self, due: Option<Instant>) {
        if due.is_some() {
            self.save();
        }
    }

    fn save(&self) {
        if let Some(last_good) = &self.last_good {
            last_good.save(&self.session.held());
        }
    }
}

/// What a gRPC status says, in words.
fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}
