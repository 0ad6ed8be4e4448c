//! What this version does not do yet, by the JSON Schema of mesh files: such keys become comments, and are listed. The
//! schema is asked each time, so that a key that is built is imported from then on.

use serde_json::Value as Json;

use super::draft::{Draft, Entry};
use super::listing::{Listing, Place};

/// Turns keys off that this version does not do yet, and lists them. `whole`: what is listed of keys without a place;
/// `kept`: what becomes of them.
pub(crate) fn turn_off(mesh: &mut Draft, whole: &Place, kept: &str, listing: &mut Listing) {
    let root = bowline_api::json_schema();
    Walk { root: &root, kept, listing }.walk(&root, mesh, whole);
}

/// Whether this version does what a key of one of the schema's types says.
pub(crate) fn is_built(kind: &str, key: &str) -> bool {
    bowline_api::json_schema()["$defs"][kind]["properties"][key]["x-not-yet"].is_null()
}

struct Walk<'a> {
    root: &'a Json,
    kept: &'a str,
    listing: &'a mut Listing,
}

impl<'a> Walk<'a> {
    fn walk(&mut self, schema: &'a Json, draft: &mut Draft, place: &Place) {
        let schema = resolve(self.root, schema);
        match draft {
            Draft::Scalar(_) => {}
            Draft::List(elements) => {
                for element in elements {
                    self.walk(&schema["items"], &mut element.value, place);
                }
            }
            Draft::Map(entries) => {
                for entry in entries {
                    self.entry(schema, entry, place);
                }
            }
        }
    }

    fn entry(&mut self, schema: &'a Json, entry: &mut Entry, place: &Place) {
        let Some(property) = property(self.root, schema, &entry.key) else { return };
        let place = entry.place.clone().unwrap_or_else(|| place.clone());
        let marked = property["x-not-yet"].as_str();
        if let Some(what) = marked.or_else(|| resolve(self.root, property)["x-not-yet"].as_str()) {
            let message = format!("not yet: this version does not do {what} ({}); {}", entry.key, self.kept);
            self.listing.list(place, message);
            entry.off = Some(what.to_owned());
            return;
        }
        self.walk(property, &mut entry.value, &place);
        // A key of which only comments are left would have no value.
        if let Draft::Map(inner) = &mut entry.value
            && !inner.is_empty()
            && inner.iter().all(|inner| inner.off.is_some())
        {
            let off: Vec<String> = inner.iter_mut().filter_map(|inner| inner.off.take()).collect();
            entry.off = Some(off.join(", "));
        }
    }
}

/// A key of an object, or of the alternative that has it.
fn property<'a>(root: &'a Json, schema: &'a Json, key: &str) -> Option<&'a Json> {
    let branches = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    let branches = branches.into_iter().flatten().map(|branch| resolve(root, branch));
    std::iter::once(schema).chain(branches).find_map(|schema| schema["properties"].get(key))
}

fn resolve<'a>(root: &'a Json, mut schema: &'a Json) -> &'a Json {
    for _ in 0..8 {
        let Some(name) = schema["$ref"].as_str().and_then(|way| way.strip_prefix("#/$defs/")) else { break };
        schema = &root["$defs"][name];
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Place {
        Place::file(&"a.json".into())
    }

    /// With today's schema or a later one: whatever is left is accepted.
    #[test]
    fn what_is_left_is_a_mesh_file() {
        let service = Draft::of([
            ("discoveryName", "a".into()),
            ("endpoints", Draft::of([("registered", Draft::map())])),
            ("loadBalancing", Draft::of([("subset", Draft::of([("version", "v1".into())]))])),
            ("ingressPortOverride", Draft::from(8080_u16)),
            ("timeout", Draft::of([("idleTimeoutSeconds", Draft::seconds(1500))])),
        ]);
        let mut mesh = Draft::of([("namespace", "a.b".into()), ("services", Draft::list([service]))]);
        let mut listing = Listing::default();
        turn_off(&mut mesh, &whole(), "left out", &mut listing);
        let text = mesh.to_json().to_string();
        let parsed =
            bowline_api::parse("mesh.json", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(parsed.services[0].timeout.idle_timeout_seconds.map(|s| s.get().as_millis()), Some(1500));
    }

    #[test]
    fn what_is_built_is_known() {
        assert!(is_built("LoadBalancing", "policy"));
        let root = bowline_api::json_schema();
        let marked = &root["$defs"]["LoadBalancing"]["properties"]["zoneAware"]["x-not-yet"];
        assert_eq!(is_built("LoadBalancing", "zoneAware"), marked.is_null());
    }

    #[test]
    fn a_key_that_is_not_built_is_off_and_listed() {
        let root = serde_json::json!({
            "properties": { "a": { "$ref": "#/$defs/A" }, "b": { "type": "string" } },
            "$defs": { "A": { "properties": { "c": { "x-not-yet": "magic" } } } },
        });
        let mut draft = Draft::of([("a", Draft::of([("c", "x".into())])), ("b", "y".into())]);
        let mut listing = Listing::default();
        Walk { root: &root, kept: "left out", listing: &mut listing }.walk(&root, &mut draft, &whole());
        assert_eq!(draft.to_json(), serde_json::json!({ "b": "y" }));
        assert_eq!(listing.listed(), 1);
        let Draft::Map(entries) = &draft else { panic!("{draft:?}") };
        assert_eq!(entries[0].off.as_deref(), Some("magic"));
        assert_eq!(entries[0].value.to_json(), serde_json::json!({ "c": "x" }));
    }
}
