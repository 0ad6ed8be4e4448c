//! A value that is yet to be written.

use super::{Content, Node};

/// How many values a copy may have: nested YAML aliases can stand for billions.
const MAX_COPY: usize = 2_000;

/// A value that is yet to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A text.
    Text(String),
    /// A number, a truth value, or whatever stood without quotes where it was copied from.
    Plain(String),
    /// A list.
    List(Vec<Out>),
    /// A mapping, in this order.
    Map(Vec<(String, Out)>),
    /// A value with a YAML tag.
    Tagged(String, Box<Out>),
}

impl Out {
    /// A mapping.
    pub(crate) fn map<const N: usize>(entries: [(&str, Out); N]) -> Self {
        Out::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A list of texts.
    pub(crate) fn texts<const N: usize>(texts: [&str; N]) -> Self {
        Out::List(texts.into_iter().map(Out::from).collect())
    }

    /// A copy of a value that was read, aliases written out; `None` if that is too much.
    pub(crate) fn copy(node: &Node) -> Option<Self> {
        let mut left = MAX_COPY;
        copy(node, &mut left)
    }

    /// Adds an entry to a mapping, or puts another value into the one that is there.
    pub(crate) fn set(&mut self, key: &str, value: Out) {
        let Out::Map(entries) = self else { return };
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => entries.push((key.to_owned(), value)),
        }
    }

    /// JSON's value, where it is one.
    pub(crate) fn from_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Out::Text(text.clone()),
            serde_json::Value::Array(elements) => Out::List(elements.iter().map(Out::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Out::Map(entries.iter().map(|(key, value)| (key.clone(), Out::from_json(value))).collect())
            }
            other => Out::Plain(other.to_string()),
        }
    }
}

impl From<&str> for Out {
    fn from(text: &str) -> Self {
        Out::Text(text.to_owned())
    }
}

impl From<String> for Out {
    fn from(text: String) -> Self {
        Out::Text(text)
    }
}

impl From<u32> for Out {
    fn from(number: u32) -> Self {
        Out::Plain(number.to_string())
    }
}

impl From<bool> for Out {
    fn from(value: bool) -> Self {
        Out::Plain(value.to_string())
    }
}

fn copy(node: &Node, left: &mut usize) -> Option<Out> {
    *left = left.checked_sub(1)?;
    let node = node.resolved();
    let out = match &node.content {
        Content::Scalar { text, plain: true } if node.tag.is_none() => Out::Plain(text.clone()),
        Content::Scalar { text, .. } => Out::Text(text.clone()),
        Content::List(elements) => {
            Out::List(elements.iter().map(|element| copy(element, left)).collect::<Option<_>>()?)
        }
        Content::Map(entries) => {
            let copied = entries.iter().map(|entry| Some((entry.key.clone(), copy(&entry.value, left)?)));
            Out::Map(copied.collect::<Option<_>>()?)
        }
        Content::Alias(_) => return None,
    };
    Some(match &node.tag {
        Some(tag) => Out::Tagged(tag.clone(), Box::new(out)),
        None => out,
    })
}
