use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1 as proto;
use prost::Message as _;

use super::Resource;
use crate::env::Settings;

fn settings(variables: &[(&str, &str)]) -> Settings {
    Settings::from_env(&|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

fn detected() -> [(String, String); 2] {
    [("service.name".to_owned(), "task".to_owned()), ("cloud.region".to_owned(), "eu-west-1".to_owned())]
}

#[test]
fn what_is_nearer_to_the_operator_wins() {
    let name = |variables: &[(&str, &str)], detected: Vec<(String, String)>| {
        Resource::new(&settings(variables), detected, "1").get("service.name").unwrap().to_owned()
    };
    assert_eq!(name(&[], Vec::new()), "unknown_service:bowline-proxy");
    assert_eq!(name(&[], detected().to_vec()), "task");
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-attributes");
    assert_eq!(name(&[attributes], detected().to_vec()), "from-attributes");
    assert_eq!(name(&[attributes, ("OTEL_SERVICE_NAME", "own")], detected().to_vec()), "own");
}

#[test]
fn what_made_the_data_is_said_and_can_not_be_overridden() {
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "telemetry.sdk.name=other,team=a%20b");
    let resource = Resource::new(&settings(&[attributes]), detected(), "1.2.3");
    assert_eq!(resource.get("telemetry.sdk.name"), Some("bowline"));
    assert_eq!(resource.get("telemetry.sdk.version"), Some("1.2.3"));
    assert_eq!(resource.get("team"), Some("a b"));
    assert_eq!(resource.get("cloud.region"), Some("eu-west-1"));
    let keys: Vec<&str> = resource.iter().map(|(key, _)| key).collect();
    let unique: std::collections::BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!(keys.len(), unique.len());
}

#[test]
fn the_bytes_are_those_of_the_message() {
    let resource = Resource::new(&settings(&[]), detected(), "1");
    let bytes = resource.encode();
    let read = proto::Resource::decode(&*bytes).unwrap();
    assert_eq!(read.encode_to_vec(), bytes);
    let read: Vec<_> = read
        .attributes
        .iter()
        .map(|attribute| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(value)) => (attribute.key.as_str(), value.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(read, resource.iter().collect::<Vec<_>>());
}
