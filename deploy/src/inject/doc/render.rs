//! Values as text: JSON on one line or many, YAML in blocks.

use super::Out;

/// How YAML blocks are indented in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Indent {
    /// Columns that a mapping inside a mapping is moved to the right.
    pub(super) map: usize,
    /// Columns that a list's dashes are moved to the right of its key: 0 or more.
    pub(super) list: usize,
}

/// Lists of scalars up to this width are written on one line in YAML.
const SHORT_LIST: usize = 70;

/// How values on one line look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineStyle {
    /// `{ name: a }`: texts that need no quotes go without.
    Yaml,
    /// `{"name": "a"}`
    Plain,
    /// `{ "name": "a" }`
    Wide,
    /// `{"name":"a"}`
    Tight,
}

/// On one line.
pub(super) fn flow(out: &Out, style: LineStyle) -> String {
    let comma = if style == LineStyle::Tight { "," } else { ", " };
    let yaml = style == LineStyle::Yaml;
    match out {
        Out::Text(text) => self::text(text, yaml),
        Out::Plain(text) => plain(text, yaml),
        Out::List(elements) => {
            let elements: Vec<String> = elements.iter().map(|element| flow(element, style)).collect();
            format!("[{}]", elements.join(comma))
        }
        Out::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, value)| entry(key, value, style)).collect();
            let wide = matches!(style, LineStyle::Yaml | LineStyle::Wide) && !entries.is_empty();
            let (open, close) = if wide { ("{ ", " }") } else { ("{", "}") };
            format!("{open}{}{close}", entries.join(comma))
        }
        Out::Tagged(tag, value) => format!("{tag} {}", flow(value, style)),
    }
}

/// One entry of a mapping on one line.
pub(super) fn entry(key: &str, value: &Out, style: LineStyle) -> String {
    let colon = if style == LineStyle::Tight { ":" } else { ": " };
    format!("{}{colon}{}", text(key, style == LineStyle::Yaml), flow(value, style))
}

/// JSON on many lines, the first one without indentation.
pub(super) fn pretty(out: &Out, indent: &str, unit: &str, newline: &str) -> String {
    let deeper = format!("{indent}{unit}");
    let (open, lines, close): (_, Vec<String>, _) = match out {
        Out::List(elements) if !elements.is_empty() => {
            let lines = elements.iter().map(|element| pretty(element, &deeper, unit, newline)).collect();
            ("[", lines, "]")
        }
        Out::Map(entries) if !entries.is_empty() => {
            let lines =
                entries.iter().map(|(key, value)| pretty_entry(key, value, &deeper, unit, newline)).collect();
            ("{", lines, "}")
        }
        other => return flow(other, LineStyle::Plain),
    };
    let body = lines.join(&format!(",{newline}{deeper}"));
    format!("{open}{newline}{deeper}{body}{newline}{indent}{close}")
}

/// One entry of a mapping in JSON on many lines.
pub(super) fn pretty_entry(key: &str, value: &Out, indent: &str, unit: &str, newline: &str) -> String {
    format!("{}: {}", text(key, false), pretty(value, indent, unit, newline))
}

/// One entry of a YAML mapping, in lines that begin at `column`.
pub(super) fn block_entry(key: &str, value: &Out, column: usize, indent: Indent) -> Vec<String> {
    let margin = " ".repeat(column);
    let key = text(key, true);
    match value {
        Out::Map(entries) if !entries.is_empty() => {
            let mut lines = vec![format!("{margin}{key}:")];
            for (key, value) in entries {
                lines.extend(block_entry(key, value, column + indent.map, indent));
            }
            lines
        }
        Out::List(elements) if !elements.is_empty() && !is_short(value) => {
            let mut lines = vec![format!("{margin}{key}:")];
            for element in elements {
                lines.extend(block_element(element, column + indent.list, indent));
            }
            lines
        }
        other => vec![format!("{margin}{key}: {}", flow(other, LineStyle::Yaml))],
    }
}

/// One element of a YAML list, its dash at `column`.
pub(super) fn block_element(value: &Out, column: usize, indent: Indent) -> Vec<String> {
    let margin = " ".repeat(column);
    match value {
        Out::Map(entries) if !entries.is_empty() => {
            let mut lines = Vec::new();
            for (key, value) in entries {
                lines.extend(block_entry(key, value, column + 2, indent));
            }
            if let Some(first) = lines.first_mut() {
                first.replace_range(column..column + 1, "-");
            }
            lines
        }
        other => vec![format!("{margin}- {}", flow(other, LineStyle::Yaml))],
    }
}

fn is_short(list: &Out) -> bool {
    let Out::List(elements) = list else { return false };
    elements.iter().all(|element| matches!(element, Out::Text(_) | Out::Plain(_)))
        && flow(list, LineStyle::Yaml).len() <= SHORT_LIST
}

fn text(text: &str, yaml: bool) -> String {
    if yaml && is_safe(text) && !is_word_of_yaml(text) {
        return text.to_owned();
    }
    quoted(text)
}

/// What stood without quotes goes without, unless the brackets that it may stand in now would cut it.
fn plain(text: &str, yaml: bool) -> String {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'));
    if !yaml || number || text.is_empty() || text == "~" || is_safe(text) {
        return if text.is_empty() { "null".to_owned() } else { text.to_owned() };
    }
    quoted(text)
}

/// Whether YAML takes it for a text without quotes, wherever it stands, if it is no word of YAML's own.
fn is_safe(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/') && text.chars().all(inner)
}

/// YAML 1.1 and 1.2 don't agree on which of them are truth values.
fn is_word_of_yaml(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
