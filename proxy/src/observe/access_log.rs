//! The access log: a line for each request, on stdout. Lines are made on the thread that looks at records and written on
//! one of their own: where stdout is full, lines are lost and counted, and nothing else waits.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::line;
use super::wall::Wall;
use crate::config::AccessLogFormat;
use crate::record::Record;

/// Pieces that may wait to be written, each the lines of one batch.
const WAITING: usize = 128;

/// What of requests is logged.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How lines look.
    pub format: AccessLogFormat,
    /// With query strings.
    pub with_query: bool,
    /// The share of requests that get a line, 0 to 100; failures always do.
    pub percent: f64,
}

/// The access log.
#[derive(Debug)]
pub struct AccessLog {
    settings: Settings,
    rng: fastrand::Rng,
    lines: String,
    count: u64,
    writer: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts it. `dropped` counts lines that are lost.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(settings: Settings, seed: u64, dropped: Arc<AtomicU64>) -> std::io::Result<Self> {
        let (writer, pieces) = sync_channel::<String>(WAITING);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            for piece in pieces {
                // Others write there as well, whole lines at a time.
                let mut stdout = std::io::stdout().lock();
                // Whoever has closed stdout wants no log.
                if stdout.write_all(piece.as_bytes()).and_then(|()| stdout.flush()).is_err() {
                    return;
                }
            }
        })?;
        let rng = fastrand::Rng::with_seed(seed);
        Ok(AccessLog { settings, rng, lines: String::new(), count: 0, writer, dropped })
    }

    /// A line for a request, if it gets one.
    pub(super) fn add(&mut self, record: &Record, wall: Wall) {
        let Settings { format, with_query, percent } = self.settings;
        if percent < 100.0 && !line::is_failure(record) && self.rng.f64() * 100.0 >= percent {
            return;
        }
        match format {
            AccessLogFormat::Json => line::json(record, wall, with_query, &mut self.lines),
            AccessLogFormat::Text => line::text(record, wall, with_query, &mut self.lines),
        }
        self.lines.push('\n');
        self.count += 1;
    }

    /// Hands the lines so far to the writer.
    pub fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let capacity = self.lines.len();
        let lines = std::mem::replace(&mut self.lines, String::with_capacity(capacity));
        let count = std::mem::take(&mut self.count);
        if self.writer.try_send(lines).is_err() {
            self.dropped.fetch_add(count, Relaxed);
        }
    }
}
