//! A DNS server for the app: names of the mesh are answered with their VIPs, all others by the system's own servers.
//!
//! It is there before the mesh is, and knows it as soon as it is: names that are new are answered at once, and nothing
//! here ever waits for the control plane.

mod forward;
mod verdict;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowline_sources::dns::{Servers, is_ours};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Edns, MessageType, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::A;
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use self::forward::{Answer, Forwarder};
use self::verdict::{Verdict, decide};
use crate::snapshot::Published;

/// How long an answer with a VIP may be kept, in seconds: VIPs stay, but a name may come and go.
const TTL: u32 = 5;
/// Most that an answer over UDP may have, whatever the client offers: what passes everywhere in one piece (DNS flag
/// day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// How long a connection over TCP may say nothing.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that may wait to be written to a connection over TCP.
const TCP_ANSWERS: usize = 32;
const BACKLOG: u32 = 128;

/// The mesh, once there is one: what the server looks names up in.
#[derive(Clone, Debug, Default)]
pub struct MeshNames(Arc<OnceLock<Arc<Published>>>);

impl MeshNames {
    /// From now on names are looked up in this mesh. Only the first call counts.
    pub fn are_in(&self, published: Arc<Published>) {
        let _ = self.0.set(published);
    }
}

/// Sockets of a server that does not answer yet.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds the same port over UDP and TCP. Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// Those of the system, in words that say what to do.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let mut tries = if addr.port() == 0 { 20 } else { 1 };
        loop {
            tries -= 1;
            let udp = UdpSocket::bind(addr).await.map_err(|error| explain(addr, "UDP", &error))?;
            match listen(udp.local_addr()?) {
                Ok(tcp) => return Ok(Sockets { udp, tcp }),
                Err(error) if tries == 0 => return Err(explain(addr, "TCP", &error)),
                Err(_) => {}
            }
        }
    }

    /// Where they are bound.
    ///
    /// # Errors
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

fn explain(addr: SocketAddr, over: &str, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the sysctl net.ipv4.ip_unprivileged_port_start=0 (ECS: systemControls) or the \
             capability NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrInUse => "; another DNS server has it: give --dns another address or port",
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("the DNS server's {addr} can't be bound over {over}: {error}{advice}"),
    )
}

/// Where the server gets its answers from.
#[derive(Debug)]
pub struct Sources {
    /// The mesh's names.
    pub names: MeshNames,
    /// The namespace, as far as it is known before the mesh is.
    pub namespace: Option<String>,
    /// Who is asked for all other names; none: the system's servers, without ourselves.
    pub upstreams: Vec<SocketAddr>,
}

/// Whether a server at this address may ask these servers. Asked before anything is bound: a port that is taken is not what
/// is wrong then.
///
/// # Errors
/// The server would have to ask itself.
pub fn check(addr: SocketAddr, upstreams: &[SocketAddr]) -> io::Result<()> {
    match upstreams.iter().find(|upstream| is_ours(addr, **upstream)) {
        None => Ok(()),
        Some(upstream) => {
            let text = format!("--dns-upstream {upstream} is the DNS server of this proxy itself");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

/// Answers until the returned guard is dropped.
///
/// # Errors
/// Those of the system.
pub fn serve(sockets: Sockets, sources: Sources) -> io::Result<Guard> {
    let ours = sockets.local_addr()?;
    let forwarder = Forwarder::new(Servers { named: sources.upstreams, ours: Some(ours) });
    if let Err(why) = forwarder.check() {
        tracing::warn!(%why, "the DNS server has nobody to ask for names outside of the mesh: give it --dns-upstream");
    }
    let handler = Handler { names: sources.names, namespace: sources.namespace, forwarder };
    let mut server = Server::new(handler);
    server.register_socket(sockets.udp);
    server.register_listener(sockets.tcp, TCP_IDLE, TCP_ANSWERS);
    Ok(Guard(server))
}

/// Keeps the server at work.
pub struct Guard(Server<Handler>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.shutdown_token().cancel();
    }
}

/// Answers one question at a time.
struct Handler {
    names: MeshNames,
    namespace: Option<String>,
    forwarder: Forwarder,
}

impl Handler {
    async fn answer(&self, name: &Name, record_type: RecordType) -> Answer {
        let snapshot = self.names.0.get().map(|published| published.current());
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        match decide(snapshot.as_deref(), self.namespace.as_deref(), &text, record_type) {
            Verdict::Vip(vip) => {
                let record = Record::from_rdata(name.clone(), TTL, RData::A(A(vip)));
                Answer { records: vec![record], ours: true, ..Answer::default() }
            }
            Verdict::NoSuchRecord => Answer { ours: true, ..Answer::default() },
            Verdict::NotYet => Answer { code: ResponseCode::ServFail, ..Answer::default() },
            Verdict::Elsewhere { may_come } => {
                let mut answer = self.forwarder.ask(name, record_type).await;
                if may_come {
                    // Without it nobody keeps the answer that there is no such name, which may be wrong soon.
                    answer.authority.clear();
                }
                answer
            }
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let edns = request.edns.as_ref().map(|theirs| {
            let mut edns = Edns::new();
            edns.set_max_payload(theirs.max_payload().clamp(512, UDP_PAYLOAD));
            edns.set_version(0);
            edns
        });
        let answer = match request.request_info() {
            Ok(_)
                if request.metadata.op_code != OpCode::Query
                    || request.metadata.message_type != MessageType::Query =>
            {
                Answer { code: ResponseCode::NotImp, ..Answer::default() }
            }
            Ok(info) if info.query.query_class() != DNSClass::IN => {
                Answer { code: ResponseCode::Refused, ..Answer::default() }
            }
            Ok(info) => {
                let query = info.query.original();
                self.answer(query.name(), query.query_type()).await
            }
            Err(_) => Answer { code: ResponseCode::FormErr, ..Answer::default() },
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.code;
        metadata.recursion_available = true;
        metadata.authoritative = answer.ours;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &answer.records, &answer.authority, [], []);
        match out.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "an answer to a DNS question could not be sent");
                let header = hickory_server::proto::op::Header { metadata, counts: Default::default() };
                header.into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
