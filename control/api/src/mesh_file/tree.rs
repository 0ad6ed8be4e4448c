//! A document as a tree that knows where each of its values stands.

use serde_json::{Map, Number, Value};

/// A place in a file, counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// As it was written; `plain` without quotes, so that it may be a number, a boolean or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key and its value. Keys are text whatever they look like: `on`, `5000` and `null` are keys like any other.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

/// What a scalar means, by the core schema of YAML 1.2, which takes in JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
}

/// One step of the way to a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Node {
    /// The value under a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Content::Mapping(entries) = &self.content else { return None };
        entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The elements of a sequence; none for anything else.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(elements) => elements,
            Content::Scalar { .. } | Content::Mapping(_) => &[],
        }
    }

    /// Where the value at the end of the steps is, or the nearest above it that was written.
    pub(super) fn position_of(&self, steps: &[Step<'_>]) -> Position {
        let mut node = self;
        for step in steps {
            let next = match step {
                Step::Key(key) => node.get(key),
                Step::Index(index) => node.elements().get(*index),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }

    /// The value as JSON. What JSON can't say (NaN, infinities) becomes null; the check has refused it before.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar { text, plain } => match resolve(text, *plain) {
                Scalar::Null => Value::Null,
                Scalar::Bool(b) => Value::Bool(b),
                Scalar::Integer(i) => Value::Number(i.into()),
                Scalar::Float(f) => Number::from_f64(f).map_or(Value::Null, Value::Number),
                Scalar::Text(text) => Value::String(text.to_owned()),
            },
            Content::Sequence(elements) => elements.iter().map(Self::to_json).collect(),
            Content::Mapping(entries) => Value::Object(
                entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// What a scalar means.
pub(super) fn resolve(text: &str, plain: bool) -> Scalar<'_> {
    if !plain {
        return Scalar::Text(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    let (sign, digits) = match text.as_bytes()[0] {
        b'+' => (1.0, &text[1..]),
        b'-' => (-1.0, &text[1..]),
        _ => (1.0, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Scalar::Float(sign * f64::INFINITY);
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(number) = text.strip_prefix(prefix)
            && number.bytes().all(|b| b.is_ascii_alphanumeric())
            && let Ok(integer) = i64::from_str_radix(number, radix)
        {
            return Scalar::Integer(integer);
        }
    }
    // Rust's own parser also takes words such as `inf` and `infinity`, which are text in YAML.
    let numeric = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.bytes().any(|b| b.is_ascii_digit())
        && !digits.starts_with(['e', 'E', '+', '-']);
    if numeric {
        if let Ok(integer) = text.parse::<i64>() {
            return Scalar::Integer(integer);
        }
        if let Ok(float) = text.parse::<f64>() {
            return Scalar::Float(float);
        }
    }
    Scalar::Text(text)
}

/// Whether a plain scalar is a number with a leading zero: octal for YAML 1.1, decimal for YAML 1.2, an error in JSON.
pub(super) fn leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}
