//! Where the show is seen: a terminal, on which one picture is drawn over the last, or a pipe, which gets plain lines.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::board::Board;
use super::paint::{Style, wrap};
use super::table::{Caption, log_line, picture};

/// How often a plain log gets a line.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// Where the terminal does not tell.
const USUAL: (usize, usize) = (80, 40);
/// Wider pictures are not easier to read.
const WIDEST: usize = 130;

/// The screen. Dropping it leaves the terminal in order.
#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    style: Style,
    /// Lines of the picture that stands, and the terminal's size when it was drawn.
    drawn: usize,
    size: (usize, usize),
    logged: Option<Instant>,
    gone: bool,
}

impl Screen {
    /// The screen that stdout is.
    pub(crate) fn new() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let live = io::stdout().is_terminal()
            && set("NO_COLOR").is_none()
            && set("TERM").is_some_and(|term| term != "dumb");
        // The first of the three that is set decides, as in libc.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let unicode = live && locale.to_ascii_lowercase().replace('-', "").contains("utf8");
        Screen {
            live,
            style: Style { colour: live, unicode },
            drawn: 0,
            size: size(),
            logged: None,
            gone: false,
        }
    }

    /// Whether whoever read it has gone (`| head`).
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether pictures are drawn, rather than lines printed.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Says something that stays, below all that was there.
    pub(crate) fn say(&mut self, text: &str) {
        self.settle();
        let mut lines = String::new();
        for line in text.lines() {
            lines.push_str(line);
            lines.push('\n');
        }
        self.write(&lines);
    }

    /// Says a long text that stays, broken into lines.
    pub(crate) fn say_wrapped(&mut self, text: &str) {
        let width = self.width();
        self.say(&wrap(text, width).join("\n"));
    }

    /// The width of lines that stay.
    pub(crate) fn width(&self) -> usize {
        if self.live { self.size.0.min(WIDEST) } else { 110 }
    }

    /// The picture that stands becomes part of what was.
    pub(crate) fn settle(&mut self) {
        if self.drawn > 0 {
            self.write("\x1b[?25h");
        }
        self.drawn = 0;
    }

    /// Shows the board.
    pub(crate) fn show(&mut self, caption: &Caption, board: &Board) {
        if self.live { self.draw(caption, board) } else { self.log(caption, board) }
    }

    /// Writes at once. That nobody reads it any more must not keep the show from ending in good order.
    fn write(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        self.gone |= out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err();
    }

    fn log(&mut self, caption: &Caption, board: &Board) {
        let now = Instant::now();
        if self.logged.is_none_or(|last| now.duration_since(last) >= LOG_EVERY) {
            self.logged = Some(now);
            self.say(&log_line(caption, board));
        }
    }

    fn draw(&mut self, caption: &Caption, board: &Board) {
        let size = size();
        let mut lines = picture(caption, board, size.0.min(WIDEST), self.style);
        // A picture higher than the terminal could not be drawn over: its top would have scrolled away.
        lines.truncate(size.1.saturating_sub(1).max(1));
        let mut frame = String::from("\x1b[?25l");
        if self.drawn > 0 && size != self.size {
            // The terminal has broken the old lines anew; where they are now, nobody knows.
            frame.push_str("\x1b[2J\x1b[H");
        } else if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        for line in &lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\n");
        }
        frame.push_str("\x1b[J");
        self.drawn = lines.len();
        self.size = size;
        self.write(&frame);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL,
    }
}
