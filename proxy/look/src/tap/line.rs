//! One request on one line.

use serde::Deserialize;

use crate::style::Style;
use crate::words::{count, cut, digits, plain};

/// What of a line is shown. The keys are those of the access log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Record {
    /// So many requests have not been shown; such a line has nothing else.
    missed: Option<u64>,
    time: String,
    direction: String,
    service: Option<String>,
    method: String,
    path: String,
    status: Option<u16>,
    grpc_status: Option<String>,
    duration_ms: f64,
    endpoint: Option<String>,
    attempts: u64,
    retried_for: Vec<String>,
    reason: Option<String>,
    ended: String,
    trace_id: Option<String>,
}

/// What a path may take where nobody says how wide the page is.
const PATH: usize = 40;
/// The least that is left for method and path on a narrow terminal.
const LEAST: usize = 16;
/// The other columns of a usual line: time, direction, status, milliseconds, and the gaps.
const OTHERS: usize = 12 + 3 + 3 + 7 + 6 * GAP;
const GAP: usize = 2;
/// No column of names is wider for a name that is longer: that name moves its own line only.
const WIDEST: usize = 24;

/// How wide columns are: they grow with what comes, so that lines stand below each other.
#[derive(Debug)]
pub(super) struct Layout {
    style: Style,
    width: Option<usize>,
    service: usize,
    request: usize,
    endpoint: usize,
}

impl Layout {
    /// On a page so wide; `None`: nothing is cut.
    pub(super) fn new(style: Style, width: Option<usize>) -> Self {
        Layout { style, width, service: 6, request: LEAST, endpoint: 9 }
    }

    /// The page has become so wide.
    pub(super) fn fit(&mut self, width: Option<usize>) {
        if self.width != width {
            self.width = width;
            self.request = LEAST;
        }
    }

    /// A line of JSON as a line for people.
    ///
    /// # Errors
    /// It is no such line.
    pub(super) fn line(&mut self, json: &str) -> Result<String, serde_json::Error> {
        let record: Record = serde_json::from_str(json)?;
        if let Some(missed) = record.missed {
            let missed = count(usize::try_from(missed).unwrap_or(usize::MAX), "request is", "requests are");
            return Ok(self
                .style
                .doubtful(format!("{missed} missing here: they came faster than they were read")));
        }
        let style = self.style;
        let service = record.service.as_deref().map_or_else(|| "-".to_owned(), plain);
        let endpoint = record.endpoint.as_deref().map_or_else(|| "-".to_owned(), plain);
        self.service = self.service.max(length(&service).min(WIDEST));
        self.endpoint = self.endpoint.max(length(&endpoint).min(WIDEST));
        let mut request = format!("{} {}", plain(&record.method), plain(&record.path));
        let room = match self.width {
            Some(width) => {
                let room = width.saturating_sub(OTHERS + self.service + self.endpoint).max(LEAST);
                request = cut(&request, room);
                room
            }
            None => PATH,
        };
        self.request = self.request.max(length(&request).min(room));
        let mut line = [
            style.faint(clock(&record.time)),
            if record.direction == "inbound" { "in ".to_owned() } else { "out".to_owned() },
            padded(&service, self.service, |text| style.strong(text)),
            padded(&request, self.request, str::to_owned),
            self.status(&record),
            format!("{:>7}", digits(record.duration_ms)),
            padded(&endpoint, self.endpoint, str::to_owned),
        ]
        .join(&" ".repeat(GAP));
        for remark in self.remarks(&record) {
            line.push_str(&" ".repeat(GAP));
            line.push_str(&remark);
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn status(&self, record: &Record) -> String {
        let style = self.style;
        match record.status {
            Some(status @ 500..) => style.bad(status),
            Some(status @ 400..) => style.doubtful(status),
            Some(status @ 200..300) if is_ok(record) => style.good(format!("{status:<3}")),
            Some(status) => format!("{status:<3}"),
            None => style.bad("-  "),
        }
    }

    /// What is worth a word.
    fn remarks(&self, record: &Record) -> Vec<String> {
        let style = self.style;
        let mut remarks = Vec::new();
        if let Some(status) = record.grpc_status.as_deref().filter(|status| *status != "OK") {
            remarks.push(style.bad(plain(status)));
        }
        if record.attempts > 1 {
            let why: Vec<String> = record.retried_for.iter().map(|why| plain(why)).collect();
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
            remarks.push(style.doubtful(format!("{} attempts{why}", record.attempts)));
        }
        if !matches!(record.ended.as_str(), "complete" | "") {
            remarks.push(style.bad(plain(&record.ended)));
        }
        if let Some(reason) = &record.reason {
            remarks.push(style.bad(plain(reason)));
        }
        if let Some(trace) = &record.trace_id {
            remarks.push(style.faint(plain(trace)));
        }
        remarks
    }
}

fn is_ok(record: &Record) -> bool {
    record.ended == "complete" && record.grpc_status.as_deref().is_none_or(|status| status == "OK")
}

/// The time of the day, to the millisecond, out of RFC 3339.
fn clock(time: &str) -> String {
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day);
    plain(&of_day.chars().take(12).collect::<String>())
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Filled up with spaces, which have no colour.
fn padded(text: &str, width: usize, paint: impl Fn(&str) -> String) -> String {
    format!("{}{}", paint(text), " ".repeat(width.saturating_sub(length(text))))
}

#[cfg(test)]
mod tests;
