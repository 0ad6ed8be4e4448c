//! This task as an endpoint: `--register NAME=PORT[,health=/path]`. Once the app answers a minimal check, the control
//! plane is told; a heartbeat keeps the lease; the drain begins with taking it back.

mod apps;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::health::Health;
use bowline_xds::node::NodeInfo;
use bowline_xds::registration::{
    Announce, Heartbeat, REGISTER_PATH, RegisterRequest, RegisterResponse, Say, Withdraw,
};
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic_prost::ProstCodec;

pub use self::apps::{AppState, AppStates, Thresholds};
use crate::ask;
use crate::config::Registration;
use crate::discovery::{Backoff, Target};
use crate::drain::{Phase, Signal};
use crate::snapshot::Published;

/// How often an app that is not there yet is looked for; a check of its health later is as rare as a heartbeat.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the lease is renewed, a third of it, and the app looked at.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a check of the app may take.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// How long the control plane may take to hear of a withdrawal: the drain does not wait for longer.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(1);

/// What all registrations of a task share.
#[derive(Clone, Debug)]
pub struct Task {
    /// The control plane's addresses.
    pub targets: Vec<Target>,
    /// The same, with the token that lets this task register.
    pub registrars: Vec<Target>,
    /// The namespace.
    pub namespace: String,
    /// The task's address; `None`: the one that the control plane sees.
    pub address: Option<IpAddr>,
    /// Its availability zone.
    pub zone: Option<String>,
    /// Its share of the traffic.
    pub weight: u32,
    /// What this proxy is called.
    pub node_id: String,
    /// What runs beside it, as far as anybody says; empty: nobody does.
    pub caller: String,
}

impl Task {
    /// As the control plane knows it.
    pub fn node(&self) -> NodeInfo {
        NodeInfo {
            id: self.node_id.clone(),
            namespace: self.namespace.clone(),
            zone: self.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            caller: self.caller.clone(),
        }
    }
}

/// How many registrations have yet to be taken back. The drain waits for it.
#[derive(Clone, Debug)]
pub struct Withdrawn(watch::Receiver<usize>);

impl Withdrawn {
    /// Waits until all are taken back, but not for long.
    pub async fn wait(&mut self) {
        let _ = timeout(WITHDRAW_WITHIN, self.0.wait_for(|left| *left == 0)).await;
    }
}

/// A registration, and the port at which callers reach it.
#[derive(Clone, Debug)]
pub struct Announced {
    /// What `--register` says.
    pub registration: Registration,
    /// The app's own port, or that of the listener in front of it.
    pub port: u16,
}

/// Keeps all registrations until the drain begins.
///
/// `apps` are told how the app is, in the same order; `published` says what its service asks of that.
pub fn keep(
    registrations: Vec<Announced>,
    task: &Task,
    drain: &Signal,
    apps: &Arc<AppStates>,
    published: &Arc<Published>,
    seed: u64,
) -> Withdrawn {
    let (left, withdrawn) = watch::channel(registrations.len());
    let left = Arc::new(left);
    for (n, Announced { registration, port }) in registrations.into_iter().enumerate() {
        let keeper = Keeper {
            registration,
            port,
            task: task.clone(),
            drain: drain.clone(),
            apps: apps.clone(),
            n,
            published: published.clone(),
            backoff: Backoff::new(seed.wrapping_add(n as u64)),
            announced: false,
        };
        let left = left.clone();
        tokio::spawn(async move {
            keeper.run().await;
            left.send_modify(|left| *left -= 1);
        });
    }
    Withdrawn(withdrawn)
}

struct Keeper {
    registration: Registration,
    /// Where callers are to come.
    port: u16,
    task: Task,
    drain: Signal,
    apps: Arc<AppStates>,
    /// Its place among the apps.
    n: usize,
    published: Arc<Published>,
    backoff: Backoff,
    /// It has been registered before.
    announced: bool,
}

/// Why a registration's stream has ended.
enum Ended {
    /// The proxy drains, and it has been taken back.
    Drained,
    /// The app failed its checks, and it has been taken back.
    Unhealthy,
    /// The control plane can't be reached, or refuses it.
    Lost(String),
}

impl Keeper {
    async fn run(mut self) {
        let mut drain = self.drain.clone();
        let mut at = 0;
        loop {
            tokio::select! {
                () = self.until_healthy() => {}
                () = drain.reached(Phase::Leaving) => return,
            }
            let target = self.task.registrars[at % self.task.registrars.len()].clone();
            let began = Instant::now();
            let service = self.registration.service.clone();
            match self.stream(&target).await {
                Ended::Drained => return,
                Ended::Unhealthy => {
                    tracing::warn!(service, "the app fails its check: not registered any more");
                    continue;
                }
                Ended::Lost(why) => {
                    tracing::warn!(service, control = target.url(), why, "not registered: tried again");
                }
            }
            if began.elapsed() > HEARTBEAT {
                self.backoff.reset();
            }
            at += 1;
            tokio::select! {
                () = sleep(self.backoff.pause()) => {}
                () = drain.reached(Phase::Leaving) => return,
            }
        }
    }

    async fn until_healthy(&self) {
        let mut since = None;
        loop {
            let (health, why) = self.looked().await;
            if health == Health::Healthy {
                return;
            }
            if since.is_none() {
                tracing::info!(
                    service = self.registration.service,
                    why,
                    "the app is waited for before it is registered"
                );
            }
            since.get_or_insert_with(Instant::now);
            sleep(LOOK_EVERY).await;
        }
    }

    /// Checks the app once more, and says what is known of it since then, and what was wrong.
    async fn looked(&self) -> (Health, String) {
        let answer = self.check().await;
        let why = answer.as_ref().err().cloned().unwrap_or_default();
        let thresholds = Thresholds::of(&self.published.current().mesh, &self.registration.service);
        let Some(app) = self.apps.get(self.n) else { return (Health::Unknown, why) };
        (app.checked(answer, thresholds), why)
    }

    /// The app's minimal check.
    async fn check(&self) -> Result<(), String> {
        let addr = SocketAddr::from((
            self.task.address.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            self.registration.port,
        ));
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, self.registration.port));
        // An app may listen on loopback alone, or on the task's address alone.
        match self.check_at(local).await {
            Err(_) if addr != local => self.check_at(addr).await,
            checked => checked,
        }
    }

    async fn check_at(&self, addr: SocketAddr) -> Result<(), String> {
        let Some(path) = &self.registration.health else {
            return match timeout(CHECK_WITHIN, TcpStream::connect(addr)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("{addr}: {error}")),
                Err(_elapsed) => Err(format!("{addr}: no connection within {CHECK_WITHIN:?}")),
            };
        };
        match ask::get(addr, &addr.to_string(), path, CHECK_WITHIN).await {
            Ok((status, _)) if status.is_success() => Ok(()),
            Ok((status, _)) => Err(format!("{path} answers {status}")),
            Err(why) => Err(why),
        }
    }

    async fn stream(&mut self, target: &Target) -> Ended {
        let channel = match target.connect().await {
            Ok(channel) => channel,
            Err(why) => return Ended::Lost(why),
        };
        let mut client = tonic::client::Grpc::new(channel);
        if let Err(error) = client.ready().await {
            return Ended::Lost(error.to_string());
        }
        let (says, said) = mpsc::channel(4);
        let say = async |say: Say| says.send(RegisterRequest { say: Some(say) }).await.is_ok();
        say(Say::Announce(self.announcement())).await;
        let codec = ProstCodec::<RegisterRequest, RegisterResponse>::default();
        let request = target.authorise(ReceiverStream::new(said));
        let streaming = client.streaming(request, PathAndQuery::from_static(REGISTER_PATH), codec);
        let mut drain = self.drain.clone();
        let mut responses = tokio::select! {
            answered = streaming => match answered {
                Ok(response) => response.into_inner(),
                Err(status) => return Ended::Lost(status.message().to_owned()),
            },
            () = drain.reached(Phase::Leaving) => return Ended::Drained,
        };
        let mut next = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                response = responses.message() => match response {
                    Ok(Some(response)) => {
                        tracing::info!(
                            service = self.registration.service,
                            address = response.address,
                            control = target.url(),
                            again = self.announced,
                            "registered"
                        );
                        self.announced = true;
                    }
                    Ok(None) => return Ended::Lost("the control plane has ended the stream".to_owned()),
                    Err(status) => return Ended::Lost(status.message().to_owned()),
                },
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + HEARTBEAT;
                    if self.looked().await.0 == Health::Unhealthy {
                        self.withdraw(&says, &mut responses).await;
                        return Ended::Unhealthy;
                    }
                    if !say(Say::Heartbeat(Heartbeat {})).await {
                        return Ended::Lost("the stream is closed".to_owned());
                    }
                }
                () = drain.reached(Phase::Leaving) => {
                    self.withdraw(&says, &mut responses).await;
                    tracing::info!(service = self.registration.service, "registration taken back");
                    return Ended::Drained;
                }
            }
        }
    }

    /// Takes the registration back and waits until the control plane has heard it: it ends the stream.
    async fn withdraw(
        &self,
        says: &mpsc::Sender<RegisterRequest>,
        responses: &mut tonic::Streaming<RegisterResponse>,
    ) {
        let taken_back = async {
            let _ = says.send(RegisterRequest { say: Some(Say::Withdraw(Withdraw {})) }).await;
            while let Ok(Some(_)) = responses.message().await {}
        };
        let _ = timeout(WITHDRAW_WITHIN, taken_back).await;
    }

    fn announcement(&self) -> Announce {
        let ip = self.task.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Announce {
            namespace: self.task.namespace.clone(),
            service: self.registration.service.clone(),
            address: SocketAddr::from((ip, self.port)).to_string(),
            weight: self.task.weight,
            zone: self.task.zone.clone().unwrap_or_default(),
            metadata: BTreeMap::new(),
            node_id: self.task.node_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
