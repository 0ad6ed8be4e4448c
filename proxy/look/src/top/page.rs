//! Prometheus' text format, as far as the proxy writes it: names, labels, values. Anything else is an error.

use std::borrow::Cow;

/// One line with a value.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    /// The metric, with `_bucket`, `_sum` or `_count` where it has that.
    pub(super) name: &'a str,
    /// Its labels, in their order.
    pub(super) labels: Vec<(&'a str, Cow<'a, str>)>,
    /// Its value: a finite number.
    pub(super) value: f64,
}

impl Sample<'_> {
    /// The value of a label; empty: it has no such label.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }
}

/// Reads a page, value by value.
///
/// # Errors
/// The first line that is none, with its number.
pub(super) fn samples(page: &str) -> impl Iterator<Item = Result<Sample<'_>, String>> {
    let lines = page.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    lines.map(|(at, line)| sample(line).ok_or_else(|| format!("line {} of its metrics is no metric", at + 1)))
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return None;
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value: f64 = value.strip_prefix(' ')?.parse().ok()?;
    value.is_finite().then_some(Sample { name, labels, value })
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels, and what stands behind their closing bracket.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        let (name, value) = rest.split_once("=\"")?;
        if !is_name(name) {
            return None;
        }
        let (value, behind) = quoted(value)?;
        labels.push((name, value));
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some((labels, behind.strip_prefix('}')?)),
        }
    }
}

/// A value up to its closing quote, and what stands behind that.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut chars = text[end..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[end + at + 1..])),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\') => value.push(c),
                'n' => value.push('\n'),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_name_labels_and_value() {
        let page = "# HELP a Words.\n# TYPE a counter\na{service=\"x\",le=\"+Inf\"} 3\nb 0.5\n\nc{l=\"q\\\"\\\\\\n}\"} -1\n";
        let samples: Vec<_> = samples(page).map(Result::unwrap).collect();
        let [a, b, c] = &samples[..] else { panic!("{samples:?}") };
        assert_eq!((a.name, a.label("service"), a.label("le"), a.value), ("a", "x", "+Inf", 3.0));
        assert_eq!((b.name, b.labels.len(), b.label("service"), b.value), ("b", 0, "", 0.5));
        assert_eq!((c.label("l"), c.value), ("q\"\\\n}", -1.0));
    }

    #[test]
    fn anything_else_is_an_error() {
        for wrong in [
            "a",
            "a ",
            "a NaN",
            "a +Inf",
            "a 1 1700000000",
            "a  1",
            "a{} 1",
            "a{l=\"x\"}1",
            "a{l=\"x\" 1",
            "a{l=\"x} 1",
            "a{l=\"\\x\"} 1",
            "a{l=x} 1",
            "a{l=\"x\",} 1",
            "1a 2",
            "<html>",
            " a 1",
        ] {
            let read: Vec<_> = samples(wrong).collect();
            assert_eq!(read.len(), 1, "{wrong}");
            assert_eq!(read[0], Err("line 1 of its metrics is no metric".to_owned()), "{wrong}");
        }
    }
}
