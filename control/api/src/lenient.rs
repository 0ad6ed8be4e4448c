//! Reading a service that another version wrote: what is not known is left out, and told.
//!
//! A mesh file is read strictly, as a key that nobody understands is an error of its author. What a control plane pushes
//! was checked already; a proxy that is older than the control plane must not lose a service over a key it doesn't know.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Service, schema};

/// A service, and what was left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lenient {
    /// The service, without what isn't known.
    pub service: Service,
    /// What was left out, in the order of the keys.
    pub dropped: Vec<Dropped>,
}

/// A key that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its path in the service, e.g. `retry.budget.burst` or `routes[0].cache`.
    pub path: String,
    /// What this version can't do yet; `None`: it doesn't know the key.
    pub not_yet: Option<&'static str>,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.not_yet {
            Some(what) => write!(f, "{}: {what}: not yet in this version", self.path),
            None => write!(f, "{}: unknown to this version", self.path),
        }
    }
}

/// Reads the JSON of a [`Service`].
///
/// # Errors
/// When it isn't JSON, or what is known of it isn't as it must be: a word that this version doesn't know is an error, as
/// nobody can say what it would be without it.
pub fn read_service(json: &[u8]) -> Result<Lenient, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(json)?;
    let mut walk = Walk { path: String::new(), dropped: Vec::new() };
    walk.value(&schema::shared()["$defs"]["Service"], &mut value);
    Ok(Lenient { service: serde_json::from_value(value)?, dropped: walk.dropped })
}

struct Walk {
    path: String,
    dropped: Vec<Dropped>,
}

impl Walk {
    fn value(&mut self, schema: &'static Value, value: &mut Value) {
        let schema = schema::resolve(schema);
        match value {
            Value::Object(object) => match schema::branches(schema) {
                Some(branches) => self.choice(branches, object),
                None => self.object(schema, object),
            },
            Value::Array(list) => {
                let Some(items) = array_items(schema) else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    self.below(&format!("[{index}]"), |walk| walk.value(items, item));
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, schema: &'static Value, object: &mut Map<String, Value>) {
        let Some(properties) = schema::properties(schema) else {
            // A map with keys of anybody's choice.
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                for (key, value) in object {
                    self.below(key, |walk| walk.value(values, value));
                }
            }
            return;
        };
        let required =
            |key: &str| schema["required"].as_array().is_some_and(|list| list.iter().any(|k| k == key));
        object.retain(|key, value| {
            let Some(property) = properties.get(key) else {
                self.drop(key, None);
                return false;
            };
            let not_yet = schema::not_yet(property).or_else(|| not_yet_word(property, value));
            if let Some(what) = not_yet.filter(|_| !required(key)) {
                self.drop(key, Some(what));
                return false;
            }
            self.below(key, |walk| walk.value(property, value));
            true
        });
    }

    /// A choice of one-key mappings: an unknown key is an unknown choice, and no less an error than an unknown word.
    fn choice(&mut self, branches: &'static [Value], object: &mut Map<String, Value>) {
        for (key, value) in object {
            let chosen =
                branches.iter().find_map(|branch| schema::properties(schema::resolve(branch))?.get(key));
            if let Some(chosen) = chosen {
                self.below(key, |walk| walk.value(chosen, value));
            }
        }
    }

    fn drop(&mut self, key: &str, not_yet: Option<&'static str>) {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.dropped.push(Dropped { path, not_yet });
    }

    /// Runs with the path one step longer.
    fn below(&mut self, step: &str, run: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        run(self);
        self.path.truncate(length);
    }
}

/// What the members of an array are, also where it is one of several choices.
fn array_items(schema: &'static Value) -> Option<&'static Value> {
    schema
        .get("items")
        .or_else(|| schema::branches(schema)?.iter().find_map(|branch| schema::resolve(branch).get("items")))
}

/// What this version can't do yet about the word that was chosen.
fn not_yet_word(schema: &'static Value, value: &Value) -> Option<&'static str> {
    let word = value.as_str()?;
    let branches = schema::branches(schema::resolve(schema))?;
    branches.iter().find(|branch| branch["const"] == word).and_then(schema::not_yet)
}

#[cfg(test)]
mod tests;
