//! One request after the other, each tried again as the protocol says.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::answer::Verdict;
use super::connection::{Collector, Connection};
use super::counts::{Dropped, ExportCounts};
use super::patience::Patience;
use super::payload::Payload;

/// A batch is tried so often at most.
const MAX_TRIES: u32 = 5;
/// So often at the end.
const LAST_TRIES: u32 = 2;

/// What all couriers to one collector share.
pub(super) struct Post {
    pub(super) collector: Arc<Collector>,
    pub(super) counts: Arc<ExportCounts>,
    /// For one payload, all tries included.
    pub(super) limit: Duration,
    /// What it is, for the log.
    pub(super) what: &'static str,
    patience: Mutex<Patience>,
    /// The collector is back.
    back: Notify,
    /// The end is near.
    hurried: AtomicBool,
    /// The last tries before the end have failed.
    pub(super) given_up: Notify,
}

impl Post {
    pub(super) fn new(
        collector: Collector,
        counts: Arc<ExportCounts>,
        limit: Duration,
        what: &'static str,
    ) -> Self {
        let patience = Mutex::new(Patience::new(fastrand::Rng::new()));
        Post {
            collector: Arc::new(collector),
            counts,
            limit,
            what,
            patience,
            back: Notify::new(),
            hurried: AtomicBool::new(false),
            given_up: Notify::new(),
        }
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end is near: nobody waits for a pause to be over any more.
    pub(super) fn hurry(&self) {
        self.hurried.store(true, Relaxed);
        self.patience().hurry(std::time::Instant::now());
        self.back.notify_waiters();
    }

    /// Waits until it may be tried; at once unless there is trouble.
    async fn turn(&self) {
        loop {
            let back = self.back.notified();
            tokio::pin!(back);
            // Listening begins before looking.
            back.as_mut().enable();
            let Err(next) = self.patience().try_now(std::time::Instant::now()) else { return };
            tokio::select! {
                () = back => {}
                () = sleep_until(Instant::from_std(next)) => {}
            }
        }
    }

    fn failed(&self, why: &str, after: Option<Duration>) {
        self.counts.add_failure();
        let first = self.patience().failed(std::time::Instant::now(), after);
        let (what, url) = (self.what, self.url());
        if first {
            tracing::warn!(%why, "the collector at {url} does not take {what}; it is tried again, and what there is no room for is dropped");
        } else {
            tracing::debug!(%why, "the collector at {url} does not take {what} yet");
        }
    }

    fn answered(&self) {
        let away = self.patience().answered(std::time::Instant::now());
        if let Some(away) = away {
            self.back.notify_waiters();
            let (what, url) = (self.what, self.url());
            let dropped: u64 = Dropped::ALL.into_iter().map(|why| self.counts.dropped(why)).sum();
            tracing::info!(
                seconds = away.as_secs_f64(),
                dropped,
                "the collector at {url} takes {what} again; dropped is since the start"
            );
        }
    }

    fn refused(&self, why: &str, count: u64) {
        self.counts.add_failure();
        self.counts.add_dropped(Dropped::Refused, count);
        let first = self.patience().refused();
        let (what, url) = (self.what, self.url());
        if first {
            tracing::warn!(%why, count, "the collector at {url} refuses {what}, which are dropped; said once until it takes some");
        } else {
            tracing::debug!(%why, count, "the collector at {url} refuses {what}");
        }
    }

    fn taken(&self) {
        if self.patience().taken() {
            tracing::info!("the collector at {} refuses {} no more", self.url(), self.what);
        }
    }

    /// Scheme, host and port: more may be secret.
    fn url(&self) -> String {
        let url = &self.collector.target.url;
        let scheme = url.scheme_str().unwrap_or_default();
        let (host, port) = (url.host().unwrap_or_default(), url.port_u16());
        match port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }
}

/// One connection, and what has to be known to use it.
pub(super) struct Courier {
    post: Arc<Post>,
    connection: Connection,
}

impl Courier {
    pub(super) fn new(post: Arc<Post>) -> Self {
        let connection = Connection::new(post.collector.clone());
        Courier { post, connection }
    }

    /// Delivers one payload with so many items in it, and books what has become of them.
    pub(super) async fn deliver(&mut self, payload: &Payload, items: u64) {
        let post = self.post.clone();
        let end = Instant::now() + post.limit;
        if timeout_at(end, self.tries(payload, items)).await != Ok(true) {
            post.counts.add_dropped(Dropped::Failed, items);
        }
    }

    /// False: all tries have failed.
    async fn tries(&mut self, payload: &Payload, items: u64) -> bool {
        for tried in 1..=MAX_TRIES {
            self.post.turn().await;
            let post = &self.post;
            post.counts.add_request();
            let target = &post.collector.target;
            let answer = match timeout(target.timeout, self.connection.send(payload)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {:?}", target.timeout)),
            };
            let verdict = match answer {
                Ok(answer) => answer.verdict(target.protocol),
                Err(why) => Verdict::Later { why, after: None },
            };
            match verdict {
                Verdict::Taken { rejected, why } => {
                    let rejected = rejected.min(items);
                    post.counts.add_exported(items - rejected);
                    post.answered();
                    if rejected > 0 {
                        post.refused(&why, rejected);
                    } else {
                        post.taken();
                    }
                    return true;
                }
                Verdict::Never { why } => {
                    post.answered();
                    post.refused(&why, items);
                    return true;
                }
                Verdict::Later { why, after } => {
                    post.failed(&why, after);
                    // Whoever ends a proxy does not wait for a collector that is away.
                    if tried >= LAST_TRIES && post.hurried.load(Relaxed) {
                        post.given_up.notify_one();
                        return false;
                    }
                }
            }
        }
        false
    }
}
