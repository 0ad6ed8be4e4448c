//! Lines that never get wider than the terminal, in colour where there is any.

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// As the terminal has it.
    Plain,
    /// For headings.
    Bold,
    /// For what matters less.
    Dim,
    /// For what is well.
    Green,
    /// For what somebody did.
    Yellow,
    /// For what is broken.
    Red,
    /// For amounts.
    Blue,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Ink::Plain => "",
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
            Ink::Blue => "34",
        }
    }
}

/// What the terminal can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// ANSI colours.
    pub(crate) colour: bool,
    /// Characters beyond ASCII.
    pub(crate) unicode: bool,
}

/// A line under construction.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    left: usize,
    style: Style,
}

impl Line {
    /// An empty line that may grow to this width.
    pub(super) fn new(width: usize, style: Style) -> Self {
        Line { text: String::new(), left: width, style }
    }

    /// Adds text, or what there is room for.
    pub(super) fn put(&mut self, text: &str, ink: Ink) -> &mut Self {
        let cut: String = text.chars().filter(|c| !c.is_control()).take(self.left).collect();
        self.left -= cut.chars().count();
        if self.style.colour && ink != Ink::Plain && !cut.trim().is_empty() {
            self.text.push_str(&format!("\x1b[{}m{cut}\x1b[0m", ink.code()));
        } else {
            self.text.push_str(&cut);
        }
        self
    }

    /// The line.
    pub(super) fn done(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        if self.style.colour { text } else { text.trim_end().to_owned() }
    }
}

/// Text broken at spaces into lines of at most this width.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A number with its thousands apart: `12,345`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 stream`, `2 streams`.
pub(super) fn count(n: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// A part of a whole as a bar of exactly this width.
pub(super) fn bar(part: f64, width: usize, style: Style) -> String {
    let filled = (part.clamp(0.0, 1.0) * width as f64).round() as usize;
    let (full, empty) = if style.unicode { ("█", "·") } else { ("#", ".") };
    format!("{}{}", full.repeat(filled), empty.repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::{Ink, Line, Style, bar, count, thousands, wrap};

    const PLAIN: Style = Style { colour: false, unicode: false };

    #[test]
    fn a_line_stops_at_its_width_and_colour_takes_no_room() {
        for colour in [false, true] {
            let mut line = Line::new(7, Style { colour, ..PLAIN });
            line.put("abc", Ink::Red).put("def", Ink::Plain).put("ghi", Ink::Bold).put("jkl", Ink::Red);
            let text = line.done();
            let wanted = if colour { "\x1b[31mabc\x1b[0mdef\x1b[1mg\x1b[0m" } else { "abcdefg" };
            assert_eq!(text, wanted);
        }
        assert_eq!(Line::new(9, PLAIN).put("a\x1b[2Jb\n", Ink::Plain).done(), "a[2Jb");
    }

    #[test]
    fn small_things() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(thousands));
        assert_eq!((count(1, "stream"), count(2, "stream")), ("1 stream".into(), "2 streams".into()));
        assert_eq!([0.0, 0.5, 1.0, 7.0].map(|part| bar(part, 4, PLAIN)), ["....", "##..", "####", "####"]);
    }
}
