//! Against a real etcd, in real time where leases run. `tests/run` sees to it that there is one, and says by
//! `BOWLINE_REQUIRE_INTEROP` that there must be; without it the tests are left out, aloud.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bowline_api::model::Endpoint;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::messages::RangeRequest;
use super::*;
use crate::lease::{Holder, LEASE};
use crate::store::{Store, StoreConfig};

/// Ten times what anything here should take, beside the leases themselves.
const PATIENCE: Duration = Duration::from_secs(60);

/// An etcd of its own, killed at the end.
struct Process {
    program: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
    data: TempDir,
    child: Child,
    _reserved: [TcpSocket; 2],
}

/// A port that nobody else is given while this lives, whether etcd runs or not: a socket that doesn't listen has it.
fn reserved() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

impl Process {
    fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|path| path.is_file());
        let Some(program) = program else {
            assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "etcd is missing");
            eprintln!("SKIPPED: etcd is missing; tests/run installs it");
            return None;
        };
        let (reserved, data) = ([reserved(), reserved()], tempfile::tempdir().unwrap());
        let [client, peer] = reserved.each_ref().map(|socket| socket.local_addr().unwrap());
        let child = spawn(&program, client, peer, data.path());
        Some(Process { program, client, peer, data, child, _reserved: reserved })
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(&self.program, self.client, self.peer, self.data.path());
    }

    async fn store(&self) -> Store {
        let store = format!("etcd://{}/mesh", self.client);
        Store::open(&StoreConfig { store, state_dir: None }).await.unwrap()
    }
}

fn spawn(program: &Path, client: SocketAddr, peer: SocketAddr, data: &Path) -> Child {
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let mut command = Command::new(program);
    command
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error", "--data-dir"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where a test has killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn registration(n: u8) -> Registration {
    let endpoint = Endpoint::new(([10, 0, 0, n], 80).into());
    Registration { service: "s".to_owned(), endpoint, node: format!("task-{n}"), version: "1".to_owned() }
}

/// A task's stream: it renews its lease until it is dropped, and announces again when that is gone.
struct Task {
    shared: Arc<Shared>,
    holder: Holder,
    registration: Registration,
    beat: JoinHandle<()>,
}

impl Task {
    fn start(store: &Store, n: u8) -> Self {
        let (shared, registration) = (store.shared().clone(), registration(n));
        let holder = shared.holder();
        shared.announce(holder, None, registration.clone()).unwrap();
        let (at, said) = (shared.clone(), registration.clone());
        let beat = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            loop {
                every.tick().await;
                if !at.renew(holder, &said.key()) {
                    at.announce(holder, None, said.clone()).unwrap();
                }
            }
        });
        Task { shared, holder, registration, beat }
    }

    fn withdraw(&self) {
        self.beat.abort();
        assert!(self.shared.withdraw(self.holder, &self.registration.key()));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

/// The last bytes of the addresses that a store knows.
fn known(store: &Store) -> Vec<u8> {
    let (endpoints, _) = store.shared().endpoints("s");
    let called = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
    called.filter_map(|e| e.address.to_string().split(['.', ':']).nth(3)?.parse().ok()).collect()
}

async fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < patience, "in {patience:?} this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Looks all the time whether it stays so.
async fn stays(what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert!(holds(), "after {:?} no more: {what}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn both_know(a: &Store, b: &Store, expected: &[u8]) {
    until(&format!("{expected:?} known by both"), PATIENCE, || known(a) == expected && known(b) == expected)
        .await;
}

#[test]
fn places() {
    let place: Place = "etcd://a:1,b.test:2/x/y/".parse().unwrap();
    assert_eq!((place.members.join(" "), place.prefix.as_str()), ("a:1 b.test:2".to_owned(), "x/y"));
    for (text, words) in [
        ("redis://a:1/x", "is no store: expected memory, or etcd://"),
        ("etcd://a:1", "has no prefix"),
        ("etcd://a:1/", "has no prefix"),
        ("etcd://a/x", "\"a\" in"),
        ("etcd://a:1,:2/x", "\":2\" in"),
        ("etcd://a:0/x", "no HOST:PORT"),
    ] {
        let why = text.parse::<Place>().unwrap_err();
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn entries_are_read_as_they_were_written() {
    let written = serde_json::to_string(&Entry::Withdrawn {}).unwrap();
    assert_eq!(written, r#"{"withdrawn":{}}"#);
    let entry = Entry::Registered(registration(1));
    assert_eq!(serde_json::from_slice::<Entry>(&serde_json::to_vec(&entry).unwrap()).unwrap(), entry);
    let keys = Keys::new("x/y");
    let six = Key { service: "s".to_owned(), address: "[fd00::1]:80".parse().unwrap() };
    for key in [registration(1).key(), six] {
        assert_eq!(keys.parse(&keys.of(&key)), Some(key));
    }
    assert_eq!(keys.parse(b"/x/y/registrations/s/nowhere"), None);
    assert_eq!(keys.parse(b"/x/z/registrations/s/10.0.0.1:80"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_see_what_the_other_has() {
    let Some(etcd) = Process::start() else { return };
    let (a, b) = (etcd.store().await, etcd.store().await);
    let (one, two) = (Task::start(&a, 1), Task::start(&b, 2));
    both_know(&a, &b, &[1, 2]).await;
    // One that opens later learns it at once.
    assert_eq!(known(&etcd.store().await), [1, 2]);
    one.withdraw();
    assert_eq!(known(&a), [2]);
    both_know(&a, &b, &[2]).await;
    // A task moves from one to the other, and its old stream can do no harm.
    let moved = Task::start(&a, 2);
    until("it is a's", PATIENCE, || !b.shared().is_taken_over(two.holder, &two.registration.key())).await;
    two.beat.abort();
    stays("the task is known by both", LEASE + Duration::from_secs(5), || {
        known(&a) == [2] && known(&b) == [2]
    })
    .await;
    moved.withdraw();
    both_know(&a, &b, &[]).await;
    // Many at once, in several transactions.
    let many: Vec<Task> = (0..250).map(|n| Task::start(&a, n)).collect();
    until("all of them", PATIENCE, || known(&b).len() == 250).await;
    many.iter().for_each(Task::withdraw);
    both_know(&a, &b, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_control_had_goes_with_its_lease() {
    let Some(etcd) = Process::start() else { return };
    let (a, b) = (etcd.store().await, etcd.store().await);
    let _one = Task::start(&a, 1);
    let _two = Task::start(&b, 2);
    both_know(&a, &b, &[1, 2]).await;
    let begun = Instant::now();
    // It says no word to etcd from now on.
    drop(a);
    until("its task is gone", LEASE * 4, || known(&b) == [2]).await;
    assert!(begun.elapsed() > Duration::from_secs(8), "{:?} is before the lease", begun.elapsed());
}

async fn outage(stop: impl FnOnce(&mut Process), go_on: impl FnOnce(&mut Process)) {
    let Some(mut etcd) = Process::start() else { return };
    let (a, b) = (etcd.store().await, etcd.store().await);
    let _one = Task::start(&a, 1);
    let _two = Task::start(&b, 2);
    let three = Task::start(&b, 3);
    both_know(&a, &b, &[1, 2, 3]).await;
    let names = BTreeMap::from([("a.test".to_owned(), None)]);
    let vips = a.vips(VipRange::DEFAULT, &names).await.unwrap();
    a.shared().board().take_news();
    stop(&mut etcd);
    // Longer than the lease in etcd lives.
    let away = LEASE + Duration::from_secs(7);
    let mut trouble = None;
    stays("what is known", away, || {
        trouble = a.shared().board().take_news().and_then(|news| news.trouble).or(trouble.take());
        known(&a) == [1, 2, 3] && known(&b) == [1, 2, 3]
    })
    .await;
    assert!(matches!(&trouble, Some(Some(why)) if why.contains("what is known stays")), "{trouble:?}");
    // Names that have an address keep it meanwhile; a new one can't have any.
    assert_eq!(a.vips(VipRange::DEFAULT, &names).await.unwrap(), vips);
    let more = BTreeMap::from([("new.test".to_owned(), None)]);
    let why = a.vips(VipRange::DEFAULT, &more).await.unwrap_err();
    assert!(why.contains("etcd is needed"), "{why}");
    // What comes and goes here meanwhile is known here.
    let four = Task::start(&a, 4);
    three.withdraw();
    assert_eq!((known(&a), known(&b)), (vec![1, 2, 3, 4], vec![1, 2]));
    go_on(&mut etcd);
    // At no moment anything is missing that lives.
    let begun = Instant::now();
    until("all of it is known by both", PATIENCE, || {
        assert!([&a, &b].iter().all(|store| known(store).starts_with(&[1, 2])), "{:?}", begun.elapsed());
        known(&a) == [1, 2, 4] && known(&b) == [1, 2, 4]
    })
    .await;
    stays("all of it", LEASE + Duration::from_secs(5), || known(&a) == [1, 2, 4] && known(&b) == [1, 2, 4])
        .await;
    until("the trouble is over", PATIENCE, || {
        trouble = a.shared().board().take_news().and_then(|news| news.trouble).or(trouble.take());
        trouble == Some(None)
    })
    .await;
    four.withdraw();
    both_know(&a, &b, &[1, 2]).await;
    assert_eq!(a.vips(VipRange::DEFAULT, &more).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_etcd_stands_still() {
    outage(|etcd| etcd.signal(Signal::STOP), |etcd| etcd.signal(Signal::CONT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_etcd_is_dead() {
    outage(Process::kill, Process::restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_can_not_be_reached_is_said() {
    let nobody = reserved();
    let place: Place = format!("etcd://{}/mesh", nobody.local_addr().unwrap()).parse().unwrap();
    let why = Etcd::open(place).await.unwrap_err();
    assert!(why.contains("has not answered within"), "{why}");
}

/// The request of `KV/Compact`.
#[derive(Clone, PartialEq, prost::Message)]
struct CompactionRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_past_is_gone_begins_anew() {
    let Some(etcd) = Process::start() else { return };
    let a = etcd.store().await;
    let (_one, two) = (Task::start(&a, 1), Task::start(&a, 2));
    both_know(&a, &a, &[1, 2]).await;
    let client = Client::new(&[etcd.client.to_string()]).unwrap();
    let prefix = "/mesh/registrations/";
    until("both are in etcd", PATIENCE, || a.shared().board().to_put(1).is_empty()).await;
    two.withdraw();
    let revision = loop {
        let (found, revision) =
            client.list(prefix.as_bytes(), &client::after_prefix(prefix.as_bytes())).await.unwrap();
        if found.len() == 1 {
            break revision;
        }
    };
    let _: RangeRequest =
        client.call("/etcdserverpb.KV/Compact", CompactionRequest { revision }).await.unwrap();
    // Another one has been away since before all of that.
    let shared = Shared::new();
    let link = Link { client, keys: Keys::new("mesh"), shared: shared.clone() };
    let watch = tokio::spawn(watcher::follow(Arc::new(link), 0));
    until("it knows the present", PATIENCE, || shared.endpoints("s").0.len() == 1).await;
    let _three = Task::start(&a, 3);
    until("it follows it", PATIENCE, || shared.endpoints("s").0.len() == 2).await;
    watch.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_given_once_though_two_give_them() {
    let Some(etcd) = Process::start() else { return };
    let (a, b) = (etcd.store().await, etcd.store().await);
    // A small range, so that names collide; both give addresses to more and more names.
    let range: VipRange = "127.9.0.0/24".parse().unwrap();
    let names = |upto: u8| -> BTreeMap<String, Option<Ipv4Addr>> {
        (0..upto).map(|n| (format!("name-{n}.test"), None)).collect()
    };
    let run = |store: Store| async move {
        let mut given = BTreeMap::new();
        for upto in (20..=200).step_by(20) {
            let now = store.vips(range, &names(upto)).await.unwrap();
            for (name, vip) in given {
                assert_eq!(now[&name], vip, "{name} has moved");
            }
            given = now;
        }
        given
    };
    let (a, b) = tokio::join!(tokio::spawn(run(a)), tokio::spawn(run(b)));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.len(), &a), (200, &b));
    let different: std::collections::BTreeSet<_> = a.values().collect();
    assert_eq!(different.len(), 200);
}
