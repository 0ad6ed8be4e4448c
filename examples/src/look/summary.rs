//! What it came to, in plain words.

use std::fmt::Write as _;
use std::time::Duration;

use super::board::Board;
use super::paint::{count, thousands, wrap};
use super::table::millis;

/// Whether the mesh did what it is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No request failed that could be tried again.
    Well,
    /// What went wrong.
    Badly(String),
}

/// Where the second column of the summary begins.
const INDENT: usize = 18;

/// The summary in lines of at most this width, and the verdict.
pub(crate) fn summary(board: &Board, took: Duration, seed: u64, width: usize) -> (String, Verdict) {
    let tally = &board.tally;
    let mut text = String::new();
    let mut item = |name: &str, words: &str| {
        let lines = wrap(words, width.saturating_sub(INDENT).max(20));
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(text, "  {name:<width$}{line}", width = INDENT - 2);
        }
    };
    let requests = count(tally.http_requests() + tally.calls + tally.streams, "request");
    item(
        "sent",
        &format!(
            "{requests}: {}, {}, {}, {} ({})",
            count(tally.gets, "GET"),
            count(tally.posts, "POST"),
            count(tally.calls, "gRPC call"),
            count(tally.streams, "gRPC stream"),
            count(tally.messages, "message")
        ),
    );
    item("failed", &failed(&tally.failed));
    let reasons: Vec<String> =
        board.retries.iter().map(|(reason, n)| format!("{} {reason}", thousands(*n))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    item("tried again", &format!("{}{reasons}, unseen by the app", thousands(board.all_retries())));
    item("ejections", &thousands(board.all_ejections()));
    if tally.not_repeatable.is_empty() {
        item("not repeatable", "0 requests that no proxy may send twice");
    }
    for (what, n) in &tally.not_repeatable {
        item(
            "not repeatable",
            &format!("{} × {what}; it may have been done, and is not sent twice", thousands(*n)),
        );
    }
    item(
        "streams cut",
        &format!("{} mid-way, with the endpoint that was sending them", thousands(tally.cut)),
    );
    let p = |percent| millis(tally.http.percentile(percent));
    item(
        "latency",
        &format!(
            "p50 {} ms, p99 {} ms, slowest {} ms",
            p(50.0),
            p(99.0),
            millis(Some(tally.slowest.as_secs_f64() * 1e3))
        ),
    );
    item("the proxy used", &format!("{:.1} MB of memory, {:.2} s of CPU", board.resident / 1e6, board.cpu));
    let verdict = verdict(board);
    let last = match &verdict {
        Verdict::Well => "No request failed that could be tried again.".to_owned(),
        Verdict::Badly(why) => format!("IT WENT WRONG: {why}."),
    };
    let took = took.as_secs_f64();
    let text = format!("The whole show, {took:.0} s with seed {seed}:\n{text}{last}\n");
    (text, verdict)
}

fn failed(by_reason: &std::collections::BTreeMap<String, u64>) -> String {
    if by_reason.is_empty() {
        return "0".to_owned();
    }
    let parts: Vec<String> =
        by_reason.iter().map(|(what, n)| format!("{} × {what}", thousands(*n))).collect();
    parts.join("; ")
}

fn verdict(board: &Board) -> Verdict {
    let tally = &board.tally;
    match tally.failures() {
        0 if tally.gets == 0 || tally.streams == 0 => {
            Verdict::Badly("no request came through at all".to_owned())
        }
        0 => Verdict::Well,
        n => {
            let what = failed(&tally.failed);
            Verdict::Badly(format!("{} failed that could have been tried again: {what}", count(n, "request")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Verdict, summary};
    use crate::load::tally::{Kind, Outcome};
    use crate::look::board::Board;

    #[test]
    fn only_what_could_be_tried_again_makes_it_fail() {
        let mut board = Board::default();
        let words = |board: &Board| summary(board, Duration::from_secs(33), 7, 80);
        assert!(matches!(words(&board).1, Verdict::Badly(_)), "nothing was sent");
        let millis = Duration::from_millis(2);
        board.tally.count(Kind::Get, Outcome::Done, millis, None);
        board.tally.count(Kind::Stream, Outcome::Done, millis, None);
        board.tally.count(Kind::Post, Outcome::NotRepeatable("POST: reset".to_owned()), millis, None);
        board.tally.cut = 3;
        let (text, verdict) = words(&board);
        assert_eq!(verdict, Verdict::Well);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for wanted in
            ["  failed          0\n", "1 × POST: reset", "3 mid-way", "33 s with seed 7", "3 requests"]
        {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        board.tally.count(Kind::Get, Outcome::Failed("GET: reset".to_owned()), millis, None);
        let (text, verdict) = words(&board);
        let wanted = "1 request failed that could have been tried again: 1 × GET: reset";
        assert_eq!(verdict, Verdict::Badly(wanted.to_owned()));
        assert!(text.contains("IT WENT WRONG"));
    }
}
