use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::scrape::tests::{Rest, mesh};
use super::{CloudWatch, Settings};
use crate::telemetry::metrics::Class;

fn settings(place: Option<(&str, &str)>) -> Settings {
    Settings {
        namespace: "Bowline/ServiceConnect".to_owned(),
        place: place.map(|(service, cluster)| (service.to_owned(), cluster.to_owned())),
        registered: [(8080, "shop".to_owned())].into(),
    }
}

fn read(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a line says, checked by the rules of the format: each metric that is announced is there, each dimension has a
/// text, and no more than a hundred values.
fn checked(line: &Value) -> &Value {
    let about = &line["_aws"]["CloudWatchMetrics"][0];
    for metric in about["Metrics"].as_array().unwrap() {
        let value = &line[metric["Name"].as_str().unwrap()];
        let is_histogram = value["Values"].as_array().is_some_and(|values| {
            (1..=100).contains(&values.len()) && values.len() == value["Counts"].as_array().unwrap().len()
        });
        assert!(value.is_number() || is_histogram, "{metric} {value}");
    }
    for dimension in about["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap()) {
        assert!(line[dimension.as_str().unwrap()].is_string(), "{dimension}");
    }
    line
}

#[test]
fn lines_tell_what_has_happened_since_the_last_ones() {
    let (snapshot, rest) = (mesh(2, 2), Rest::default());
    let sources = rest.sources(&snapshot);
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let mut cloudwatch = CloudWatch::new(settings(Some(("web", "prod"))));
    assert_eq!(cloudwatch.lines(&sources, at), "");

    let service = &snapshot.services[1];
    let counters = service.shared.counters.register();
    let one = service.endpoints[0].shared.counters.register();
    let other = service.endpoints[1].shared.counters.register();
    let call = |class: Class, millis: u64| {
        counters.requests[class as usize].inc();
        counters.duration.record(Duration::from_millis(millis));
    };
    (0..3).for_each(|_| call(Class::Success, 7));
    call(Class::ServerError, 80);
    counters.grpc_requests.inc();
    one.attempts[Class::Success as usize].add(3);
    other.attempts[Class::ServerError as usize].add(1);
    one.connections.add(2);
    one.connects.add(2);
    one.bytes_sent.add(100);
    one.bytes_received.add(23);

    let lines = read(&cloudwatch.lines(&sources, at));
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let line = checked(line);
    let about = &line["_aws"];
    assert_eq!(about["Timestamp"], 1_700_000_000_123_u64);
    assert_eq!(about["CloudWatchMetrics"][0]["Namespace"], "Bowline/ServiceConnect");
    let dimensions = json!([["TargetDiscoveryName"], ["TargetDiscoveryName", "ServiceName", "ClusterName"]]);
    assert_eq!(about["CloudWatchMetrics"][0]["Dimensions"], dimensions);
    for (name, value) in [
        ("TargetDiscoveryName", json!("service-1")),
        ("ServiceName", json!("web")),
        ("ClusterName", json!("prod")),
        ("RequestCount", json!(4)),
        ("GrpcRequestCount", json!(1)),
        ("HTTPCode_Target_2XX_Count", json!(3)),
        ("HTTPCode_Target_5XX_Count", json!(1)),
        ("RequestCountPerTarget", json!(2.0)),
        ("ActiveConnectionCount", json!(2)),
        ("NewConnectionCount", json!(2)),
        ("TargetProcessedBytes", json!(123)),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    let times = &line["TargetResponseTime"];
    assert_eq!((&times["Values"], &times["Counts"]), (&json!([7.5, 75.0]), &json!([3, 1])));
    assert_eq!((&times["Count"], &times["Sum"]), (&json!(4), &json!(101.0)));

    // Only what is new.
    call(Class::Success, 1);
    let lines = read(&cloudwatch.lines(&sources, at));
    assert_eq!((&lines[0]["RequestCount"], &lines[0]["NewConnectionCount"]), (&json!(1), &json!(0)));
    assert_eq!(lines[0]["TargetResponseTime"]["Counts"], json!([1]));
    one.connections.add(-2);
    assert_eq!(cloudwatch.lines(&sources, at), "");
}

#[test]
fn callers_of_the_app_come_under_the_name_it_is_registered_with() {
    let app = std::sync::Arc::new(crate::snapshot::Service::of_app(
        ([127, 0, 0, 1], 8080).into(),
        None,
        bowline_core::Tick::ZERO,
    ));
    app.shared.counters.register().requests[Class::Success as usize].add(5);
    let snapshot = mesh(0, 0).beside(vec![app]);
    let rest = Rest::default();
    let mut cloudwatch = CloudWatch::new(settings(None));
    let lines = read(&cloudwatch.lines(&rest.sources(&snapshot), UNIX_EPOCH));
    let line = checked(&lines[0]);
    assert_eq!((&line["DiscoveryName"], &line["RequestCount"]), (&json!("shop"), &json!(5)));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["DiscoveryName"]]));
    assert!(line.get("HTTPCode_Target_2XX_Count").is_none() && line.get("TargetResponseTime").is_none());
    assert!(line.get("ProcessedBytes").is_some());
}
