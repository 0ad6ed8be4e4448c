//! Tasks that register themselves, many in one process: a stream for each, as a proxy keeps it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bowline_xds::registration::{
    Announce, Heartbeat, REGISTER_PATH, RegisterRequest, RegisterResponse, Say, Withdraw,
};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::wait::PATIENCE;

/// Streams on one connection: fewer than a control plane allows.
const STREAMS: usize = 60;
/// How often leases are renewed, a third of their length.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// All tasks, and the connections that they share. To be used inside a `LocalSet`.
#[derive(Debug)]
pub struct Tasks {
    control: Endpoint,
    namespace: String,
    lines: RefCell<Vec<Line>>,
    /// What control planes have said against it.
    complaints: Rc<RefCell<Vec<String>>>,
    heartbeats: RefCell<Vec<mpsc::WeakSender<RegisterRequest>>>,
}

#[derive(Debug)]
struct Line {
    channel: Channel,
    streams: Rc<Cell<usize>>,
}

/// How far the control plane is with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It has not answered yet.
    Coming,
    /// It has registered it.
    There,
    /// It has ended the stream: there is nothing more to be said about it.
    Gone,
}

/// One registered task. Dropped without a word, it leaves its lease to run out.
#[derive(Debug)]
pub struct Task {
    says: mpsc::Sender<RegisterRequest>,
    stand: Rc<Cell<Stand>>,
}

impl Task {
    /// How far the control plane is with it; it can be looked at after the task has gone.
    #[must_use]
    pub fn stand(&self) -> Rc<Cell<Stand>> {
        self.stand.clone()
    }

    /// It goes, in good order.
    pub fn withdraw(self) {
        // There is room: nobody says more than one word at a time.
        let _ = self.says.try_send(RegisterRequest { say: Some(Say::Withdraw(Withdraw {})) });
    }
}

impl Tasks {
    /// None yet.
    #[must_use]
    pub fn new(control: Endpoint, namespace: &str) -> Rc<Self> {
        let tasks = Rc::new(Tasks {
            control,
            namespace: namespace.to_owned(),
            lines: RefCell::default(),
            complaints: Rc::default(),
            heartbeats: RefCell::default(),
        });
        let beating = Rc::downgrade(&tasks);
        tokio::task::spawn_local(async move {
            let mut beat = interval(HEARTBEAT);
            loop {
                beat.tick().await;
                let Some(tasks) = beating.upgrade() else { return };
                tasks.heartbeats.borrow_mut().retain(|says| {
                    let said = says.upgrade();
                    said.is_some_and(|says| {
                        says.try_send(RegisterRequest { say: Some(Say::Heartbeat(Heartbeat {})) }).is_ok()
                    })
                });
            }
        });
        tasks
    }

    /// A task comes. It is registered when the control plane has read its announcement.
    pub fn announce(&self, service: &str, address: SocketAddr) -> Task {
        self.begin(service, address).0
    }

    /// A task comes; returns once the control plane has answered.
    ///
    /// # Errors
    /// In words: it refuses it, or does not answer.
    pub async fn announced(&self, service: &str, address: SocketAddr) -> Result<Task, String> {
        let (task, mut answered) = self.begin(service, address);
        match timeout(PATIENCE, answered.recv()).await {
            Ok(Some(())) => Ok(task),
            Ok(None) => Err(self.complaints.borrow().last().cloned().unwrap_or_default()),
            Err(_elapsed) => Err("no answer to an announcement".to_owned()),
        }
    }

    /// What control planes have refused so far, in their words.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.borrow().clone()
    }

    fn begin(&self, service: &str, address: SocketAddr) -> (Task, mpsc::Receiver<()>) {
        let (says, said) = mpsc::channel(4);
        let announce = Announce {
            namespace: self.namespace.clone(),
            service: service.to_owned(),
            address: address.to_string(),
            weight: 1,
            node_id: format!("load-{address}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Announce::default()
        };
        let _ = says.try_send(RegisterRequest { say: Some(Say::Announce(announce)) });
        self.heartbeats.borrow_mut().push(says.downgrade());
        let (channel, streams) = self.line();
        let complaints = self.complaints.clone();
        let (answers, answered) = mpsc::channel(1);
        let stand = Rc::new(Cell::new(Stand::Coming));
        let task = Task { says, stand: stand.clone() };
        tokio::task::spawn_local(async move {
            let there = || {
                stand.set(Stand::There);
                let _ = answers.try_send(());
            };
            if let Err(why) = stream(channel, said, there).await {
                complaints.borrow_mut().push(why);
            }
            stand.set(Stand::Gone);
            streams.set(streams.get() - 1);
        });
        (task, answered)
    }

    /// A connection with room for one more stream.
    fn line(&self) -> (Channel, Rc<Cell<usize>>) {
        let mut lines = self.lines.borrow_mut();
        if !lines.iter().any(|line| line.streams.get() < STREAMS) {
            lines.push(Line { channel: self.control.connect_lazy(), streams: Rc::default() });
        }
        // There is one, and it may be the new one.
        let at = lines.iter().position(|line| line.streams.get() < STREAMS).unwrap_or(0);
        lines[at].streams.set(lines[at].streams.get() + 1);
        (lines[at].channel.clone(), lines[at].streams.clone())
    }
}

async fn stream(
    channel: Channel,
    said: mpsc::Receiver<RegisterRequest>,
    there: impl Fn(),
) -> Result<(), String> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| error.to_string())?;
    let codec = ProstCodec::<RegisterRequest, RegisterResponse>::default();
    let request = tonic::Request::new(ReceiverStream::new(said));
    let path = PathAndQuery::from_static(REGISTER_PATH);
    let answered =
        client.streaming(request, path, codec).await.map_err(|status| status.message().to_owned())?;
    let mut responses = answered.into_inner();
    while responses.message().await.map_err(|status| status.message().to_owned())?.is_some() {
        there();
    }
    Ok(())
}
