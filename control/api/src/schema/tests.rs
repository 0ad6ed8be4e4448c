use super::*;
use std::collections::BTreeSet;

/// Every key of the model, at least once. The test below holds that nothing is missing.
const EVERYTHING: &str = include_str!("everything.json");

fn keys_of(value: &Value, within: &str, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, below) in map {
                found.insert((key.clone(), within.to_owned()));
                let path = if within.is_empty() { key.clone() } else { format!("{within}.{key}") };
                keys_of(below, &path, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|below| keys_of(below, &format!("{within}[]"), found)),
        _ => {}
    }
}

#[test]
fn the_sample_of_everything_survives_a_round_trip() {
    let sample: Value = serde_json::from_str(EVERYTHING).unwrap();
    let mesh: Mesh = serde_json::from_value(sample.clone()).unwrap();
    let written = serde_json::to_value(&mesh).unwrap();
    let again: Mesh = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(mesh, again);
    // Nothing that was written is lost on the way through the types.
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    keys_of(&sample, "", &mut before);
    keys_of(&written, "", &mut after);
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}

#[test]
fn the_schema_has_every_key_of_the_types_and_no_other() {
    let mut sample = BTreeSet::new();
    keys_of(&serde_json::from_str(EVERYTHING).unwrap(), "", &mut sample);
    let schema: BTreeSet<(String, String)> =
        places().iter().map(|p| (p.key.to_owned(), p.within.clone())).collect();
    // Alternatives of a choice, of which a value can have but one at a time.
    let alternative = |(key, within): &&(String, String)| {
        let last = within.rsplit('.').next().unwrap_or_default();
        matches!(
            (last, key.as_str()),
            ("path", "exact" | "regex")
                | ("hash", "cookie" | "query")
                | ("*", _)
                | ("response", "set" | "add")
        ) || (last == "respond" && key == "headers")
    };
    let missing: Vec<_> = schema.difference(&sample).filter(|place| !alternative(place)).collect();
    assert!(missing.is_empty(), "in the schema, not in the sample: {missing:?}");
    // Free keys, such as a label's name, are in no schema.
    let free = |(_, within): &&(String, String)| {
        let last = within.trim_end_matches(".a").rsplit('.').next().unwrap_or_default();
        ["metadata", "subset", "headers", "query", "set", "add", "sha256", "claimsToHeaders", "zoneWeights"]
            .contains(&last)
    };
    let unknown: Vec<_> = sample.difference(&schema).filter(|place| !free(place)).collect();
    assert!(unknown.is_empty(), "in the sample, not in the schema: {unknown:?}");
}

fn every_schema(schema: &Value, visit: &mut impl FnMut(&Value)) {
    visit(schema);
    let object = schema.as_object().into_iter().flatten();
    for (key, below) in object {
        match (key.as_str(), below) {
            ("properties" | "$defs", Value::Object(map)) => map.values().for_each(|s| every_schema(s, visit)),
            ("oneOf" | "anyOf", Value::Array(list)) => list.iter().for_each(|s| every_schema(s, visit)),
            ("items" | "additionalProperties", Value::Object(_)) => every_schema(below, visit),
            _ => {}
        }
    }
}

/// The check walks files against the schema: a keyword that it does not know would be a rule that nobody keeps.
#[test]
fn the_schema_uses_nothing_that_the_check_does_not_know() {
    let known = [
        "$schema",
        "$id",
        "$defs",
        "$ref",
        "title",
        "description",
        "default",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "oneOf",
        "const",
        "pattern",
        "minLength",
        "maxLength",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        NOT_YET,
        EXPECTED,
    ];
    every_schema(shared(), &mut |schema| {
        for (key, value) in schema.as_object().unwrap() {
            assert!(known.contains(&key.as_str()), "unknown keyword {key} in {schema}");
            match key.as_str() {
                "pattern" => drop(regex_lite::Regex::new(value.as_str().unwrap()).unwrap()),
                "type" => assert!(value.is_string(), "more than one type: {schema}"),
                "format" => {
                    let known = ["ipv4", "ip-port", "uint16", "uint32", "uint64"];
                    assert!(known.contains(&value.as_str().unwrap()), "{schema}");
                }
                "$ref" => {
                    assert!(resolve(Box::leak(Box::new(schema.clone()))).get("$ref").is_none(), "{schema}");
                }
                _ => {}
            }
        }
    });
}

/// The docs are made from the descriptions: each key says what it is, and what it is when it is not there.
#[test]
fn every_key_is_described_with_its_default() {
    let sections = ["timeout", "retry", "backoff", "budget", "loadBalancing", "outlierDetection"];
    every_schema(shared(), &mut |schema| {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let text = property["description"].as_str().unwrap_or_default();
            let alternative = schema["required"] == serde_json::json!([key]) && tag_only(schema);
            assert!(alternative || text.len() > 10, "{key} has no description");
            let says = text.contains("efault") || text.contains("Required");
            assert!(
                alternative || sections.contains(&key.as_str()) || says,
                "{key} does not say its default: {text}"
            );
        }
    });
}

fn tag_only(schema: &Value) -> bool {
    schema["properties"].as_object().is_some_and(|p| p.len() == 1)
}

#[test]
fn the_root_names_itself_without_any_host() {
    let schema = json_schema();
    assert_eq!(schema["$id"], "urn:bowline:mesh");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["namespace"]));
}

/// What this version does not do yet: the list shrinks as the work goes on.
#[test]
fn what_is_not_yet_is_known() {
    let mut marked = BTreeSet::new();
    for place in places().iter().filter(|p| !p.built) {
        let parent_built = places().iter().all(|p| {
            let path = if p.within.is_empty() { p.key.to_owned() } else { format!("{}.{}", p.within, p.key) };
            p.built
                || !(place.within == path
                    || place.within.starts_with(&format!("{path}."))
                    || place.within.starts_with(&format!("{path}[")))
        });
        if parent_built {
            marked.insert(place.key);
        }
    }
    let expected = ["ingressPortOverride", "tls"];
    assert_eq!(marked, expected.into());
}
