//! Where registrations and VIPs are kept: in this process, for one control; in etcd, for several that share them.

mod board;
mod etcd;
mod memory;
mod vips;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_api::model::Endpoint;
use bowline_api::vip::VipRange;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use self::board::Board;
pub(crate) use self::board::News;
use self::etcd::{Etcd, Place};
use self::memory::Memory;
use crate::lease::{Full, Holder, Key, Moment, Registration};

/// Where the store is, as the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// `memory`, or `etcd://HOST:PORT[,HOST:PORT]/PREFIX`.
    pub store: String,
    /// Where VIPs are remembered over restarts, with `memory`; `None`: not at all.
    pub state_dir: Option<PathBuf>,
}

/// The registrations and VIPs.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Memory),
    /// In etcd.
    Etcd(Etcd),
}

impl StoreConfig {
    /// Whether the words can be understood.
    ///
    /// # Errors
    /// They can't: what is wrong.
    pub fn check(&self) -> Result<(), String> {
        match self.store.as_str() {
            "memory" => Ok(()),
            place => place.parse::<Place>().map(drop),
        }
    }
}

impl Store {
    /// Opens the store that is wanted. Must be called in a tokio runtime, in which the store goes on to work.
    ///
    /// # Errors
    /// The words are not understood, or etcd can't be reached within a few seconds: what is wrong.
    pub async fn open(config: &StoreConfig) -> Result<Self, String> {
        if config.store == "memory" {
            return Ok(Store::Memory(Memory::open(config.state_dir.as_deref())));
        }
        let place: Place = config.store.parse()?;
        Ok(Store::Etcd(Etcd::open(place).await?))
    }

    /// The address of every name. `names` are lower-cased dnsNames with the address their `vip:` pins, if any. What was
    /// given before stays, and is not given to another name for a day.
    ///
    /// # Errors
    /// The range is full or pins exclude each other; or etcd is away and a name is new. What is wrong, in words.
    pub async fn vips(
        &self,
        range: VipRange,
        names: &BTreeMap<String, Option<Ipv4Addr>>,
    ) -> Result<BTreeMap<String, Ipv4Addr>, String> {
        match self {
            Store::Memory(memory) => memory.vips(range, names),
            Store::Etcd(etcd) => etcd.vips(range, names).await,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        match self {
            Store::Memory(memory) => &memory.shared,
            Store::Etcd(etcd) => &etcd.shared,
        }
    }

    /// How many endpoints are registered.
    pub fn registrations(&self) -> usize {
        self.shared().board().len()
    }
}

/// The registrations, shared by streams, the source, and whoever keeps them.
#[derive(Debug)]
pub(crate) struct Shared {
    board: Mutex<Board>,
    began: Instant,
    holders: AtomicU64,
    /// For the source: there is something to report.
    news: Notify,
    /// For the clock: something may fall due earlier.
    clock: Notify,
    /// For the keeper of etcd: there may be something to tell it.
    work: Notify,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Shared {
            board: Mutex::new(Board::new()),
            began: Instant::now(),
            holders: AtomicU64::new(1),
            news: Notify::new(),
            clock: Notify::new(),
            work: Notify::new(),
        })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // A panic in between leaves it usable: each change is one call.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Changes the board, and tells all who may have something to do.
    fn change<T>(&self, change: impl FnOnce(&mut Board, Moment) -> T) -> T {
        let now = self.now();
        let result = change(&mut self.board(), now);
        self.news.notify_one();
        self.clock.notify_one();
        self.work.notify_one();
        result
    }

    /// Changes the board by what etcd says.
    fn told<T>(&self, change: impl FnOnce(&mut Board, Moment) -> T) -> T {
        self.change(change)
    }

    /// Changes the board by what the keeper of etcd has done; it needs no waking.
    fn seen<T>(&self, change: impl FnOnce(&mut Board, Moment) -> T) -> T {
        let now = self.now();
        let result = change(&mut self.board(), now);
        self.news.notify_one();
        self.clock.notify_one();
        result
    }

    /// A number for a new stream.
    pub(crate) fn holder(&self) -> Holder {
        Holder(self.holders.fetch_add(1, Relaxed))
    }

    /// A stream announces, or announces something else.
    pub(crate) fn announce(
        &self,
        holder: Holder,
        peer: Option<IpAddr>,
        registration: Registration,
    ) -> Result<(), Full> {
        self.change(|board, now| board.announce(holder, peer, registration, now))
    }

    /// A heartbeat. False: the lease has run out, or somebody else has it.
    pub(crate) fn renew(&self, holder: Holder, key: &Key) -> bool {
        // Nothing falls due earlier by this, so nobody is woken.
        let now = self.now();
        self.board().renew(holder, key, now)
    }

    /// Whether another stream holds it.
    pub(crate) fn is_taken_over(&self, holder: Holder, key: &Key) -> bool {
        self.board().is_taken_over(holder, key)
    }

    /// The task goes.
    pub(crate) fn withdraw(&self, holder: Holder, key: &Key) -> bool {
        self.change(|board, _| board.withdraw(holder, key))
    }

    /// The endpoints of a service, and whether that is all of them.
    pub(crate) fn endpoints(&self, service: &str) -> (Vec<Endpoint>, bool) {
        let board = self.board();
        (board.endpoints(service), board.is_settled())
    }

    /// Waits for the next news. Only one may wait. Safe to cancel.
    pub(crate) async fn news(&self) -> News {
        loop {
            let news = self.board().take_news();
            if let Some(news) = news {
                return news;
            }
            self.news.notified().await;
        }
    }

    /// Ends leases as they run out, for ever.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let due = self.board().next_due();
            let due = async {
                match due {
                    Some(due) => sleep_until(self.began + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    self.change(Board::tick);
                }
                () = self.clock.notified() => {}
            }
        }
    }
}

/// Tasks that end with their owner.
#[derive(Debug, Default)]
struct Tasks(Vec<AbortHandle>);

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task).abort_handle());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Seconds since 1970.
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
