//! Drawing in place, on a terminal: one write a frame, so that nothing flickers.

use crate::terminal::Size;

/// Cursor and line breaks off while it is drawn: a line that is too wide after all must not take two.
const BEGIN: &str = "\u{1b}[?25l\u{1b}[?7l";
/// What was below goes, and all is as before.
const END: &str = "\u{1b}[J\u{1b}[?7h\u{1b}[?25h\n";
/// What was behind it on the line goes.
const END_OF_LINE: &str = "\u{1b}[K\n";
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What stands on the terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: Option<(usize, Size)>,
}

impl Screen {
    /// What to write for these lines to stand where the last ones did. The cursor comes to rest below them.
    pub(super) fn draw(&mut self, lines: &[String], size: Size) -> String {
        let mut text = String::from(BEGIN);
        match self.drawn {
            // A terminal that has changed its size has moved its lines.
            Some((_, before)) if before != size => text.push_str(CLEAR),
            Some((up @ 1.., _)) => text.push_str(&format!("\r\u{1b}[{up}A")),
            _ => text.push('\r'),
        }
        text.push_str(&lines.join(END_OF_LINE));
        text.push_str("\u{1b}[K");
        text.push_str(END);
        self.drawn = Some((lines.len(), size));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_frame_stands_where_the_first_did() {
        let size = Size { columns: 80, rows: 24 };
        let mut screen = Screen::default();
        let lines = ["a".to_owned(), "b".to_owned()];
        let first = screen.draw(&lines, size);
        assert_eq!(first, "\u{1b}[?25l\u{1b}[?7l\ra\u{1b}[K\nb\u{1b}[K\u{1b}[J\u{1b}[?7h\u{1b}[?25h\n");
        let second = screen.draw(&lines[..1], size);
        assert_eq!(second, "\u{1b}[?25l\u{1b}[?7l\r\u{1b}[2Aa\u{1b}[K\u{1b}[J\u{1b}[?7h\u{1b}[?25h\n");
        let larger = screen.draw(&lines, Size { columns: 100, rows: 24 });
        assert!(larger.contains(CLEAR), "{larger:?}");
    }
}
