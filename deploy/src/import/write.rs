//! A mesh file as YAML with comments.

use bowline_look::words::plain;
use serde_json::Value as Json;

use super::draft::{Draft, Entry};

/// The widest line, in characters, where words allow.
const WIDTH: usize = 110;

/// Writes comments, then the keys.
pub(crate) fn yaml(head: &[String], mesh: &Draft) -> String {
    let mut lines = Vec::new();
    for comment in head {
        lines.extend(wrapped(comment, 0));
    }
    lines.push(String::new());
    lines.extend(block(mesh, 0));
    lines.push(String::new());
    lines.join("\n")
}

/// A value's lines that begin at `column`.
fn block(draft: &Draft, column: usize) -> Vec<String> {
    let margin = " ".repeat(column);
    match draft {
        Draft::Map(entries) if !entries.is_empty() => {
            entries.iter().flat_map(|entry| block_entry(entry, column)).collect()
        }
        Draft::List(elements) if !elements.is_empty() => {
            let mut lines = Vec::new();
            for element in elements {
                for comment in &element.above {
                    lines.extend(wrapped(comment, column));
                }
                let fits = flow(&element.value).filter(|text| column + 2 + text.chars().count() <= WIDTH);
                let short = matches!(element.value, Draft::Scalar(_)) || !has_room(&element.value);
                match fits.filter(|_| short) {
                    Some(text) => lines.push(format!("{margin}- {text}")),
                    None => lines.extend(dashed(block(&element.value, column + 2), column)),
                }
            }
            lines
        }
        other => vec![format!("{margin}{}", flow(other).unwrap_or_default())],
    }
}

/// Puts the dash of a list before its first line that is no comment; comments before that stay above the dash.
fn dashed(mut lines: Vec<String>, column: usize) -> Vec<String> {
    let is_comment = |line: &String| line.trim_start().starts_with('#');
    if let Some(line) = lines.iter_mut().find(|line| !is_comment(line)) {
        line.replace_range(column..column + 1, "-");
    }
    lines
}

fn block_entry(entry: &Entry, column: usize) -> Vec<String> {
    let margin = " ".repeat(column);
    let mut lines = Vec::new();
    for comment in &entry.above {
        lines.extend(wrapped(comment, column));
    }
    let key = key(&entry.key);
    let one_line = flow(&entry.value)
        .map(|text| format!("{margin}{key}: {text}"))
        .filter(|line| line.chars().count() <= WIDTH || matches!(entry.value, Draft::Scalar(_)))
        .filter(|_| !has_room(&entry.value));
    let body = match one_line {
        Some(line) => vec![line],
        None => {
            let deeper = block(&entry.value, column + 2);
            std::iter::once(format!("{margin}{key}:")).chain(deeper).collect()
        }
    };
    let Some(what) = &entry.off else {
        lines.extend(body);
        return lines;
    };
    lines.extend(wrapped(&format!("not yet: {what}"), column));
    // Without the character in front these lines are what they will be. There is no space behind it, as there is in
    // comments that are for people.
    lines.extend(body.iter().map(|line| format!("{margin}#{}", &line[column..])));
    lines
}

/// Services and routes have lines of their own, whatever their size.
fn has_room(draft: &Draft) -> bool {
    match draft {
        Draft::Scalar(_) => false,
        Draft::List(elements) => elements.iter().any(|element| has_room(&element.value)),
        Draft::Map(entries) => {
            entries.iter().any(|entry| matches!(entry.key.as_str(), "discoveryName" | "match" | "respond"))
        }
    }
}

/// On one line; `None` if it has comments.
fn flow(draft: &Draft) -> Option<String> {
    match draft {
        Draft::Scalar(value) => Some(scalar(value)),
        Draft::List(elements) => {
            let elements = elements.iter().map(|e| flow(&e.value).filter(|_| e.above.is_empty()));
            Some(format!("[{}]", elements.collect::<Option<Vec<_>>>()?.join(", ")))
        }
        Draft::Map(entries) if entries.is_empty() => Some("{}".to_owned()),
        Draft::Map(entries) => {
            let entries = entries.iter().map(|entry| {
                let bare = entry.above.is_empty() && entry.off.is_none();
                let value = flow(&entry.value).filter(|_| bare)?;
                Some(format!("{}: {value}", key(&entry.key)))
            });
            Some(format!("{{ {} }}", entries.collect::<Option<Vec<_>>>()?.join(", ")))
        }
    }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) if is_safe(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A mesh file's own `on` goes without quotes, as everywhere else.
fn key(key: &str) -> String {
    if key == "on" { key.to_owned() } else { scalar(&key.into()) }
}

/// Whether YAML takes it for a text without quotes, wherever it stands. YAML 1.1 and 1.2 don't agree on which words are
/// truth values.
fn is_safe(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && text.chars().all(inner)
        && !words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A comment's lines. Of its own spaces only those in front are kept.
fn wrapped(comment: &str, column: usize) -> Vec<String> {
    let margin = format!("{}#", " ".repeat(column));
    let indent = comment.len() - comment.trim_start_matches(' ').len();
    // A list's further lines stand below its first word.
    let hang = indent + if comment.trim_start().starts_with("* ") { 2 } else { 0 };
    let mut lines: Vec<String> = Vec::new();
    let mut line = format!("{margin}{}", " ".repeat(indent));
    let mut empty = true;
    for word in plain(comment).split(' ').filter(|word| !word.is_empty()) {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(line);
            line = format!("{margin}{}", " ".repeat(hang));
        }
        line.push(' ');
        line.push_str(word);
        empty = false;
    }
    lines.push(if empty { margin } else { line });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_is_a_comment_and_reads_well() {
        let mut rules = Entry::new("tls", Draft::of([("a", "b c".into())]));
        rules.off = Some("TLS".to_owned());
        let mut service = Draft::of([("discoveryName", "yes".into())]);
        service.push(Entry::new("clientAliases", Draft::list([Draft::of([("port", Draft::from(1_u16))])])));
        service.push(rules);
        let mut mesh = Draft::of([("namespace", "a.b".into())]);
        let element = super::super::draft::Element { above: vec!["from here".to_owned()], value: service };
        mesh.push(Entry::new("services", Draft::List(vec![element])));
        let text = yaml(&["Made by hand.".to_owned()], &mesh);
        assert_eq!(
            text,
            "# Made by hand.\n\nnamespace: a.b\nservices:\n  # from here\n  - discoveryName: \"yes\"\n    \
             clientAliases: [{ port: 1 }]\n    # not yet: TLS\n    #tls: { a: \"b c\" }\n"
        );
    }

    #[test]
    fn a_comment_can_not_become_a_key() {
        let entry = Entry::new("a", "b").above("first\nevil: true\r\n\u{2028}c");
        let text = yaml(&[], &Draft::Map(vec![entry]));
        assert!(
            text.lines().all(|line| line.is_empty() || line == "a: b" || line.starts_with('#')),
            "{text}"
        );
    }

    #[test]
    fn long_comments_are_wrapped() {
        let lines = wrapped(&format!("* {}", "word ".repeat(60)), 4);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines.iter().skip(1).all(|line| line.starts_with("    #   word")), "{lines:?}");
    }
}
