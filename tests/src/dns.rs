//! A DNS server over UDP and TCP that says what a test tells it to, and counts who asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::wait::eventually;

/// What fits into an answer over UDP here, in bytes; a longer one is cut off, and the client is to come over TCP.
const UDP_SIZE: usize = 512;

/// What the server says of a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These records, of whatever type, with this TTL in seconds.
    Records(Vec<Record>, u32),
    /// The first list answers, and the second comes along as additional records.
    WithAdditional(Vec<Record>, Vec<(&'static str, Record)>, u32),
    /// There is no such name.
    NxDomain,
    /// It doesn't work.
    ServFail,
    /// Nothing at all.
    Silence,
    /// Something that no honest server says.
    Forged(Forgery),
}

/// Answers by which a client must not be fooled, stalled or broken. All of them offer 203.0.113.66.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Bytes that are no DNS message.
    Garbage,
    /// The right answer to a question with another number.
    AnotherId,
    /// An answer to another question.
    AnotherQuestion,
    /// A name that points to itself.
    PointerLoop,
    /// A header that promises 65,535 records, and one record.
    CountTooHigh,
    /// A record whose data goes beyond the end of the message.
    LengthTooHigh,
    /// A name that is an alias of itself.
    CnameLoop,
    /// An address of three bytes.
    ShortAddress,
}

impl Forgery {
    fn message(self, id: [u8; 2], question: &[u8]) -> Vec<u8> {
        if self == Forgery::Garbage {
            return vec![0xff; 40];
        }
        let id = if self == Forgery::AnotherId { [!id[0], id[1]] } else { id };
        let other = [encoded("evil.test"), vec![0, 1, 0, 1]].concat();
        let question = if self == Forgery::AnotherQuestion { &other } else { question };
        let answers: u16 = if self == Forgery::CountTooHigh { u16::MAX } else { 1 };
        let mut out = vec![id[0], id[1], 0x81, 0x80, 0, 1];
        out.extend(answers.to_be_bytes());
        out.extend([0; 4]);
        out.extend(question);
        // Where the record begins: a pointer to it points to itself.
        let here = 0xc000 | u16::try_from(out.len()).expect("a short message");
        let name = if self == Forgery::PointerLoop { here } else { 0xc00c };
        out.extend(name.to_be_bytes());
        let (kind, length): (u16, u16) = match self {
            Forgery::CnameLoop => (5, 2),
            Forgery::LengthTooHigh => (1, 4000),
            Forgery::ShortAddress => (1, 3),
            _ => (1, 4),
        };
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 1]);
        out.extend(length.to_be_bytes());
        match self {
            Forgery::CnameLoop => out.extend([0xc0, 12]),
            Forgery::ShortAddress => out.extend([203, 0, 113]),
            _ => out.extend([203, 0, 113, 66]),
        }
        out
    }
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub enum Record {
    /// An address: A or AAAA.
    Address(IpAddr),
    /// Priority, weight, port, target.
    Srv(u16, u16, u16, &'static str),
}

/// A record for this address.
pub fn address(ip: impl Into<IpAddr>) -> Record {
    Record::Address(ip.into())
}

/// `10.77.x.y`, n in all: nobody is there.
#[must_use]
pub fn many(n: u16) -> Vec<Record> {
    (0..n).map(|n| address(Ipv4Addr::new(10, 77, n.to_be_bytes()[0], n.to_be_bytes()[1]))).collect()
}

impl Record {
    fn type_code(self) -> u16 {
        match self {
            Record::Address(IpAddr::V4(_)) => 1,
            Record::Address(IpAddr::V6(_)) => 28,
            Record::Srv(..) => 33,
        }
    }

    fn data(self) -> Vec<u8> {
        match self {
            Record::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Record::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Record::Srv(priority, weight, port, target) => {
                let mut data: Vec<u8> =
                    [priority, weight, port].iter().flat_map(|n| n.to_be_bytes()).collect();
                data.extend(encoded(target));
                data
            }
        }
    }
}

/// The server. It ends when this is dropped.
pub struct DnsServer {
    addr: SocketAddr,
    state: Arc<State>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct State {
    zone: Mutex<BTreeMap<String, Says>>,
    /// Names in the order of the questions, and whether they came over TCP.
    questions: Mutex<Vec<(String, bool)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DnsServer {
    /// One that knows no name yet.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("its address")).await {
                break (udp, tcp);
            }
        };
        let (addr, state) = (tcp.local_addr().expect("its address"), Arc::new(State::default()));
        let tasks =
            [tokio::spawn(serve_udp(udp, state.clone())), tokio::spawn(serve_tcp(tcp, state.clone()))];
        DnsServer { addr, state, tasks }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it says this of the name.
    pub fn set(&self, name: &str, says: Says) {
        lock(&self.state.zone).insert(name.to_owned(), says);
    }

    /// From now on the name has these addresses, for a TTL in seconds.
    pub fn addresses<const N: usize>(&self, name: &str, addresses: [&str; N], ttl: u32) {
        let record = |text: &str| address(text.parse::<IpAddr>().expect("an address"));
        self.set(name, Says::Records(addresses.map(record).into(), ttl));
    }

    /// How often a name has been asked for.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.state.questions).iter().filter(|(asked, _)| asked == name).count()
    }

    /// How many questions came over TCP.
    #[must_use]
    pub fn asked_over_tcp(&self) -> usize {
        lock(&self.state.questions).iter().filter(|(_, tcp)| *tcp).count()
    }

    /// Waits until a name has been asked for `n` times more than now.
    pub async fn is_asked_again(&self, name: &str, n: usize) {
        let before = self.asked(name);
        let what = format!("{name} is asked for {n} times more");
        eventually(&what, async || (self.asked(name) >= before + n).then_some(())).await;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = state.answer(&buffer[..length], false) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, state.clone()));
    }
}

async fn serve_connection(mut stream: TcpStream, state: Arc<State>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(answer) = state.answer(&question, true) else { continue };
        let length = u16::try_from(answer.len()).expect("a short answer");
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

impl State {
    fn answer(&self, message: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = decoded(message, 12)?;
        // The question is its name, type and class.
        let question = message.get(12..end + 4)?;
        let wanted = u16::from_be_bytes([message[end], message[end + 1]]);
        lock(&self.questions).push((name.clone(), tcp));
        let says = lock(&self.zone).get(&name).cloned().unwrap_or(Says::NxDomain);
        let (mut code, mut answers, mut additional, mut ttl) = (0, Vec::new(), Vec::new(), 0);
        match says {
            Says::Records(records, seconds) => (answers, ttl) = (records, seconds),
            Says::WithAdditional(records, more, seconds) => {
                (answers, additional, ttl) = (records, more, seconds);
            }
            Says::NxDomain => code = 3,
            Says::ServFail => code = 2,
            Says::Silence => return None,
            Says::Forged(forgery) => return Some(forgery.message([message[0], message[1]], question)),
        }
        answers.retain(|record| record.type_code() == wanted);
        let mut body = Vec::new();
        for record in &answers {
            // The name is where the question has it.
            append(&mut body, &[0xc0, 12], *record, ttl);
        }
        for (name, record) in &additional {
            append(&mut body, &encoded(name), *record, ttl);
        }
        let cut = !tcp && 12 + question.len() + body.len() > UDP_SIZE;
        let counts = if cut { [1, 0, 0, 0] } else { [1, answers.len(), 0, additional.len()] };
        // A response, recursion desired and available; cut off or not; the code.
        let mut out = vec![message[0], message[1], 0x81 | u8::from(cut) << 1, 0x80 | code];
        for count in counts {
            out.extend(u16::try_from(count).expect("a short answer").to_be_bytes());
        }
        out.extend(question);
        if !cut {
            out.extend(body);
        }
        Some(out)
    }
}

fn append(out: &mut Vec<u8>, name: &[u8], record: Record, ttl: u32) {
    let data = record.data();
    out.extend(name);
    out.extend(record.type_code().to_be_bytes());
    out.extend(1_u16.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
    out.extend(data);
}

fn encoded(name: &str) -> Vec<u8> {
    let label =
        |label: &str| [&[u8::try_from(label.len()).expect("a short label")], label.as_bytes()].concat();
    let mut bytes: Vec<u8> = name.split('.').filter(|l| !l.is_empty()).flat_map(label).collect();
    bytes.push(0);
    bytes
}

/// The name at `at`, in lower case, and where it ends.
fn decoded(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 1));
        }
        let label = message.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + length;
    }
}
