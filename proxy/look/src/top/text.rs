//! A frame in lines.

use super::frame::{Frame, Row};
use super::latency::Latency;
use crate::style::Style;
use crate::table::{Cell, Table, Tone};
use crate::terminal::Size;
use crate::words::{count, digits};

/// How it is to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Colours.
    pub(super) style: Style,
    /// On a terminal so large; `None`: all of it.
    pub(super) size: Option<Size>,
    /// With a line for each endpoint.
    pub(super) endpoints: bool,
}

/// Whether a column says something of a service.
type Says = fn(&Row) -> bool;

/// A name that is longer is cut rather than that a column is left out for it.
const NAME: usize = 26;
/// Columns that are left out where there is no room, these first, when they say nothing: of what was shed, of repetitions,
/// of ejections.
const SAYING: [(usize, Says); 3] =
    [(8, |row| row.shed > 0.0), (7, |row| row.retries > 0.0), (9, |row| row.ejected > 0)];
/// And these, whatever they say: p95, then p50.
const SPARE: [usize; 2] = [4, 3];
/// Lines above the rows: the proxy, an empty one, the titles.
const ABOVE: usize = 3;
/// Below them: what was left out, and where the cursor rests.
const BELOW: usize = 2;

/// The frame in lines. Where not all services fit, those that are quiet and well are left out.
pub(super) fn lines(frame: &Frame, proxy: &str, view: View) -> Vec<String> {
    let style = view.style;
    let mut lines = vec![head(frame, proxy, view), String::new()];
    if frame.services.is_empty() {
        lines.push("  no services".to_owned());
        return lines;
    }
    let height = |row: &Row| 1 + if view.endpoints { row.endpoints.len() } else { 0 };
    let room = view.size.map_or(usize::MAX, |size| size.rows.saturating_sub(ABOVE + BELOW).max(1));
    let shown = fitting(&frame.services, room, height);
    let mut table = Table::new([
        "SERVICE",
        ">REQ/S",
        ">SUCCESS",
        ">P50 MS",
        ">P95 MS",
        ">P99 MS",
        ">IN FLIGHT",
        ">RETRIES/S",
        ">SHED/S",
        "EJECTED",
    ]);
    let mut left = room;
    for row in frame.services.iter().zip(&shown).filter_map(|(row, shown)| shown.then_some(row)) {
        table.row(cells(row, None));
        left = left.saturating_sub(1);
        if view.endpoints {
            for endpoint in row.endpoints.iter().take(left) {
                table.row(cells(endpoint, Some(row)));
            }
            left = left.saturating_sub(row.endpoints.len());
        }
    }
    if let Some(size) = view.size {
        let shown: Vec<&Row> =
            frame.services.iter().zip(&shown).filter_map(|(row, shown)| shown.then_some(row)).collect();
        let silent = SAYING.iter().filter(|(_, says)| !shown.iter().any(|row| says(row)));
        for column in silent.map(|(column, _)| *column).chain(SPARE) {
            if table.width(NAME) > size.columns {
                table.hide(column);
            }
        }
    }
    lines.extend(table.lines(style, view.size.map(|size| size.columns)));
    let hidden = shown.iter().filter(|shown| !**shown).count();
    if hidden > 0 {
        let words = format!(
            "{hidden} more of {} services, less busy: make the window higher, or --service NAME",
            shown.len()
        );
        lines.push(format!("  {}", style.faint(cut(&words, view))));
    }
    lines
}

fn head(frame: &Frame, proxy: &str, view: View) -> String {
    let of = match frame.since_start {
        true => "since its start".to_owned(),
        false => format!("last {:.1} s", frame.seconds),
    };
    let connections = count(frame.connections as usize, "connection", "connections");
    let words = format!(
        "{proxy}  {of}  mesh {}  {connections}  CPU {:.0} %  RSS {:.1} MB",
        frame.generation,
        frame.cpu_percent,
        frame.resident_bytes / 1e6,
    );
    format!("{} {}", view.style.strong("proxy"), cut(&words, View { size: view.size.map(narrower), ..view }))
}

/// Without the word before it.
fn narrower(size: Size) -> Size {
    Size { columns: size.columns.saturating_sub("proxy ".len() - "  ".len()), ..size }
}

/// With two columns before it.
fn cut(words: &str, view: View) -> String {
    let room = view.size.map_or(usize::MAX, |size| size.columns.saturating_sub(2));
    crate::words::cut(words, room)
}

/// Which of them are shown, in their order, when there is room for so many lines: those in trouble first, then the
/// busiest.
fn fitting(rows: &[Row], room: usize, height: impl Fn(&Row) -> usize) -> Vec<bool> {
    if rows.iter().map(&height).sum::<usize>() <= room {
        return vec![true; rows.len()];
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    // The sort is stable: among equals the names decide, and lines don't jump.
    order.sort_by(|a, b| {
        let (a, b) = (&rows[*a], &rows[*b]);
        (b.ejected > 0)
            .cmp(&(a.ejected > 0))
            .then(b.rate.total_cmp(&a.rate))
            .then(b.in_flight.total_cmp(&a.in_flight))
    });
    let mut shown = vec![false; rows.len()];
    let mut left = room;
    for at in order {
        // One that is higher than the window is shown in part rather than not at all.
        if left == 0 || (height(&rows[at]) > left && left < room) {
            break;
        }
        shown[at] = true;
        left = left.saturating_sub(height(&rows[at]));
    }
    shown
}

fn cells(row: &Row, of: Option<&Row>) -> [Cell; 10] {
    let quiet = row.rate == 0.0 && row.in_flight == 0.0;
    let tone = if quiet { Tone::Faint } else { Tone::Plain };
    let name = match (of, row.name.as_str()) {
        (Some(_), address) => Cell::new(format!("└ {address}"), tone),
        (None, "") => Cell::new("(outside)", tone),
        (None, name) => Cell::new(name, if quiet { Tone::Faint } else { Tone::Strong }),
    };
    let number = |number: f64, tone_above: Tone| {
        let tone = if number > 0.0 { tone_above } else { Tone::Faint };
        Cell::new(if number > 0.0 { rate(number) } else { "-".to_owned() }, tone)
    };
    let success = match row.success {
        Some(success) => Cell::new(percent(success), if success < 99.0 { Tone::Bad } else { Tone::Plain }),
        None => Cell::new("-", Tone::Faint),
    };
    let by_service = |number_of: f64| if of.is_some() { "".into() } else { number(number_of, Tone::Bad) };
    let ejected = match (of, row.ejected) {
        (_, 0) => "".into(),
        (Some(_), _) => Cell::new("ejected", Tone::Bad),
        (None, n) => Cell::new(format!("{n} of {}", row.endpoints.len()), Tone::Bad),
    };
    [
        name,
        number(row.rate, Tone::Plain),
        success,
        latency(row.p50),
        latency(row.p95),
        latency(row.p99),
        Cell::new(format!("{}", row.in_flight), tone),
        by_service(row.retries),
        by_service(row.shed),
        ejected,
    ]
}

fn latency(latency: Option<Latency>) -> Cell {
    match latency {
        Some(Latency::Of(ms)) => digits(ms).into(),
        Some(Latency::Above(ms)) => Cell::new(format!(">{ms}"), Tone::Bad),
        None => Cell::new("-", Tone::Faint),
    }
}

/// What is seldom is seen too.
fn rate(rate: f64) -> String {
    if rate < 0.01 { "<0.01".to_owned() } else { digits(rate) }
}

/// Never rounded up to all: one failure among a million is one.
fn percent(percent: f64) -> String {
    if percent == 100.0 { "100 %".to_owned() } else { format!("{:.2} %", (percent * 100.0).floor() / 100.0) }
}

#[cfg(test)]
mod tests;
