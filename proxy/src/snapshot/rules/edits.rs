//! Changes to headers.

use bowline_api::model;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Changes to the headers of one message, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(Box<[Edit]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    Remove(HeaderName),
    Set(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
}

/// Why a header is not for the mesh file to change; `None`: it is. The list is the mesh file's own check.
#[must_use]
pub fn forbidden(name: &HeaderName) -> Option<&'static str> {
    bowline_api::header_kept_from_rules(name.as_str())
}

impl Edits {
    /// These, and then those of the mesh file.
    ///
    /// # Errors
    /// What is no name or value of a header, or not for the mesh file to change.
    pub(super) fn then(&self, model: Option<&model::HeaderEdits>) -> Result<Self, String> {
        let Some(model) = model else { return Ok(self.clone()) };
        let mut edits = self.0.to_vec();
        for name in &model.remove {
            edits.push(Edit::Remove(header_name(name)?));
        }
        for (name, value) in &model.set {
            edits.push(Edit::Set(header_name(name)?, header_value(name, value)?));
        }
        for (name, value) in &model.add {
            edits.push(Edit::Add(header_name(name)?, header_value(name, value)?));
        }
        Ok(Self(edits.into()))
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes them.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for edit in &self.0 {
            match edit {
                Edit::Remove(name) => {
                    headers.remove(name);
                }
                Edit::Set(name, value) => {
                    headers.insert(name, value.clone());
                }
                Edit::Add(name, value) => {
                    headers.append(name, value.clone());
                }
            }
        }
    }
}

/// The name of a header that may be changed.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| format!("{text:?} is not the name of a header"))?;
    match forbidden(&name) {
        Some(why) => Err(format!("{name} can't be changed: {why}")),
        None => Ok(name),
    }
}

/// The value of a header: text in one line.
pub(super) fn header_value(name: &str, text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} can't be the value of {name}"))
}
