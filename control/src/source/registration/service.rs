//! The gRPC service `bowline.v1.Registration`: one stream in both directions for each endpoint.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_api::Mesh;
use bowline_api::vip::VipRange;
use bowline_xds::registration::{Announce, REGISTER_PATH, RegisterRequest, RegisterResponse, SERVICE, Say};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::announce::registration;
use crate::lease::{Holder, Key, LEASE, Registration};
use crate::store::Store;
use crate::tokens::{Denied, Tokens, bearer};

/// How long a stream may be open before it announces anything.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// A stream without a word for so long is ended: whoever it was has lost its lease long before.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest request, in bytes.
const LARGEST: usize = 64 * 1024;
/// Answers that wait for a slow reader; there are few, and the last one is as good as all.
const ANSWERS: usize = 4;

type Answers = ReceiverStream<Result<RegisterResponse, Status>>;

/// The service, to be added to a tonic router.
#[derive(Clone)]
pub struct RegistrationServer {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    tokens: Tokens,
    mesh: watch::Receiver<Arc<Mesh>>,
    vips: VipRange,
}

impl fmt::Debug for RegistrationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationServer").finish_non_exhaustive()
    }
}

impl RegistrationServer {
    pub(super) fn new(
        store: Arc<Store>,
        tokens: Tokens,
        mesh: watch::Receiver<Arc<Mesh>>,
        vips: VipRange,
    ) -> Self {
        RegistrationServer { shared: Arc::new(Shared { store, tokens, mesh, vips }) }
    }
}

impl NamedService for RegistrationServer {
    const NAME: &'static str = SERVICE;
}

impl<B> Service<http::Request<B>> for RegistrationServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let register = Register(self.shared.clone());
        Box::pin(async move {
            if request.uri().path() != REGISTER_PATH {
                return Ok(Status::unimplemented("there is only Register").into_http());
            }
            let codec = ProstCodec::<RegisterResponse, RegisterRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST);
            Ok(grpc.streaming(register, request).await)
        })
    }
}

struct Register(Arc<Shared>);

impl StreamingService<RegisterRequest> for Register {
    type Response = RegisterResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<RegisterRequest>>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let peer = request.remote_addr().map(|address| address.ip().to_canonical());
            let tokens = tokens_of(request.metadata());
            let (answers, stream) = mpsc::channel(ANSWERS);
            let mut session =
                Session { holder: shared.store.shared().holder(), shared, peer, tokens, announced: None };
            let mut said = request.into_inner();
            // A task of its own: nobody needs to read the answers for it to go on.
            tokio::spawn(async move {
                if let Err(status) = session.follow(&mut said, &answers).await {
                    // Whoever asked may have gone.
                    let _ = answers.try_send(Err(status));
                }
            });
            Ok(Response::new(ReceiverStream::new(stream)))
        })
    }
}

/// All tokens that were sent: one for the connection and one for registering may both be there.
fn tokens_of(metadata: &MetadataMap) -> Vec<String> {
    let values = metadata.get_all("authorization");
    values.iter().filter_map(|value| bearer(value.to_str().ok()?)).map(str::to_owned).collect()
}

/// One stream.
struct Session {
    shared: Arc<Shared>,
    holder: Holder,
    peer: Option<IpAddr>,
    tokens: Vec<String>,
    announced: Option<(Key, Registration)>,
}

impl Session {
    /// Until the task withdraws, or the stream ends; then the lease decides.
    async fn follow(
        &mut self,
        said: &mut Streaming<RegisterRequest>,
        answers: &mpsc::Sender<Result<RegisterResponse, Status>>,
    ) -> Result<(), Status> {
        loop {
            let patience = if self.announced.is_some() { SILENCE } else { FIRST_WORD };
            let Ok(said) = timeout(patience, said.message()).await else {
                return Err(Status::deadline_exceeded(format!("nothing was said for {patience:?}")));
            };
            let Some(said) = said? else { return Ok(()) };
            match said.say {
                Some(Say::Announce(announce)) => {
                    let answer = self.announce(announce)?;
                    // A reader that is so far behind has had its answer.
                    let _ = answers.try_send(Ok(answer));
                }
                Some(Say::Heartbeat(_)) => self.heartbeat()?,
                Some(Say::Withdraw(_)) => {
                    self.withdraw();
                    return Ok(());
                }
                // A newer proxy says something that this version does not know.
                None => {}
            }
        }
    }

    fn announce(&mut self, announce: Announce) -> Result<RegisterResponse, Status> {
        let sent: Vec<&str> = self.tokens.iter().map(String::as_str).collect();
        // Who may not register learns nothing of the mesh either.
        self.shared.tokens.check(&announce.service, &sent, self.peer).map_err(|denied| match denied {
            Denied::Missing(why) => Status::unauthenticated(why),
            Denied::Forbidden(why) => Status::permission_denied(why),
        })?;
        let mesh = self.shared.mesh.borrow().clone();
        let registration = registration(announce, &mesh, self.peer, self.shared.vips)?;
        let key = registration.key();
        if self.announced.as_ref().is_some_and(|(before, _)| *before != key) {
            self.withdraw();
        }
        self.put(&registration)?;
        tracing::info!(
            service = key.service,
            address = %key.address,
            weight = registration.endpoint.weight,
            zone = registration.endpoint.zone,
            node = registration.node,
            "registered"
        );
        let address = key.address.to_string();
        self.announced = Some((key, registration));
        Ok(RegisterResponse { lease_seconds: u32::try_from(LEASE.as_secs()).unwrap_or(u32::MAX), address })
    }

    fn put(&self, registration: &Registration) -> Result<(), Status> {
        let store = self.shared.store.shared();
        store
            .announce(self.holder, self.peer, registration.clone())
            .map_err(|full| Status::resource_exhausted(full.to_string()))
    }

    fn heartbeat(&self) -> Result<(), Status> {
        let Some((key, registration)) = &self.announced else {
            return Err(Status::failed_precondition("announce first"));
        };
        let store = self.shared.store.shared();
        if store.renew(self.holder, key) {
            return Ok(());
        }
        if store.is_taken_over(self.holder, key) {
            return Err(Status::aborted("another stream has registered this endpoint since"));
        }
        // The lease has run out though the task lives: it was stopped for a while, or the host was.
        tracing::info!(service = key.service, address = %key.address, "registered again");
        self.put(registration)
    }

    fn withdraw(&mut self) {
        if let Some((key, _)) = self.announced.take()
            && self.shared.store.shared().withdraw(self.holder, &key)
        {
            tracing::info!(service = key.service, address = %key.address, "withdrawn");
        }
    }
}
