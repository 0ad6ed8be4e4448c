//! How this proxy and its control plane get along: for readiness, metrics and admin pages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bowline_api::admin::{ControlPlane, RejectedResource};

/// How long a proxy that knows no mesh counts as not ready: an app that must wait for the control plane would not
/// start without it.
const READY_AFTER: Duration = Duration::from_secs(5);

/// What is known of the control plane. Discovery writes it.
#[derive(Debug)]
pub struct ControlStatus {
    started: Instant,
    /// A mesh is in force: pushed, last good or a seed.
    has_mesh: AtomicBool,
    connected: AtomicBool,
    /// Streams opened.
    pub streams: AtomicU64,
    /// Responses taken in.
    pub pushes: AtomicU64,
    /// Resources refused.
    pub rejected: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    url: String,
    trouble: Option<String>,
    since: Option<Instant>,
    last_push: Option<Instant>,
    /// Where the mesh in force is from, and how old that was.
    mesh_from: String,
    rejected: BTreeMap<(String, String), String>,
}

impl ControlStatus {
    /// Nothing is known yet.
    pub fn new() -> Self {
        ControlStatus {
            started: Instant::now(),
            has_mesh: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            streams: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream to this address is open.
    pub fn connected(&self, url: &str) {
        self.streams.fetch_add(1, Relaxed);
        self.connected.store(true, Relaxed);
        let mut inner = self.inner();
        url.clone_into(&mut inner.url);
        inner.trouble = None;
        inner.since = Some(Instant::now());
    }

    /// The stream has ended, or none came about.
    pub fn lost(&self, url: &str, why: &str) {
        let was = self.connected.swap(false, Relaxed);
        let mut inner = self.inner();
        url.clone_into(&mut inner.url);
        inner.trouble = Some(why.to_owned());
        if was || inner.since.is_none() {
            inner.since = Some(Instant::now());
        }
    }

    /// A response was taken in, and this is what it left refused.
    pub fn pushed(&self, rejected: BTreeMap<(String, String), String>) {
        self.pushes.fetch_add(1, Relaxed);
        let mut inner = self.inner();
        inner.last_push = Some(Instant::now());
        inner.rejected = rejected;
    }

    /// A mesh is in force, from `control`, `last good` or `seed`.
    pub fn has_mesh(&self, from: &str) {
        self.has_mesh.store(true, Relaxed);
        from.clone_into(&mut self.inner().mesh_from);
    }

    /// Whether a stream is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// How many resources are refused at the moment.
    pub fn rejected_now(&self) -> usize {
        self.inner().rejected.len()
    }

    /// Seconds since the last response; `None`: there has been none.
    pub fn last_push_age(&self) -> Option<f64> {
        self.inner().last_push.map(|at| at.elapsed().as_secs_f64())
    }

    /// Why this proxy is not ready; `None`: it is.
    pub fn not_ready(&self) -> Option<String> {
        if self.has_mesh.load(Relaxed) || self.started.elapsed() >= READY_AFTER {
            return None;
        }
        Some(self.why_absent())
    }

    /// Why there is no mesh.
    pub fn why_absent(&self) -> String {
        match &self.inner().trouble {
            Some(why) => format!("the control plane has not been reached yet: {why}"),
            None => "the control plane has not sent the mesh yet".to_owned(),
        }
    }

    /// What `/config` shows.
    pub fn page(&self) -> ControlPlane {
        let inner = self.inner();
        let rejected = inner
            .rejected
            .iter()
            .map(|((kind, name), why)| RejectedResource {
                kind: kind.clone(),
                name: name.clone(),
                why: why.clone(),
            })
            .collect();
        ControlPlane {
            url: inner.url.clone(),
            connected: self.is_connected(),
            seconds: inner.since.map(|since| since.elapsed().as_secs_f64()),
            trouble: inner.trouble.clone(),
            mesh_from: inner.mesh_from.clone(),
            rejected,
        }
    }
}

impl Default for ControlStatus {
    fn default() -> Self {
        Self::new()
    }
}

/// When something was, for a file.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
