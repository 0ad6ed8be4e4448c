//! The board as lines of text of a fixed width: the live table, and the one line a second of a plain log.

use super::board::{Board, Row, State};
use super::paint::{Ink, Line, Style, bar, count, thousands, wrap};
use crate::endpoint::Service;
use crate::mesh::{SERVER, STREAM, authority};
use crate::script::short;

/// What stands above the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caption {
    /// How far the show is: `12 of 34 s`.
    pub(crate) clock: String,
    /// What is happening: `2/6 Endpoint :9001 becomes slow`.
    pub(crate) title: String,
    /// What to look at.
    pub(crate) watch: String,
    /// What happened since: the fault was put right.
    pub(crate) repaired: String,
}

/// Lines that the words above the table always take, so that the table does not jump.
const WORDS: usize = 5;
/// Lines of the proxy's log that are shown.
pub(super) const LOG_LINES: usize = 2;
/// All but the bar, in characters.
const FIXED: usize = 72;
/// The bar: from none on a narrow terminal to this.
const WIDEST_BAR: usize = 32;

/// The whole picture.
pub(super) fn picture(caption: &Caption, board: &Board, width: usize, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let new = || Line::new(width, style);
    let gap = width.saturating_sub("Bowline demo".len() + caption.clock.chars().count());
    lines.push(
        new()
            .put("Bowline demo", Ink::Bold)
            .put(&" ".repeat(gap), Ink::Plain)
            .put(&caption.clock, Ink::Dim)
            .done(),
    );
    lines.push(new().put(&caption.title, Ink::Yellow).done());
    let room = width.saturating_sub(2).max(20);
    let mut words: Vec<(String, Ink)> =
        wrap(&caption.watch, room).into_iter().map(|w| (w, Ink::Plain)).collect();
    words.extend(wrap(&caption.repaired, room).into_iter().map(|w| (w, Ink::Green)));
    words.resize(WORDS - 1, (String::new(), Ink::Plain));
    lines.extend(words.iter().map(|(text, ink)| new().put("  ", Ink::Plain).put(text, *ink).done()));
    lines.push(new().put(&heading(width), Ink::Dim).done());
    let services = [(Service::Http, "server", SERVER, "http://"), (Service::Grpc, "stream", STREAM, "gRPC ")];
    for (at, (service, name, alias, scheme)) in services.into_iter().enumerate() {
        let mut line = new();
        line.put(name, Ink::Bold).put(&format!("  {scheme}{}", authority(alias)), Ink::Dim);
        line.put(&format!("  {} tried again", thousands(board.retries_by_service[at])), Ink::Dim);
        lines.push(line.done());
        let rows = || board.rows.iter().filter(|row| row.service == service);
        let most = rows().map(|row| row.rate).fold(1.0, f64::max);
        lines.extend(rows().map(|row| endpoint(row, most, width, style)));
    }
    lines.push(String::new());
    lines.extend(totals(board, width, style));
    // Always as many, so that the picture keeps its height.
    for text in board.log.iter().map(String::as_str).chain(std::iter::repeat("")).take(LOG_LINES) {
        lines.push(new().put("proxy log  ", Ink::Dim).put(text, Ink::Dim).done());
    }
    lines
}

fn bar_width(width: usize) -> usize {
    width.saturating_sub(FIXED).min(WIDEST_BAR)
}

fn heading(width: usize) -> String {
    let bar = " ".repeat(bar_width(width));
    format!(
        "  {:<6} {:>6} {bar} {:>4} {:>6} {:>6} {:>6} {:>4}  {:<13} fault",
        "port", "req/s", "open", "p50 ms", "p99 ms", "failed", "ejec", "state"
    )
}

fn endpoint(row: &Row, most: f64, width: usize, style: Style) -> String {
    let gone = matches!(row.state, State::Absent | State::Removed);
    let (state, ink) = match row.state {
        State::Active => ("active".to_owned(), Ink::Green),
        State::Ejected(seconds) if seconds < 9.95 => (format!("ejected {seconds:.1} s"), Ink::Red),
        State::Ejected(seconds) => (format!("ejected {seconds:.0} s"), Ink::Red),
        State::Draining => ("draining".to_owned(), Ink::Yellow),
        State::Absent => ("not in mesh".to_owned(), Ink::Dim),
        State::Removed => ("removed".to_owned(), Ink::Dim),
    };
    let usual = if gone { Ink::Dim } else { Ink::Plain };
    let alarm = |n: u64| if n > 0 { Ink::Red } else { usual };
    Line::new(width, style)
        .put(&format!("  {:<6} {:>6.0} ", short(row.address), row.rate), usual)
        .put(&bar(row.rate / most, bar_width(width), style), if gone { Ink::Dim } else { Ink::Blue })
        .put(&format!(" {:>4} {:>6} {:>6} ", row.open, millis(row.p50), millis(row.p99)), usual)
        .put(&format!("{:>6} ", row.failed), alarm(row.failed))
        .put(&format!("{:>4}  ", row.ejections), alarm(row.ejections))
        .put(&format!("{state:<13} "), ink)
        .put(&row.fault, Ink::Yellow)
        .done()
}

fn totals(board: &Board, width: usize, style: Style) -> Vec<String> {
    let tally = &board.tally;
    let failures = tally.failures();
    let verdict = if failures == 0 { Ink::Green } else { Ink::Red };
    let not_repeatable: u64 = tally.not_repeatable.values().sum();
    let new = || Line::new(width, style);
    let mut app = new();
    app.put("the app    ", Ink::Bold)
        .put(&format!("{:.0} req/s, {} sent, ", board.rate, thousands(tally.http_requests())), Ink::Plain)
        .put(&format!("{} failed", thousands(failures)), verdict)
        .put(&format!(", p99 {} ms", millis(board.p99)), Ink::Plain);
    if not_repeatable > 0 {
        app.put(&format!(", {not_repeatable} not sent twice"), Ink::Yellow);
    }
    let mut streams = new();
    streams.put("           ", Ink::Plain).put(
        &format!(
            "{}, {}, {}, ",
            count(tally.calls, "gRPC call"),
            count(tally.streams, "stream"),
            count(tally.messages, "message")
        ),
        Ink::Plain,
    );
    streams.put(
        &format!("{} cut", count(tally.cut, "stream")),
        if tally.cut > 0 { Ink::Yellow } else { Ink::Plain },
    );
    let mut proxy = new();
    proxy.put("the proxy  ", Ink::Bold).put(
        &format!(
            "{} tried again, {}, {:.1} MB resident, {:.2} s of CPU",
            thousands(board.all_retries()),
            count(board.all_ejections(), "ejection"),
            board.resident / 1e6,
            board.cpu
        ),
        Ink::Plain,
    );
    vec![app.done(), streams.done(), proxy.done()]
}

/// One line that says it all, for a log.
pub(super) fn log_line(caption: &Caption, board: &Board) -> String {
    let rows: Vec<String> = board.rows.iter().map(in_short).collect();
    format!(
        "{:>10}  {:.0} req/s, {} failed, {} tried again, p99 {} ms | {}",
        caption.clock,
        board.rate,
        thousands(board.tally.failures()),
        thousands(board.all_retries()),
        millis(board.p99),
        rows.join("  ")
    )
}

fn in_short(row: &Row) -> String {
    let rate = format!("{} {:.0}", short(row.address), row.rate);
    match row.state {
        State::Active => rate,
        State::Ejected(_) => format!("{rate} (ejected)"),
        State::Draining => format!("{rate} (draining)"),
        State::Absent | State::Removed => format!("{} -", short(row.address)),
    }
}

/// Milliseconds in at most six characters.
pub(super) fn millis(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(millis) if millis < 99.95 => format!("{millis:.1}"),
        Some(millis) => format!("{:.0}", millis.min(999_999.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::{Board, Row, State};
    use super::super::paint::Style;
    use super::{Caption, log_line, millis, picture};
    use crate::endpoint::Service;

    fn row(service: Service, port: u16, state: State) -> Row {
        Row {
            service,
            address: ([127, 0, 0, 1], port).into(),
            rate: 80.4,
            open: 3,
            p50: Some(1.94),
            p99: Some(204.0),
            failed: 12,
            ejections: 1,
            state,
            fault: "+200 ms".to_owned(),
        }
    }

    fn board() -> Board {
        Board {
            rows: vec![
                row(Service::Http, 9001, State::Active),
                row(Service::Http, 9002, State::Ejected(123.4)),
                row(Service::Http, 9003, State::Removed),
                row(Service::Grpc, 9101, State::Draining),
            ],
            rate: 400.2,
            retries: vec![("reset".to_owned(), 7)],
            retries_by_service: [7, 0],
            log: vec!["endpoint ejected service=server endpoint=127.0.0.1:9002 ".repeat(4)],
            ..Board::default()
        }
    }

    fn caption() -> Caption {
        Caption {
            clock: "12 of 34 s".to_owned(),
            title: "2/6 Endpoint :9001 becomes slow.".to_owned(),
            watch: "Watch the row. ".repeat(10),
            repaired: String::new(),
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_the_picture_keeps_its_height() {
        let mut heights = Vec::new();
        for width in [40, 72, 80, 100, 120, 200] {
            let lines = picture(&caption(), &board(), width, Style { colour: false, unicode: true });
            for line in &lines {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            if width >= 80 {
                heights.push(lines.len());
            }
        }
        heights.dedup();
        assert_eq!(heights.len(), 1, "{heights:?}");
    }

    #[test]
    fn the_table_at_80_columns() {
        let lines = picture(&caption(), &board(), 80, Style { colour: false, unicode: false });
        let shown = lines.join("\n");
        let rows = "\
\x20 port    req/s          open p50 ms p99 ms failed ejec  state         fault
server  http://server.hello-world.com:5000  7 tried again
  :9001      80 ########    3    1.9    204     12    1  active        +200 ms
  :9002      80 ########    3    1.9    204     12    1  ejected 123 s +200 ms";
        assert!(rows.lines().all(|line| line.len() <= 80));
        assert!(shown.contains(rows), "{shown}");
    }

    #[test]
    fn one_line_for_a_log() {
        let line = log_line(&caption(), &board());
        let wanted = "12 of 34 s  400 req/s, 0 failed, 7 tried again, p99 - ms | \
                      :9001 80  :9002 80 (ejected)  :9003 -  :9101 80 (draining)";
        assert_eq!(line, wanted);
    }

    #[test]
    fn milliseconds_fit_their_column() {
        let shown = [None, Some(0.04), Some(99.94), Some(99.96), Some(15_000.0), Some(1e12)].map(millis);
        assert_eq!(shown, ["-", "0.0", "99.9", "100", "15000", "999999"]);
    }
}
