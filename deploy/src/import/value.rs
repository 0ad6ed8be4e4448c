//! What was read: values with their lines that know whether anybody has looked at them, so that what nobody has looked
//! at can be listed in the end.

use std::cell::Cell;
use std::rc::Rc;

use super::listing::{Listing, Place};

/// A value.
#[derive(Debug)]
pub(crate) struct Value {
    /// Counted from 1.
    pub(crate) line: usize,
    content: Content,
    seen: Cell<Seen>,
}

/// How far somebody has looked at a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// Nobody has.
    No,
    /// Somebody has asked for it.
    Asked,
    /// All is said about it and whatever is in it.
    DealtWith,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Content {
    /// Nothing.
    Null,
    /// A text, a number, or a truth value.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A mapping.
    Map(Vec<(String, Value)>),
    /// What only CloudFormation knows, as it was written.
    Unresolved(String),
}

impl Value {
    /// A value that nobody has looked at.
    pub(crate) fn new(line: usize, content: Content) -> Self {
        Self { line, content, seen: Cell::new(Seen::No) }
    }

    fn look(&self) -> &Self {
        self.seen.set(self.seen.get().max(Seen::Asked));
        self
    }

    /// The value of a key, without regard to case: CloudFormation begins keys with a capital. A null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let (_, value) = self.entries().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        if matches!(value.look().content, Content::Null) { None } else { Some(value) }
    }

    /// The value at the end of several keys.
    pub(crate) fn at(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().try_fold(self, |value, key| value.get(key))
    }

    /// Whether it has this key, with a value. Doesn't count as looking at it.
    pub(crate) fn has(&self, key: &str) -> bool {
        let has = |(name, value): (&str, &Value)| {
            name.eq_ignore_ascii_case(key) && !matches!(value.content, Content::Null)
        };
        self.entries().any(has)
    }

    /// A mapping's entries; none if it is something else. Their values don't count as looked at.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        let entries = match &self.content {
            Content::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A list's elements; none if it is something else.
    pub(crate) fn elements(&self) -> impl Iterator<Item = &Value> {
        let elements = match &self.content {
            Content::List(elements) => elements.as_slice(),
            _ => &[],
        };
        elements.iter().map(Value::look)
    }

    /// Whether it is nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.content, Content::List(_))
    }

    /// Whether it is a mapping.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.content, Content::Map(_))
    }

    /// A scalar's text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub(crate) fn number(&self) -> Option<u64> {
        let text = self.text()?;
        // Templates and other tools write 5000.0, or "5000".
        text.strip_suffix(".0").unwrap_or(text).parse().ok()
    }

    /// A port.
    pub(crate) fn port(&self) -> Option<u16> {
        self.number().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
    }

    /// A truth value.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Everything in it counts as looked at, since something else is said about it.
    pub(crate) fn dealt_with(&self) {
        self.seen.set(Seen::DealtWith);
        self.elements().for_each(Value::dealt_with);
        self.entries().for_each(|(_, value)| value.dealt_with());
    }

    /// Finds what nobody has looked at, and what can't be known.
    fn each_unseen<'a>(&'a self, key: &str, found: &mut impl FnMut(&'a Value, &str)) {
        match &self.content {
            _ if self.seen.get() == Seen::DealtWith => {}
            Content::Unresolved(_) => found(self, key),
            _ if self.seen.get() == Seen::No => found(self, key),
            Content::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    element.each_unseen(&format!("{key}[{index}]"), found);
                }
            }
            Content::Map(entries) => {
                for (name, value) in
                    entries.iter().filter(|(_, value)| !matches!(value.content, Content::Null))
                {
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    value.each_unseen(&key, found);
                }
            }
            Content::Null | Content::Text(_) => {}
        }
    }
}

/// A part of a file that is imported: everything in it is either used, or listed.
#[derive(Clone, Debug)]
pub(crate) struct Resource<'a> {
    /// The file, as it was named to us.
    pub(crate) file: Rc<str>,
    /// A logical id, or kind and name.
    pub(crate) name: Rc<str>,
    /// The way from the resource to `value`.
    pub(crate) key: String,
    /// What is imported.
    pub(crate) value: &'a Value,
}

impl Resource<'_> {
    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        self.place_of(self.value)
    }

    /// Where a value inside of it stands.
    pub(crate) fn place_of(&self, value: &Value) -> Place {
        let key = way(self.value, value, &self.key).unwrap_or_else(|| self.key.clone());
        Place { file: self.file.clone(), line: value.line, resource: self.name.clone(), key }
    }

    /// Lists a value that stands in it, all of it.
    pub(crate) fn list(&self, value: &Value, listing: &mut Listing, message: impl Into<String>) {
        value.dealt_with();
        listing.list(self.place_of(value), message);
    }

    /// Lists what nobody has looked at, and what can't be known.
    pub(crate) fn list_rest(&self, listing: &mut Listing) {
        self.value.look();
        self.value.each_unseen(&self.key, &mut |value, key| {
            let message = match &value.content {
                Content::Unresolved(text) => format!(
                    "{text} can't be worked out here, and is left out: give --parameter NAME=VALUE, or add it to the \
                     mesh file"
                ),
                _ => "there is no such thing in a mesh file".to_owned(),
            };
            let place = Place {
                file: self.file.clone(),
                line: value.line,
                resource: self.name.clone(),
                key: key.to_owned(),
            };
            listing.list(place, message);
        });
    }
}

/// The keys that lead from one value to another inside of it.
fn way(from: &Value, to: &Value, key: &str) -> Option<String> {
    if std::ptr::eq(from, to) {
        return Some(key.to_owned());
    }
    match &from.content {
        Content::List(elements) => elements
            .iter()
            .enumerate()
            .find_map(|(index, element)| way(element, to, &format!("{key}[{index}]"))),
        Content::Map(entries) => entries.iter().find_map(|(name, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            way(value, to, &key)
        }),
        _ => None,
    }
}
