//! A mesh file in the making: keys in order, with comments, and with the place that each came from.

use serde_json::Value as Json;

use super::listing::Place;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Draft {
    /// A text, number or truth value.
    Scalar(Json),
    /// A list.
    List(Vec<Element>),
    /// A mapping.
    Map(Vec<Entry>),
}

/// An element of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Element {
    /// Comments above it.
    pub(crate) above: Vec<String>,
    /// The element itself.
    pub(crate) value: Draft,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: Draft,
    /// Comments above it.
    pub(crate) above: Vec<String>,
    /// Where it came from.
    pub(crate) place: Option<Place>,
    /// What this version does not do yet: then it is written as a comment.
    pub(crate) off: Option<String>,
}

impl Draft {
    /// An empty mapping.
    pub(crate) fn map() -> Self {
        Draft::Map(Vec::new())
    }

    /// A mapping of these.
    pub(crate) fn of<const N: usize>(entries: [(&str, Draft); N]) -> Self {
        Draft::Map(entries.into_iter().map(|(key, value)| Entry::new(key, value)).collect())
    }

    /// A list without comments.
    pub(crate) fn list(elements: impl IntoIterator<Item = Draft>) -> Self {
        Draft::List(elements.into_iter().map(|value| Element { above: Vec::new(), value }).collect())
    }

    /// A span of time; whole seconds without a fraction.
    pub(crate) fn seconds(milliseconds: u64) -> Self {
        if milliseconds.is_multiple_of(1000) {
            return (milliseconds / 1000).into();
        }
        #[expect(clippy::cast_precision_loss, reason = "a year in milliseconds is exact in an f64")]
        let seconds = milliseconds as f64 / 1000.0;
        Draft::Scalar(seconds.into())
    }

    /// Whether it has nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Draft::Scalar(_) => false,
            Draft::List(elements) => elements.is_empty(),
            Draft::Map(entries) => entries.is_empty(),
        }
    }

    /// Adds a key to a mapping.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Draft::Map(entries) = self {
            entries.push(entry);
        }
    }

    /// Adds a key to a mapping, if its value has anything in it.
    pub(crate) fn push_filled(&mut self, entry: Entry) {
        if !entry.value.is_empty() {
            self.push(entry);
        }
    }

    /// JSON, without what this version does not do yet.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Draft::Scalar(value) => value.clone(),
            Draft::List(elements) => elements.iter().map(|element| element.value.to_json()).collect(),
            Draft::Map(entries) => {
                let live = entries.iter().filter(|entry| entry.off.is_none());
                live.map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
        }
    }
}

impl Entry {
    /// A key with its value.
    pub(crate) fn new(key: &str, value: impl Into<Draft>) -> Self {
        Self { key: key.to_owned(), value: value.into(), above: Vec::new(), place: None, off: None }
    }

    /// Where it came from.
    pub(crate) fn from(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// With a comment above it.
    pub(crate) fn above(mut self, comment: impl Into<String>) -> Self {
        self.above.push(comment.into());
        self
    }
}

impl From<&str> for Draft {
    fn from(text: &str) -> Self {
        Draft::Scalar(text.into())
    }
}

impl From<String> for Draft {
    fn from(text: String) -> Self {
        Draft::Scalar(text.into())
    }
}

impl From<u64> for Draft {
    fn from(number: u64) -> Self {
        Draft::Scalar(number.into())
    }
}

impl From<u16> for Draft {
    fn from(number: u16) -> Self {
        Draft::Scalar(number.into())
    }
}

impl From<bool> for Draft {
    fn from(truth: bool) -> Self {
        Draft::Scalar(truth.into())
    }
}
