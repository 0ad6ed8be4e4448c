//! Text for a terminal: counts, times, and what others have written, made harmless and fitted in.

/// The widest line that is written, in characters.
pub const WIDTH: usize = 100;

/// `1 service`, `2 services`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A span of time in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    for (unit, length) in [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)] {
        if seconds >= 2.0 * length {
            return format!("{:.0} {unit}", (seconds / length).floor());
        }
    }
    format!("{:.0} s", seconds.floor())
}

/// Milliseconds with three digits that count: `0.42 ms`, `12.3 ms`, `1250 ms`.
#[must_use]
pub fn milliseconds(ms: f64) -> String {
    format!("{} ms", digits(ms))
}

/// A number with three digits that count, and all that stand before the point: `0.42`, `12.3`, `1250`.
#[must_use]
pub fn digits(number: f64) -> String {
    // What is rounded up to ten or a hundred has a digit less behind the point.
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// On one line, and nothing in it that a terminal would obey: some of these texts are written by strangers.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().map(harmless).collect()
}

/// JSON in which what a terminal would obey, or nobody would see, is written as `\uXXXX`. It means the same.
#[must_use]
pub fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        // A line break can only stand between values.
        match c.is_control() && c != '\n' || is_invisible(c) {
            true => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => plain.push(c),
        }
    }
    plain
}

/// Characters that turn the direction of text around, or can't be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// At most so many characters; `…` stands for the rest.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Lines of at most [`WIDTH`] characters, the first of them after `first` and the others as far in. A word that is longer
/// stays in one piece: addresses and commands are there to be copied.
pub fn wrapped(first: &str, text: &str) -> String {
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
    fn three_digits_count() {
        let numbers = [(0.0, "0.00"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (1250.4, "1250")];
        for (number, words) in numbers {
            assert_eq!(digits(number), words);
        }
        assert_eq!(milliseconds(0.42), "0.42 ms");
    }

    #[test]
    fn what_strangers_write_can_not_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\r\nb\t\u{202e}c"), "a\u{fffd}[2J b \u{fffd}c");
    }

    #[test]
    fn json_means_the_same_and_steers_nothing() {
        let value = serde_json::json!({ "path": "/\u{9b}2J\u{7f}\u{202e}\u{1b}é\n", "n": [1, 2] });
        let plain = plain_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(plain.contains("\\u009b2J\\u007f\\u202e\\u001bé\\n"), "{plain}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
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
