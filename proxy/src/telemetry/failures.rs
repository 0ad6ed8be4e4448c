//! The last failures, with their reasons: always on, touched only where something has gone wrong already.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

/// How many are kept.
pub const KEPT: usize = 64;
/// The longest text, in bytes.
pub const MAX_DETAIL: usize = 200;
/// Texts written in a second; of further failures only repetitions are counted. Metrics count all of them.
const A_SECOND: u32 = 64;

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When, the last time.
    pub at: SystemTime,
    /// The service; empty: the request was for none.
    pub service: String,
    /// The endpoint that was asked.
    pub endpoint: Option<SocketAddr>,
    /// Why: a word as in `x-bowline-error`, or `status_503` and the like, `ejected`, `broken_body`.
    pub reason: &'static str,
    /// The cause in words; at most [`MAX_DETAIL`] bytes.
    pub detail: String,
    /// The app got the failure; false: it was tried again, or no request was concerned.
    pub told: bool,
    /// How often, in a row.
    pub times: u64,
}

/// What is noted of a failure.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// See [`Failure::service`].
    pub service: &'a str,
    /// See [`Failure::endpoint`].
    pub endpoint: Option<SocketAddr>,
    /// See [`Failure::reason`].
    pub reason: &'static str,
    /// See [`Failure::told`].
    pub told: bool,
}

/// The last [`KEPT`] failures of the process. Each has a number, one more than the one before.
#[derive(Debug, Default)]
pub struct Failures {
    ring: Mutex<Ring>,
    /// Rung at an ejection.
    ejected: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the last failure.
    last: u64,
    /// The second that is counted, since 1970, and the texts written in it.
    second: u64,
    written: u32,
    /// Where texts are written before they are compared.
    scratch: String,
}

/// Failures in a row that are the same.
#[derive(Debug)]
struct Entry {
    /// The numbers of the first and the last of them.
    numbers: (u64, u64),
    failure: Failure,
}

impl Entry {
    fn is(&self, note: Note<'_>) -> bool {
        let known = &self.failure;
        known.reason == note.reason
            && known.endpoint == note.endpoint
            && known.told == note.told
            && known.service == note.service
    }
}

impl Failures {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a failure, now. `detail` is written only where there is room for it.
    #[cold]
    pub fn note(&self, note: Note<'_>, detail: impl fmt::Display) {
        self.note_at(SystemTime::now(), note, &detail);
    }

    /// An endpoint was ejected, for so long.
    #[cold]
    pub fn note_ejection(&self, service: &str, endpoint: SocketAddr, length: Duration) {
        let note = Note { service, endpoint: Some(endpoint), reason: "ejected", told: false };
        self.note(note, format_args!("out for {:.1} s after failures in a row", length.as_secs_f64()));
        self.ejected.notify_one();
    }

    /// Waits for an ejection; one that nobody has waited for counts too.
    pub async fn ejection(&self) {
        self.ejected.notified().await;
    }

    fn note_at(&self, at: SystemTime, note: Note<'_>, detail: &dyn fmt::Display) {
        let mut ring = self.ring();
        let ring = &mut *ring;
        let second = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if ring.second != second {
            (ring.second, ring.written) = (second, 0);
        }
        let newest = ring.entries.back_mut().filter(|entry| entry.is(note));
        let has_room = ring.written < A_SECOND;
        if has_room {
            ring.written += 1;
            ring.scratch.clear();
            // It stops at its end, and nothing else can go wrong.
            let _ = write!(Bounded(&mut ring.scratch), "{detail}");
        }
        match newest {
            // A text that was not written may well be the same.
            Some(entry) if !has_room || entry.failure.detail == ring.scratch => {
                ring.last += 1;
                entry.numbers.1 = ring.last;
                entry.failure.at = at;
            }
            _ if has_room => {
                if ring.entries.len() == KEPT {
                    ring.entries.pop_front();
                }
                ring.last += 1;
                let Note { service, endpoint, reason, told } = note;
                let detail = ring.scratch.clone();
                let failure =
                    Failure { at, service: service.to_owned(), endpoint, reason, detail, told, times: 1 };
                ring.entries.push_back(Entry { numbers: (ring.last, ring.last), failure });
            }
            _ => {}
        }
    }

    /// All that came after the failure with this number, 0: all that there are; oldest first, each with its number. Of
    /// those that are the same there is one, with the number of the last and counted from that number on.
    pub fn since(&self, number: u64) -> Vec<(u64, Failure)> {
        let ring = self.ring();
        let newer = ring.entries.iter().filter(|entry| entry.numbers.1 > number);
        let since = |entry: &Entry| {
            let (first, last) = entry.numbers;
            let times = last - number.max(first - 1);
            (last, Failure { times, ..entry.failure.clone() })
        };
        newer.map(since).collect()
    }
}

/// Takes so much and no more.
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_DETAIL - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
