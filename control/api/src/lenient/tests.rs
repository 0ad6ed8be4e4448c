use serde_json::json;

use super::*;
use crate::model::{Endpoint, Endpoints};

fn read(value: &Value) -> Result<Lenient, serde_json::Error> {
    read_service(value.to_string().as_bytes())
}

fn least() -> Service {
    Service::new("server", Endpoints::Static(vec![Endpoint::new("127.0.0.1:9001".parse().unwrap())]))
}

#[test]
fn what_this_version_writes_it_reads_as_it_was() {
    let read = read(&serde_json::to_value(least()).unwrap()).unwrap();
    assert_eq!(read, Lenient { service: least(), dropped: Vec::new() });
}

#[test]
fn unknown_keys_go_wherever_they_stand() {
    let read = read(&json!({
        "discoveryName": "server",
        "quota": { "perDay": 1 },
        "clientAliases": [{ "dnsName": "a.b", "port": 80 }, { "dnsName": "c.d", "port": 81, "weight": 3 }],
        "endpoints": { "static": [{ "address": "127.0.0.1:9001", "colour": "red", "metadata": { "any": "label" } }] },
        "retry": { "retries": 1, "budget": { "burst": 3 } },
    }))
    .unwrap();
    let paths: Vec<&str> = read.dropped.iter().map(|dropped| dropped.path.as_str()).collect();
    let expected = ["quota", "clientAliases[1].weight", "endpoints.static[0].colour", "retry.budget.burst"];
    assert_eq!(paths, expected);
    assert!(read.dropped.iter().all(|dropped| dropped.not_yet.is_none()));
    assert_eq!((read.service.retry.retries, read.service.client_aliases[1].port), (1, 81));
    assert_eq!(
        read.service.endpoints.static_endpoints()[0].metadata["any"],
        "label",
        "labels are no keys of ours"
    );
}

/// Whatever the schema marks as not built goes, with what it is; nothing of it stays in the model.
#[test]
fn what_is_not_built_yet_goes_too() {
    for (key, property) in schema::properties(schema::resolve(&schema::shared()["$defs"]["Service"])).unwrap()
    {
        let Some(what) = schema::not_yet(property) else { continue };
        let mut value = serde_json::to_value(least()).unwrap();
        value[key] = json!("never looked at");
        let read = read(&value).unwrap();
        assert_eq!(read.dropped, [Dropped { path: key.clone(), not_yet: Some(what) }]);
        assert_eq!(read.service, least());
        assert!(read.dropped[0].to_string().contains("not yet"));
    }
}

#[test]
fn unknown_words_and_choices_are_errors() {
    for (pointer, value) in [
        ("/loadBalancing/policy", json!("fastest")),
        ("/appProtocol", json!("http9")),
        ("/endpoints", json!({ "oracle": {} })),
        ("/timeout/connectSeconds", json!("soon")),
    ] {
        let mut whole = serde_json::to_value(least()).unwrap();
        whole["appProtocol"] = json!("http");
        *whole.pointer_mut(pointer).unwrap() = value;
        read(&whole).expect_err(pointer);
    }
    read_service(b"{").unwrap_err();
    read_service(b"[]").unwrap_err();
    read_service(b"{}").expect_err("endpoints are required");
}

#[test]
fn a_required_choice_stays_even_if_it_is_not_built() {
    let service = Service::new("server", Endpoints::Registered(crate::model::RegisteredSource {}));
    let read = read(&serde_json::to_value(&service).unwrap()).unwrap();
    assert_eq!(read, Lenient { service, dropped: Vec::new() });
}
