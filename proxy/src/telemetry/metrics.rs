//! The counters behind the catalogue. Each worker writes its own set, so that a request pays plain loads and stores
//! and no cache line is fought over; a scrape adds the sets up.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A count with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more. Only the owning worker may call this: it is a load and a store, not an atomic addition.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more; see [`Counter::inc`].
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Moves the level; see [`Counter::inc`] for who may.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    /// The level now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The bucket of a latency.
#[inline]
pub fn bucket_of(micros: u64) -> usize {
    // Most calls end in the first buckets: a scan from below beats a binary search.
    BOUNDS_MICROS.iter().position(|&bound| micros <= bound).unwrap_or(BOUNDS_MICROS.len())
}

/// How many buckets there are; the last one has no upper bound.
pub const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// Upper bounds of the latency buckets in microseconds. From half a millisecond, about what a call on one host
/// costs, to the 15 s at which a request times out by default.
pub const BOUNDS_MICROS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 15_000_000,
];

/// Latencies by bucket, with their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_nanos: Counter,
}

impl Histogram {
    /// Counts one latency.
    #[inline]
    pub fn record(&self, latency: Duration) {
        let nanos = latency.as_nanos() as u64;
        self.buckets[bucket_of(nanos / 1_000)].inc();
        self.sum_nanos.add(nanos);
    }

    /// Adds this histogram to a sum over workers.
    pub fn add_to(&self, total: &mut HistogramTotal) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.sum_nanos += self.sum_nanos.get();
    }
}

/// A histogram added up over workers.
#[derive(Clone, Debug, Default)]
pub struct HistogramTotal {
    /// Observations by bucket, not cumulated; the last bucket has no upper bound.
    pub buckets: [u64; BUCKETS],
    /// The sum of all observations in nanoseconds.
    pub sum_nanos: u64,
}

impl HistogramTotal {
    /// How many observations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// How a response is classed in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Class {
    /// 100 to 199, anything outside 100 to 599, and what is no HTTP answer: a TCP connection that stands.
    Other,
    /// 200 to 299.
    Success,
    /// 300 to 399.
    Redirect,
    /// 400 to 499.
    ClientError,
    /// 500 to 599.
    ServerError,
    /// HTTP 200 whose head carries a gRPC status other than 0.
    GrpcError,
    /// No answer at all: of an endpoint, or (for a request) the proxy answered itself.
    None,
    /// The app went away before the response head.
    Cancelled,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// All of them.
    pub const ALL: [Class; Self::COUNT] = [
        Class::Other,
        Class::Success,
        Class::Redirect,
        Class::ClientError,
        Class::ServerError,
        Class::GrpcError,
        Class::None,
        Class::Cancelled,
    ];

    /// The class of an HTTP status.
    #[inline]
    pub fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Class::Success,
            300..=399 => Class::Redirect,
            400..=499 => Class::ClientError,
            500..=599 => Class::ServerError,
            _ => Class::Other,
        }
    }

    /// The label's value; `none` is what the absence of an answer is called in this family.
    pub fn as_str(self, none: &'static str) -> &'static str {
        match self {
            Class::Other => "other",
            Class::Success => "2xx",
            Class::Redirect => "3xx",
            Class::ClientError => "4xx",
            Class::ServerError => "5xx",
            Class::GrpcError => "grpc_error",
            Class::None => none,
            Class::Cancelled => "cancelled",
        }
    }
}

/// Counts by a word from a small fixed set (the reason of a retry, of a local response). A short list under a lock:
/// these are the paths where something has gone wrong already, and the words are `'static`, so no client can add any.
#[derive(Debug, Default)]
pub struct ByReason(Mutex<Vec<(&'static str, u64)>>);

impl ByReason {
    /// One more for this reason; returns how many there are now.
    pub fn inc(&self, reason: &'static str) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counts.push((reason, 1));
                1
            }
        }
    }

    /// All counts so far, in the order the reasons first came up.
    pub fn get(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum TunnelEnd {
    /// Both sides had said all they had to say.
    Closed,
    /// One side reset it.
    Broken,
    /// Nothing was said for the idle timeout.
    Idle,
    /// The proxy ended first.
    Drained,
    /// It never began: nobody could be reached at its other end.
    Failed,
}

impl TunnelEnd {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them.
    pub const ALL: [TunnelEnd; Self::COUNT] =
        [TunnelEnd::Closed, TunnelEnd::Broken, TunnelEnd::Idle, TunnelEnd::Drained, TunnelEnd::Failed];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            TunnelEnd::Closed => "closed",
            TunnelEnd::Broken => "broken",
            TunnelEnd::Idle => "idle",
            TunnelEnd::Drained => "drained",
            TunnelEnd::Failed => "failed",
        }
    }
}

/// Why a redirected connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectRefused {
    /// It was going to this proxy itself, or came from it: passed on, it would come back for ever.
    Loop,
    /// It was going to an address of the VIP range that stands for nothing, or not with this port.
    UnknownVip,
}

impl RedirectRefused {
    /// Both.
    pub const ALL: [RedirectRefused; 2] = [RedirectRefused::Loop, RedirectRefused::UnknownVip];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            RedirectRefused::Loop => "loop",
            RedirectRefused::UnknownVip => "unknown_vip",
        }
    }
}

/// What one worker counts of tunnels: TCP connections, upgrades, CONNECT.
#[derive(Debug, Default)]
pub struct TunnelCounters {
    /// Open ones.
    pub open: Gauge,
    /// Those that have ended, by how.
    pub ended: [Counter; TunnelEnd::COUNT],
    /// Bytes from the app.
    pub sent: Counter,
    /// Bytes to the app.
    pub received: Counter,
}

/// What one worker counts of one service.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Requests by class of the response the app got.
    pub requests: [Counter; Class::COUNT],
    /// Those of them that are gRPC calls, but for cancelled ones.
    pub grpc_requests: Counter,
    /// Latency to the response head.
    pub duration: Histogram,
    /// How long requests were in the queue of `maxRequests`, those that were turned away included.
    pub waited: Histogram,
    /// Responses broken off after their head.
    pub broken_bodies: Counter,
    /// Tunnels to its endpoints.
    pub tunnels: Arc<TunnelCounters>,
}

/// What one worker counts of one endpoint of a service.
#[derive(Debug, Default)]
pub struct EndpointCounters {
    /// Attempts by class of the answer.
    pub attempts: [Counter; Class::COUNT],
    /// Latency of attempts to the response head.
    pub duration: Histogram,
    /// Answers that broke off after their head.
    pub broken: Counter,
    /// Attempts under way.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Bytes written to its connections.
    pub bytes_sent: Counter,
    /// Bytes read from them.
    pub bytes_received: Counter,
    /// Connections that were opened.
    pub connects: Counter,
    /// Connections that could not be opened.
    pub connect_failures: Counter,
}

impl EndpointCounters {
    /// All attempts.
    pub fn attempts_so_far(&self) -> u64 {
        self.attempts.iter().map(Counter::get).sum()
    }
}

/// What one worker counts of its downstream side.
#[derive(Debug, Default)]
pub struct DownstreamCounters {
    /// Open connections.
    pub connections: Gauge,
    /// Accepted at VIP listeners.
    pub accepts_vip: Counter,
    /// Accepted at the forward proxy.
    pub accepts_forward_proxy: Counter,
    /// Those that were redirected to the same listener.
    pub accepts_redirected: Counter,
    /// Those of the app's callers.
    pub accepts_inbound: Counter,
    /// Connections accepted at an ingress.
    pub accepts_ingress: Counter,
    /// Connections whose bytes were not HTTP.
    pub protocol_errors: Counter,
    /// Connections on which the client sent more of something than any client has to.
    pub floods: Counter,
    /// Connections that began with TLS.
    pub tls: Counter,
    /// Connections that were closed because the app took too long.
    pub timeouts: Counter,
    /// Connections that broke in the middle of a message.
    pub broken: Counter,
    /// Connections whose task panicked, and HTTP/2 streams whose task did.
    pub panics: Counter,
    /// Requests that were for no service, by the reason they were refused for.
    pub unrouted: ByReason,
    /// Requests to names outside of the mesh, by class of the answer.
    pub outside: [Counter; Class::COUNT],
    /// Tunnels to names outside of the mesh.
    pub outside_tunnels: Arc<TunnelCounters>,
    /// Redirected connections that were passed through to where they were going.
    pub passthrough: Arc<TunnelCounters>,
    /// Redirected connections that were reset, by why.
    pub redirect_refused: ByReason,
}

/// One worker's counters of the things that the workers share by identity: all sets are found again for a scrape.
#[derive(Debug)]
pub struct PerWorker<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        PerWorker(Mutex::new(Vec::new()))
    }
}

impl<T: Default> PerWorker<T> {
    /// A new set for one worker.
    pub fn register(&self) -> Arc<T> {
        let set = Arc::new(T::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(set.clone());
        set
    }

    /// Visits every worker's set.
    pub fn each(&self, visit: impl FnMut(&T)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(AsRef::as_ref).for_each(visit);
    }

    /// Adds one count up over the workers.
    pub fn sum(&self, count: impl Fn(&T) -> u64) -> u64 {
        let mut total = 0;
        self.each(|set| total += count(set));
        total
    }
}

/// Counts that any thread may add to; for rare events only.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    /// Mesh files taken up.
    pub reloads_applied: AtomicU64,
    /// Mesh files refused.
    pub reloads_refused: AtomicU64,
    /// Connections of the app that were closed as soon as they came, by why.
    pub connections_refused: ByReason,
    /// 1 while the file on disk is refused.
    pub mesh_refused: AtomicU64,
    /// Lines of the access log that were lost.
    pub access_log_dropped: Arc<AtomicU64>,
}
