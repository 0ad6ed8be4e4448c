//! The JSON Schema of a mesh file, made from the model's types: [`generate`] makes it, and docs/reference keeps what it has
//! made, which is what programs carry. Making it at each start would cost a proxy a quarter of a megabyte of code.
//!
//! It serves three readers: editors, which complete and check by it; [`crate::mesh_file`], which walks files against
//! it; and the docs. Two keys are our own: `x-not-yet` says what this version does not do yet, and `x-expected` says
//! in words what a pattern or format asks for.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, json_schema as schema_of};
use serde_json::{Map, Value};

use crate::Mesh;

/// The key that marks what this version does not do yet; its value says what that is.
pub const NOT_YET: &str = "x-not-yet";
/// The key that says in words what a pattern or format asks for.
pub const EXPECTED: &str = "x-expected";

/// The JSON Schema (draft 2020-12) of a mesh file.
#[must_use]
pub fn json_schema() -> Value {
    shared().clone()
}

/// The same, read once.
pub(crate) fn shared() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        serde_json::from_str(include_str!("../../../docs/reference/mesh.schema.json"))
            .expect("a test compares this file with what is generated")
    })
}

/// Makes the schema from the types. After a change of the model `UPDATE_DOCS=1 cargo test -p bowline-api --test reference`
/// writes it down: twice, since the page that is made from it shows what this program was built with.
#[must_use]
pub fn generate() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Mesh>();
    RecursiveTransform(without_null).transform(&mut schema);
    RecursiveTransform(one_line_descriptions).transform(&mut schema);
    schema.insert("$id".to_owned(), "urn:bowline:mesh".into());
    schema.insert("title".to_owned(), "Bowline mesh file".into());
    schema.to_value()
}

/// Takes `null` out of optional values. A key whose value was left out by mistake is an error, not "unset": the line
/// below it is often the value, wrongly indented.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        let null = schema_of!({ "type": "null" }).to_value();
        branches.retain(|branch| *branch != null);
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            // What is said at the key itself wins over what its type says in general.
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Doc comments are wrapped for the source; a description is not.
fn one_line_descriptions(schema: &mut Schema) {
    let Some(Value::String(text)) = schema.get_mut("description") else { return };
    *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
}

/// Follows `$ref`s to the schema that says something.
pub(crate) fn resolve(mut schema: &'static Value) -> &'static Value {
    // The model's types are not recursive, but a loop here would hang: so it is bounded.
    for _ in 0..8 {
        let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) else { break };
        schema = &shared()["$defs"][name];
    }
    schema
}

/// The properties of an object schema.
pub(crate) fn properties(schema: &'static Value) -> Option<&'static Map<String, Value>> {
    schema["properties"].as_object()
}

/// The alternatives of a schema, if it is a choice.
pub(crate) fn branches(schema: &'static Value) -> Option<&'static [Value]> {
    schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()).map(Vec::as_slice)
}

/// A place that a key can stand in.
#[derive(Debug)]
pub(crate) struct Place {
    /// The key, e.g. `port`.
    pub(crate) key: &'static str,
    /// What it stands in, e.g. `services[].clientAliases[]`; empty for the top of the file.
    pub(crate) within: String,
    /// Whether this version takes it there.
    pub(crate) built: bool,
}

/// Every place of every key.
pub(crate) fn places() -> &'static [Place] {
    static PLACES: OnceLock<Vec<Place>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let mut found = Vec::new();
        collect_places(shared(), "", true, &mut found);
        found
    })
}

/// What this version does not do yet about a key, a word or a kind of value.
pub(crate) fn not_yet(schema: &'static Value) -> Option<&'static str> {
    schema[NOT_YET].as_str().or_else(|| resolve(schema)[NOT_YET].as_str())
}

fn collect_places(schema: &'static Value, within: &str, built: bool, found: &mut Vec<Place>) {
    let schema = resolve(schema);
    for branch in branches(schema).unwrap_or_default() {
        collect_places(branch, within, built && not_yet(branch).is_none(), found);
    }
    if schema.get("items").is_some() {
        collect_places(&schema["items"], &format!("{within}[]"), built, found);
    }
    if schema["additionalProperties"].is_object() {
        collect_places(&schema["additionalProperties"], &format!("{within}.*"), built, found);
    }
    for (key, property) in properties(schema).into_iter().flatten() {
        let built = built && not_yet(property).is_none();
        found.push(Place { key, within: within.to_owned(), built });
        let below = if within.is_empty() { key.clone() } else { format!("{within}.{key}") };
        collect_places(property, &below, built, found);
    }
}

#[cfg(test)]
mod tests;
