//! `top`: how each service fares, interval by interval.

mod frame;
mod json;
mod latency;
mod page;
mod scrape;
mod screen;
mod text;

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::frame::Frame;
use self::scrape::Scrape;
use self::screen::Screen;
use self::text::View;
use crate::args::{Output, TopArgs};
use crate::ask::{Admin, AskError};
use crate::style::Style;
use crate::terminal::{Size, Stream};
use crate::words::plain_json;
use crate::{DONE, signals, trouble};

/// Asks again and again, writes a frame each time, and gives the exit code.
pub(crate) fn run(args: &TopArgs, out: &mut impl Stream, err: &mut impl Stream) -> io::Result<u8> {
    let admin = Admin::new(args.admin.clone());
    let (stop, stopped) = mpsc::channel();
    signals::on_first(move || {
        // Who has ended already needs not be told.
        let _ = stop.send(());
    })?;
    let (mut before, mut asked) = match first(&admin, args.service.as_deref()) {
        Ok(scrape) => (scrape, Instant::now()),
        Err(error) => return trouble::tell(&args.admin, &error, args.output, out, err),
    };
    let mut show = Show::new(args, out);
    if show.is_live() {
        // Something to look at while the first interval goes by.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        show.frame(Frame::since_start(&before, now.as_secs_f64()), out)?;
    }
    let interval = Duration::from_secs_f64(args.interval);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut due = asked;
    while left > 0 {
        // One that takes long doesn't shorten the next interval.
        due = (due + interval).max(Instant::now());
        match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                show.end(out)?;
                break;
            }
        }
        match scrape(&admin) {
            Ok(after) => {
                let now = Instant::now();
                let seconds = now.duration_since(asked).as_secs_f64();
                show.frame(Frame::between(&before, &after, seconds), out)?;
                (before, asked) = (after, now);
            }
            // Somebody looks, and a proxy that is restarted comes back.
            Err(error) if show.is_live() => show.trouble(&trouble::said(&args.admin, &error), out)?,
            Err(error) => return trouble::tell(&args.admin, &error, args.output, out, err),
        }
        left -= 1;
    }
    Ok(DONE)
}

fn scrape(admin: &Admin) -> Result<Scrape, AskError> {
    Scrape::of(&admin.text("/metrics")?).map_err(AskError::Garbled)
}

/// The first look says whether there is such a service.
fn first(admin: &Admin, service: Option<&str>) -> Result<Scrape, AskError> {
    let scrape = scrape(admin)?;
    match service {
        Some(name) if !scrape.services.contains_key(name) => {
            Err(trouble::no_such_service(name, scrape.services.keys().map(String::as_str)))
        }
        _ => Ok(scrape),
    }
}

/// Where frames go, and how.
struct Show<'a> {
    args: &'a TopArgs,
    proxy: String,
    style: Style,
    screen: Screen,
    live: bool,
    /// What is shown, for when there is nothing new.
    last: Vec<String>,
    blocks: u64,
}

impl<'a> Show<'a> {
    fn new(args: &'a TopArgs, out: &impl Stream) -> Self {
        Show {
            args,
            proxy: args.admin.to_string(),
            style: Style::of(out),
            screen: Screen::default(),
            // A dumb terminal can't move its cursor.
            live: args.output == Output::Text
                && out.is_terminal()
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            last: Vec::new(),
            blocks: 0,
        }
    }

    /// It is drawn in place.
    fn is_live(&self) -> bool {
        self.live
    }

    fn frame(&mut self, mut frame: Frame, out: &mut impl Stream) -> io::Result<()> {
        if let Some(service) = &self.args.service {
            frame.only(service);
        }
        if let Output::Json = self.args.output {
            let line = json::line(&frame, &self.proxy, self.args.endpoints);
            writeln!(out, "{}", plain_json(&line))?;
            return out.flush();
        }
        let view = View {
            style: self.style,
            size: Size::of(out).filter(|_| self.live),
            endpoints: self.args.endpoints,
        };
        let lines = text::lines(&frame, &self.proxy, view);
        if self.live {
            self.last.clone_from(&lines);
            return self.draw(&lines, out);
        }
        // An empty line between two blocks.
        let gap = if self.blocks > 0 { "\n" } else { "" };
        self.blocks += 1;
        out.write_all(format!("{gap}{}\n", lines.join("\n")).as_bytes())?;
        out.flush()
    }

    /// The last frame, with this instead of its first line.
    fn trouble(&mut self, words: &str, out: &mut impl Stream) -> io::Result<()> {
        let columns = Size::of(out).map_or(usize::MAX, |size| size.columns);
        let words = format!("{words}; asking again");
        let mut lines = vec![self.style.bad(crate::words::cut(&words, columns))];
        lines.extend(self.last.iter().skip(1).cloned());
        self.draw(&lines, out)
    }

    fn draw(&mut self, lines: &[String], out: &mut impl Stream) -> io::Result<()> {
        let Some(size) = Size::of(out) else { return Ok(()) };
        out.write_all(self.screen.draw(lines, size).as_bytes())?;
        out.flush()
    }

    /// Takes the ^C away that the terminal has written.
    fn end(&self, out: &mut impl Stream) -> io::Result<()> {
        if self.live {
            out.write_all(b"\r\x1b[K")?;
            out.flush()?;
        }
        Ok(())
    }
}
