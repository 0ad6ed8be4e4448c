//! Taps: somebody looks at requests as they end, at those that their filter lets through.

pub mod query;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};
use tokio::sync::mpsc;

use super::line::{is_failure, json};
use super::wall::Wall;
use crate::record::{Observers, Record, Wants};

/// Lines that may wait for one who reads slowly.
const WAITING: usize = 1024;
/// Taps at a time.
const MOST: usize = 8;

/// Which requests a tap shows: those that meet all that is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// To this service.
    pub service: Option<String>,
    /// With an attempt at this endpoint.
    pub endpoint: Option<SocketAddr>,
    /// With a status from here …
    pub from_status: Option<u16>,
    /// … to here.
    pub to_status: Option<u16>,
    /// Failed ones: 5xx, answered by the proxy itself, broken off.
    pub failed: bool,
    /// Ones that were tried more than once.
    pub retried: bool,
    /// With this method.
    pub method: Option<Method>,
    /// Whose path begins so.
    pub path: Option<String>,
    /// With this header, and where a value is given, with that in it.
    pub header: Option<(HeaderName, Option<String>)>,
    /// That took at least this long.
    pub slower_than: Option<Duration>,
}

impl Filter {
    /// Whether the filter lets it through.
    pub fn takes(&self, record: &Record) -> bool {
        let meets = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        meets(&self.service, record.service.as_ref().map_or("", |service| &service.name))
            && self.endpoint.is_none_or(|addr| record.attempts.iter().any(|a| a.endpoint.addr == addr))
            && self.from_status.is_none_or(|from| record.status >= from)
            && self.to_status.is_none_or(|to| (1..=to).contains(&record.status))
            && (!self.failed || is_failure(record))
            && (!self.retried || record.attempts.len() > 1)
            && self.method.as_ref().is_none_or(|method| *method == record.method)
            && self.path.as_ref().is_none_or(|path| record.texts.path().starts_with(path.as_str()))
            && self.slower_than.is_none_or(|least| record.ended.since(record.started) >= least)
            && self.header.as_ref().is_none_or(|(name, value)| has_header(record, name, value.as_deref()))
    }
}

fn has_header(record: &Record, name: &HeaderName, part: Option<&str>) -> bool {
    let Some(headers) = &record.headers else { return false };
    let has = |value: &http::HeaderValue| match part {
        None => true,
        Some(part) => String::from_utf8_lossy(value.as_bytes()).contains(part),
    };
    headers.get_all(name).iter().any(has)
}

#[derive(Debug)]
struct Tap {
    number: u64,
    filter: Filter,
    with_query: bool,
    lines: mpsc::Sender<Bytes>,
    missed: Arc<AtomicU64>,
}

/// All taps.
#[derive(Debug)]
pub struct Taps {
    observers: Arc<Observers>,
    taps: Mutex<(u64, Vec<Tap>)>,
}

/// One tap's end; dropped, the tap is over.
#[derive(Debug)]
pub struct Tapped {
    taps: Arc<Taps>,
    number: u64,
    lines: mpsc::Receiver<Bytes>,
    /// Lines that were lost because nobody had read those before.
    missed: Arc<AtomicU64>,
}

impl Taps {
    /// None yet.
    pub fn new(observers: Arc<Observers>) -> Arc<Self> {
        Arc::new(Taps { observers, taps: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Tap>)> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one. `None`: there are too many.
    pub fn tap(self: &Arc<Self>, filter: Filter, with_query: bool) -> Option<Tapped> {
        let mut taps = self.lock();
        let (last, taps) = &mut *taps;
        if taps.len() >= MOST {
            return None;
        }
        *last += 1;
        let (lines, received) = mpsc::channel(WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        taps.push(Tap { number: *last, filter, with_query, lines, missed: missed.clone() });
        self.tell(taps);
        Some(Tapped { taps: self.clone(), number: *last, lines: received, missed })
    }

    /// Tells the workers what is looked at.
    fn tell(&self, taps: &[Tap]) {
        let headers = taps.iter().any(|tap| tap.filter.header.is_some());
        for (wanted, bit) in [(!taps.is_empty(), Wants::TAP), (headers, Wants::HEADERS)] {
            match wanted {
                true => self.observers.want(bit),
                false => self.observers.want_no_more(bit),
            }
        }
    }

    /// Shows these records to whom they concern.
    pub(super) fn show(&self, records: &[Record], wall: Wall) {
        let taps = self.lock();
        for tap in &taps.1 {
            for record in records.iter().filter(|record| tap.filter.takes(record)) {
                let mut line = String::with_capacity(512);
                json(record, wall, tap.with_query, &mut line);
                line.push('\n');
                if tap.lines.try_send(line.into()).is_err() {
                    tap.missed.fetch_add(1, Relaxed);
                }
            }
        }
    }
}

impl Tapped {
    /// The next line; one that says so where some were lost.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.missed.swap(0, Relaxed) {
            0 => self.lines.poll_recv(cx),
            missed => Poll::Ready(Some(format!("{{\"missed\":{missed}}}\n").into())),
        }
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        let mut taps = self.taps.lock();
        taps.1.retain(|tap| tap.number != self.number);
        self.taps.tell(&taps.1);
    }
}
