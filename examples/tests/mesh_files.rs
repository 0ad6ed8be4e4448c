//! The sample mesh files are valid, and say what their comments claim.

use std::path::{Path, PathBuf};

use bowline_api::Mesh;
use bowline_api::model::Service;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mesh")
}

fn load(name: &str) -> Mesh {
    bowline_api::load(&folder().join(name)).unwrap_or_else(|problems| panic!("{problems}")).mesh
}

#[test]
fn every_sample_can_be_loaded() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let name = entry.expect("readable").file_name();
        assert!(!load(&name.to_string_lossy()).services.is_empty(), "{name:?}");
        loaded += 1;
    }
    assert_eq!(loaded, 3);
}

#[test]
fn what_full_yaml_calls_a_default_is_one() {
    let mesh = load("full.yaml");
    let written = mesh.service("server").expect("it is there");
    let default = Service::new("server", written.endpoints.clone());
    assert_eq!(written.retry, default.retry);
    assert_eq!(written.load_balancing, default.load_balancing);
    assert_eq!(written.outlier_detection, default.outlier_detection);
    assert_eq!(written.timeout.per_attempt_seconds, default.timeout.per_attempt_seconds);
    assert_eq!(written.timeout.connect_seconds, default.timeout.connect_seconds);
    let http = bowline_api::model::AppProtocol::Http;
    assert_eq!(written.request_timeout(), default.request_timeout());
    assert_eq!(written.idle_timeout(http), default.idle_timeout(http));
    assert_eq!(written.response_headers_timeout(http), default.response_headers_timeout(http));
}

/// Every key of the model that is not marked as "not yet" is in the file, be it in a comment.
#[test]
fn full_yaml_leaves_no_key_out() {
    let text = std::fs::read_to_string(folder().join("full.yaml")).expect("readable");
    let schema = serde_json::to_value(bowline_api::json_schema()).expect("JSON");
    let mut keys = Vec::new();
    built_keys(&schema, &schema, &mut keys);
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() > 30, "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !text.contains(&format!("{key}:"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The keys that can be reached from `node` without passing a "not yet".
fn built_keys<'a>(root: &'a serde_json::Value, node: &'a serde_json::Value, keys: &mut Vec<&'a str>) {
    if node.get("x-not-yet").is_some() {
        return;
    }
    if let Some(target) = node["$ref"].as_str().and_then(|path| root.pointer(path.trim_start_matches('#'))) {
        built_keys(root, target, keys);
    }
    for (key, property) in node["properties"].as_object().into_iter().flatten() {
        if property.get("x-not-yet").is_none() {
            keys.push(key);
            built_keys(root, property, keys);
        }
    }
    for list in ["anyOf", "oneOf", "allOf"] {
        for branch in node[list].as_array().into_iter().flatten() {
            built_keys(root, branch, keys);
        }
    }
    if node["items"].is_object() {
        built_keys(root, &node["items"], keys);
    }
}

#[test]
fn service_connects_json_is_taken_as_it_is() {
    let mesh = load("service-connect.json");
    let server = mesh.service("server").expect("it is there");
    assert_eq!(server.request_timeout().map(|limit| limit.as_secs()), Some(15));
    let stream = mesh.service("stream").expect("named by its portName");
    assert_eq!(stream.client_aliases[0].dns_name, "stream.hello-world.com");
}
