//! Steady load over keep-alive connections, GETs and on demand POSTs among them, and what became of each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Raw;
use crate::wait::within;

/// Load that is under way.
pub struct Load {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    tally: Arc<Tally>,
    begun: Instant,
}

#[derive(Default)]
struct Tally {
    ok: AtomicU64,
    failures: Mutex<Vec<String>>,
    posts: AtomicU64,
    posts_ok: AtomicU64,
    post_failures: Mutex<Vec<String>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// GETs answered with 200, whole.
    pub ok: u64,
    /// The others: when, and what happened.
    pub failures: Vec<String>,
    /// POSTs answered with 200, whole.
    pub posts_ok: u64,
    /// The others of them.
    pub post_failures: Vec<String>,
    /// How long it went on.
    pub took: Duration,
}

impl Load {
    /// Sends `GET url` through the forward proxy, `per_second` times a second over `connections` connections.
    #[must_use]
    pub fn start(proxy: SocketAddr, url: &str, per_second: u32, connections: u32) -> Self {
        Self::with_posts(proxy, url, per_second, connections, 0)
    }

    /// The same, but each `post_every`th request of a connection (0: none) is a POST, which has a number of its own in
    /// its query: `?post=N`.
    #[must_use]
    pub fn with_posts(
        proxy: SocketAddr,
        url: &str,
        per_second: u32,
        connections: u32,
        post_every: u64,
    ) -> Self {
        let url: Arc<str> = url.into();
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::default());
        let begun = Instant::now();
        let every = Duration::from_secs(1) * connections / per_second;
        let mut tasks = JoinSet::new();
        for n in 0..connections {
            let (url, tally, stopped) = (url.clone(), tally.clone(), stopped.clone());
            tasks.spawn(async move {
                // The connections don't march in step.
                tokio::time::sleep(every * n / connections).await;
                let mut ticks = tokio::time::interval(every);
                let mut connection = None;
                let mut sent = 0;
                while !*stopped.borrow() {
                    ticks.tick().await;
                    sent += 1;
                    let post =
                        (post_every > 0 && sent % post_every == 0).then(|| tally.posts.fetch_add(1, Relaxed));
                    let (ok, failures) = match post {
                        Some(_) => (&tally.posts_ok, &tally.post_failures),
                        None => (&tally.ok, &tally.failures),
                    };
                    let asked = begun.elapsed();
                    if let Err(error) = call(&mut connection, proxy, &request(&url, post)).await {
                        connection = None;
                        let line = format!("from {asked:?} to {:?}: {error}", begun.elapsed());
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    } else {
                        ok.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        Load { stop, tasks, tally, begun }
    }

    /// GETs answered so far, POSTs not counted.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.tally.ok.load(Relaxed)
    }

    /// Lets it go on for a while.
    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Ends it, each request that is under way first.
    pub async fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        within("the load ends", async { while self.tasks.join_next().await.is_some() {} }).await;
        let taken = |lines: &Mutex<Vec<String>>| {
            std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner))
        };
        Report {
            ok: self.ok(),
            failures: taken(&self.tally.failures),
            posts_ok: self.tally.posts_ok.load(Relaxed),
            post_failures: taken(&self.tally.post_failures),
            took: self.begun.elapsed(),
        }
    }
}

fn request(url: &str, post: Option<u64>) -> String {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    match post {
        Some(n) => format!("POST {url}?post={n} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nonce"),
        None => format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    }
}

async fn call(connection: &mut Option<Raw>, proxy: SocketAddr, request: &str) -> Result<(), String> {
    let raw = match connection {
        Some(raw) => raw,
        None => {
            connection.insert(Raw::try_connect(proxy).await.map_err(|error| format!("connect: {error}"))?)
        }
    };
    raw.wire.send(request).await.map_err(|error| format!("send: {error}"))?;
    let answer = raw.try_response("POST").await.map_err(|error| format!("receive: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{}: {}", answer.status, answer.text().trim()));
    }
    // As a client must: the proxy may say that this was the last one.
    if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *connection = None;
    }
    Ok(())
}

impl Report {
    /// Not one GET failed, and the load was what it should be: at least `least` GETs.
    ///
    /// # Panics
    /// Some failed, or there were fewer.
    #[track_caller]
    pub fn assert_none_failed(&self, least: u64) {
        let n = self.failures.len();
        assert!(
            n == 0,
            "{n} of {} GETs failed, the first of them: {:#?}",
            self.ok + n as u64,
            &self.failures[..n.min(10)]
        );
        assert!(
            self.ok >= least,
            "{} GETs in {:?}, wanted {least}: the machine is too slow for this test",
            self.ok,
            self.took
        );
        let posts = self.posts_ok + self.post_failures.len() as u64;
        let failed = self.post_failures.len();
        eprintln!("{} GETs in {:?}, none failed; {posts} POSTs, {failed} failed", self.ok, self.took);
    }

    /// Not one POST failed either.
    ///
    /// # Panics
    /// Some did.
    #[track_caller]
    pub fn assert_no_post_failed(&self) {
        let n = self.post_failures.len();
        assert!(n == 0, "{n} POSTs failed, the first of them: {:#?}", &self.post_failures[..n.min(10)]);
    }
}
