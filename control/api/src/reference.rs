//! The reference page of the mesh file, made from the JSON Schema: a test keeps the file true.

use std::fmt::Write as _;

use serde_json::Value;

use crate::schema::{NOT_YET, json_schema};

/// The page: one table a type, in the order in which they come up.
#[must_use]
pub fn mesh_file() -> String {
    let schema = json_schema();
    let mut page = String::from(
        "# The mesh file\n\nYAML or JSON; one file, or a folder of them (one per team, the same `namespace` in each). \
         Unknown keys are errors. `bowline check PATH` finds every mistake at once; `bowline schema` prints the JSON \
         Schema for editors. Keys marked *not yet* are part of the model, and refused by this version rather than \
         ignored.\n",
    );
    table(&mut page, "Mesh", &schema);
    let definitions = schema["$defs"].as_object().into_iter().flatten();
    for (name, definition) in definitions {
        table(&mut page, name, definition);
    }
    page
}

fn table(page: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(page, "\n## {name}\n\n{}\n", text(&schema["description"]));
    if let Some(properties) = schema["properties"].as_object() {
        page.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        let required =
            |key: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == key));
        for (key, property) in properties {
            let default = match &property["default"] {
                Value::Null if required(key) => "required".to_owned(),
                Value::Null => String::new(),
                Value::Object(_) => "see its table".to_owned(),
                value => format!("`{value}`"),
            };
            row(page, key, property, &default);
        }
    } else if let Some(variants) = schema["oneOf"].as_array() {
        page.push_str("| one of | value | | meaning |\n| --- | --- | --- | --- |\n");
        for variant in variants {
            match variant["properties"].as_object() {
                Some(properties) => {
                    for (key, property) in properties {
                        let mut property = property.clone();
                        for part in ["description", NOT_YET] {
                            if property[part].is_null() && !variant[part].is_null() {
                                property[part] = variant[part].clone();
                            }
                        }
                        row(page, key, &property, "");
                    }
                }
                None => row(page, &kind(variant), variant, ""),
            }
        }
    }
}

fn row(page: &mut String, key: &str, property: &Value, default: &str) {
    let not_yet = if property[NOT_YET].is_null() { "" } else { "*not yet* " };
    let key = if key.starts_with('`') { key.to_owned() } else { format!("`{key}`") };
    let description = text(&property["description"]);
    let _ = writeln!(page, "| {key} | {} | {default} | {not_yet}{description} |", kind(property));
}

/// What a value looks like.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(constant) = schema["const"].as_str() {
        return format!("`{constant}`");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{}`", text(word))).collect::<Vec<_>>().join(", ");
    }
    if let Some(variants) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return variants.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map to {}", kind(&schema["additionalProperties"]))
        }
        Some(kind @ ("integer" | "number")) => match (&schema["minimum"], &schema["maximum"]) {
            (Value::Null, _) | (_, Value::Null) => kind.to_owned(),
            (low, high) => format!("{kind}, {low} to {high}"),
        },
        Some(kind) => kind.to_owned(),
        None => String::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
