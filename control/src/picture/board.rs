//! The picture with a clock and a lock, and how often proxies are to report to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowline_api::admin::Explanation;
use bowline_api::control_admin::{Clients, Snapshot};
use bowline_api::picture::{self, History};
use bowline_xds::load_report::Report;
use bowline_xds::node::NodeInfo;
use bowline_xds::world::World;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub use super::explain::NoUrl;
use super::page::Look;
use super::{ClientKey, LIVE, Picture, QUIET};
use crate::hub::Hub;

/// For how long proxies go on reporting live after somebody has looked.
const LOOKED_FOR: Duration = Duration::from_secs(30);

/// Where reports come together.
#[derive(Debug)]
pub struct Board {
    picture: Mutex<Picture>,
    hub: Arc<Hub>,
    started: Instant,
    /// Reports are always live: new meshes are judged by them.
    always_live: bool,
    interval: watch::Sender<Duration>,
    looked: watch::Sender<Option<Instant>>,
}

impl Board {
    /// Of the clients of this hub. `always_live`: whether or not anybody looks.
    pub fn new(hub: Arc<Hub>, always_live: bool) -> Arc<Self> {
        let mut picture = Picture::default();
        picture.set_live(always_live, Duration::ZERO);
        Arc::new(Board {
            picture: Mutex::new(picture),
            hub,
            started: Instant::now(),
            always_live,
            interval: watch::Sender::new(if always_live { LIVE } else { QUIET }),
            looked: watch::Sender::new(None),
        })
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How often clients are to report: as it is and will be.
    pub fn interval(&self) -> watch::Receiver<Duration> {
        self.interval.subscribe()
    }

    /// Lets clients report live while somebody looks, and less often when nobody has for half a minute. For ever.
    pub async fn keep(self: Arc<Self>) {
        let mut looked = self.looked.subscribe();
        loop {
            let until = looked.borrow_and_update().map(|at| at + LOOKED_FOR);
            tokio::select! {
                changed = looked.changed() => if changed.is_err() { return },
                () = async { sleep_until(until.unwrap_or_else(Instant::now)).await }, if until.is_some() => {
                    self.settle();
                    if looked.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Decides how often clients are to report. Under the lock: who looks in this moment must not be overruled by whoever
    /// has just found that nobody does.
    fn settle(&self) {
        let mut picture = self.picture();
        let is_looked_at = self.looked.borrow().is_some_and(|at| at.elapsed() < LOOKED_FOR);
        let live = self.always_live || is_looked_at;
        picture.set_live(live, self.now());
        let interval = if live { LIVE } else { QUIET };
        self.interval.send_if_modified(|now| std::mem::replace(now, interval) != interval);
    }

    /// A client begins to report.
    pub fn join(self: &Arc<Self>, node: &NodeInfo) -> Reporting {
        let key = self.picture().join(&node.id, &node.caller);
        Reporting { board: self.clone(), key }
    }

    fn worlds(&self) -> Vec<Arc<World>> {
        let (stable, trial) = self.hub.worlds();
        std::iter::once(stable).chain(trial).collect()
    }

    /// Somebody looks: from now on clients report live.
    fn look<T>(&self, snapshot: &Snapshot, see: impl FnOnce(&Picture, Look<'_>) -> T) -> T {
        self.looked.send_replace(Some(Instant::now()));
        self.settle();
        let (revision, clients) = self.hub.clients();
        let (clients, worlds) = (Clients { revision, clients }, self.worlds());
        let (now, unix) = (self.now(), unix());
        let mut picture = self.picture();
        picture.advance(now, &worlds);
        // There is always the stable one.
        let nothing = World::default();
        let world = worlds.first().map_or(&nothing, |world| &**world);
        see(&picture, Look { snapshot, world, clients: &clients, now, unix })
    }

    /// The whole picture.
    pub fn page(&self, snapshot: &Snapshot) -> picture::Picture {
        self.look(snapshot, Picture::page)
    }

    /// The last hour of a service, or of all.
    ///
    /// # Errors
    /// There is no such service: says which name comes nearest.
    pub fn history(&self, service: Option<&str>) -> Result<History, String> {
        let worlds = self.worlds();
        if let Some(service) = service
            && !worlds.iter().any(|world| world.services.contains_key(service))
        {
            let names = worlds.iter().flat_map(|world| world.services.keys()).map(String::as_str);
            let nearest = bowline_api::nearest(service, names).map(|name| format!("; did you mean {name}?"));
            return Err(format!("the mesh has no service {service:?}{}", nearest.unwrap_or_default()));
        }
        let (now, unix) = (self.now(), unix());
        let mut picture = self.picture();
        picture.advance(now, &worlds);
        Ok(picture.history(service, now, unix))
    }

    /// What would become of a request.
    ///
    /// # Errors
    /// It is no absolute URL.
    pub fn explain(&self, url: &str, snapshot: &Snapshot) -> Result<Explanation, NoUrl> {
        let behind = |service: &str| self.hub.behind(service);
        self.look(snapshot, |picture, look| picture.explain(url, look, behind))
    }
}

fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A client that reports; dropped, it has gone.
#[derive(Debug)]
pub struct Reporting {
    board: Arc<Board>,
    key: ClientKey,
}

impl Reporting {
    /// Takes a report.
    pub fn report(&self, report: &Report) {
        let (worlds, now) = (self.board.worlds(), self.board.now());
        self.board.picture().take(self.key, report, now, unix(), &worlds);
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.board.picture().leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn board(always_live: bool) -> Arc<Board> {
        let hub = Hub::new(Arc::default(), Arc::new(Metrics::default()), 10);
        Board::new(hub, always_live)
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            namespace: "mesh.test".to_owned(),
            revision: 0,
            services: Vec::new(),
            troubles: Vec::new(),
            held_back: None,
        }
    }

    /// The clock goes on by itself whenever nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn reports_are_live_for_half_a_minute_after_each_look() {
        let board = board(false);
        let keeper = tokio::spawn(board.clone().keep());
        let mut interval = board.interval();
        assert_eq!(*interval.borrow_and_update(), QUIET);
        let began = Instant::now();
        board.page(&snapshot());
        assert_eq!(*interval.borrow_and_update(), LIVE);
        tokio::time::sleep(Duration::from_secs(20)).await;
        board.page(&snapshot());
        assert!(!interval.has_changed().unwrap(), "nothing is new");
        interval.changed().await.unwrap();
        assert_eq!(*interval.borrow_and_update(), QUIET);
        assert_eq!(began.elapsed().as_secs(), 50);
        // The history is no reason to report more often: it is made of what comes anyway.
        board.history(None).unwrap();
        assert!(!interval.has_changed().unwrap());
        board.explain("http://x/", &snapshot()).unwrap();
        assert_eq!(*interval.borrow_and_update(), LIVE);
        keeper.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_judges_meshes_always_wants_reports() {
        let board = board(true);
        let keeper = tokio::spawn(board.clone().keep());
        let interval = board.interval();
        assert_eq!(*interval.borrow(), LIVE);
        board.page(&snapshot());
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!((*interval.borrow(), interval.has_changed().unwrap()), (LIVE, false));
        keeper.abort();
    }
}
