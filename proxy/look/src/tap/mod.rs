//! `tap`: requests as they end.

mod line;
mod query;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use self::line::Layout;
use crate::args::{Output, TapArgs};
use crate::ask::{Admin, AskError};
use crate::style::Style;
use crate::terminal::{Size, Stream};
use crate::words::{plain_json, wrapped};
use crate::{DONE, signals, trouble};

/// Lines that wait to be written. The proxy keeps more of them, and counts those that are lost.
const WAITING: usize = 64;

/// What there is to be done next.
enum Event {
    /// A line has come.
    Line(String),
    /// None will come any more, and why.
    End(Option<io::Error>),
    /// Somebody has seen enough.
    Stop,
}

/// Asks, writes lines as they come, and gives the exit code.
pub(crate) fn run(args: &TapArgs, out: &mut impl Stream, err: &mut impl Stream) -> io::Result<u8> {
    let admin = Admin::new(args.admin.clone());
    let (events, received) = mpsc::sync_channel(WAITING);
    let stopped = Arc::new(AtomicBool::new(false));
    let (stop, wake) = (stopped.clone(), events.clone());
    signals::on_first(move || {
        stop.store(true, Relaxed);
        // With lines waiting there is no need to wake anybody.
        let _ = wake.try_send(Event::Stop);
    })?;
    let lines = match admin.stream(&query::path(args)) {
        Ok(lines) => lines,
        Err(error) => return trouble::tell(&args.admin, &error, args.output, out, err),
    };
    if out.is_terminal() && err.is_terminal() {
        let words = format!("requests at {} as they end; Ctrl-C ends it", args.admin);
        writeln!(err, "{}", Style::of(err).faint(words))?;
    }
    thread::Builder::new().name("lines".to_owned()).spawn(move || read(lines, &events))?;
    let mut layout = Layout::new(Style::of(out), Size::of(out).map(|size| size.columns));
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 && !stopped.load(Relaxed) {
        // The reader says how it ends before it goes.
        let event = received.recv().unwrap_or(Event::End(None));
        match event {
            Event::Stop => break,
            Event::End(why) if !stopped.load(Relaxed) => {
                let why = why.map_or_else(|| "it has ended the tap".to_owned(), |error| error.to_string());
                return trouble::tell(&args.admin, &AskError::Away(why), args.output, out, err);
            }
            Event::End(_) => break,
            Event::Line(line) => {
                left -= 1;
                if let Output::Text = args.output {
                    layout.fit(Size::of(out).map(|size| size.columns));
                    write_text(&mut layout, &line, out)?;
                } else {
                    writeln!(out, "{}", plain_json(&line))?;
                }
                out.flush()?;
            }
        }
    }
    if stopped.load(Relaxed) && out.is_terminal() {
        // Behind the ^C that the terminal has written.
        writeln!(out)?;
        out.flush()?;
    }
    Ok(DONE)
}

fn write_text(layout: &mut Layout, line: &str, out: &mut impl Stream) -> io::Result<()> {
    match layout.line(line) {
        Ok(text) => writeln!(out, "{text}"),
        Err(why) => {
            let words = format!("a line that is not understood: {why}");
            writeln!(out, "{}", wrapped("", &words))
        }
    }
}

/// Reads on a thread of its own, so that Ctrl-C is heard while nothing comes.
fn read(lines: impl BufRead, events: &SyncSender<Event>) {
    for line in lines.lines() {
        let event = match line {
            Ok(line) => Event::Line(line),
            Err(error) => {
                let _ = events.send(Event::End(Some(error)));
                return;
            }
        };
        if events.send(event).is_err() {
            return;
        }
    }
    let _ = events.send(Event::End(None));
}
