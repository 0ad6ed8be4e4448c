//! Text for a terminal: counts, times, and what others have written, made harmless and fitted in.

/// The widest line that is written, in characters.
pub(crate) const WIDTH: usize = 100;

/// `1 service`, `2 services`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A span of time in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    for (unit, length) in [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)] {
        if seconds >= 2.0 * length {
            return format!("{:.0} {unit}", (seconds / length).floor());
        }
    }
    format!("{:.0} s", seconds.floor())
}

/// On one line, and nothing in it that a terminal would obey: some of these texts are written by strangers.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().map(harmless).collect()
}

/// Characters that turn the direction of text around, or can't be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// At most so many characters; `…` stands for the rest.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Lines of at most [`WIDTH`] characters, the first of them after `first` and the others as far in. A word that is longer
/// stays in one piece: addresses and commands are there to be copied.
pub(crate) fn wrapped(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let (mut lines, mut column) = (first.to_owned(), indent);
    let mut begins = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !begins && column + 1 + length > WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
            begins = true;
        }
        if !begins {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
        begins = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let spans = [(0.4, "0 s"), (119.9, "119 s"), (120.0, "2 min"), (7_200.0, "2 h"), (200_000.0, "2 d")];
        for (seconds, words) in spans {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn what_strangers_write_can_not_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\r\nb\t\u{202e}c"), "a\u{fffd}[2J b \u{fffd}c");
    }

    #[test]
    fn long_texts_are_fitted_in() {
        assert_eq!((cut("abc", 3).as_str(), cut("abcd", 3).as_str()), ("abc", "ab…"));
        let long = "word ".repeat(60);
        let lines = wrapped("  - ", &long);
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("    word")), "{lines}");
        assert_eq!(lines.split_whitespace().filter(|word| *word == "word").count(), 60);
        let one = "x".repeat(200);
        assert_eq!(wrapped("", &one), one);
    }
}
