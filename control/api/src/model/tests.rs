use super::*;
use std::time::Duration;

fn service() -> Service {
    Service::new("server", Endpoints::Static(vec![Endpoint::new("127.0.0.1:9001".parse().unwrap())]))
}

/// The defaults of DESIGN, as they are written in a mesh file. Changing one is a change of behaviour for every user.
#[test]
fn a_service_written_out_shows_every_default() {
    let expected = serde_json::json!({
        "discoveryName": "server",
        "clientAliases": [],
        "endpoints": { "static": [{ "address": "127.0.0.1:9001", "weight": 1 }] },
        "timeout": { "perAttemptSeconds": "auto", "connectSeconds": 1 },
        "retry": {
            "retries": 2,
            "backoff": { "baseMilliseconds": 25, "maxMilliseconds": 250 },
            "budget": { "percent": 20, "minPerSecond": 3, "windowSeconds": 10 },
            "maxBodyBytes": 65536
        },
        "loadBalancing": { "policy": "peakEwma", "panicPercent": 50 },
        "outlierDetection": {
            "consecutiveFailures": 5,
            "baseEjectionSeconds": 30,
            "maxEjectionSeconds": 300,
            "maxEjectionPercent": 50
        }
    });
    assert_eq!(serde_json::to_value(service()).unwrap(), expected);
    // And what serde fills in is what the code fills in.
    let least = serde_json::json!({
        "discoveryName": "server",
        "endpoints": { "static": [{ "address": "127.0.0.1:9001" }] },
    });
    assert_eq!(serde_json::from_value::<Service>(least).unwrap(), service());
}

#[test]
fn timeouts_depend_on_what_is_spoken() {
    use AppProtocol::{Grpc, Http, Http2, Tcp};
    let mut service = service();
    assert_eq!(service.response_headers_timeout(Http), Some(Duration::from_secs(15)));
    assert_eq!(service.response_headers_timeout(Grpc), None);
    assert_eq!(service.idle_timeout(Http2), Some(Duration::from_secs(300)));
    assert_eq!(service.idle_timeout(Tcp), Some(Duration::from_secs(3600)));
    assert_eq!(service.request_timeout(), None);

    service.timeout.response_headers_seconds = Some(Seconds::from_f64(0.5).unwrap());
    service.timeout.idle_timeout_seconds = Some(Seconds::new(0));
    service.timeout.per_request_timeout_seconds = Some(Seconds::new(0));
    assert_eq!(
        service.response_headers_timeout(Grpc),
        Some(Duration::from_millis(500)),
        "asked for, also for gRPC"
    );
    assert_eq!(service.idle_timeout(Tcp), None, "0 is off");
    assert_eq!(service.request_timeout(), None, "0 is off");
}

#[test]
fn a_declared_protocol_wins_but_grpc_inside_http2_is_grpc() {
    use AppProtocol::{Grpc, Http, Http2};
    let mut service = service();
    assert_eq!(service.speaks(Http), Http);
    service.app_protocol = Some(Grpc);
    assert_eq!(service.speaks(Http2), Grpc);
    service.app_protocol = Some(Http2);
    assert_eq!(service.speaks(Grpc), Grpc);
    assert_eq!(service.speaks(Http), Http2);
}

#[test]
fn retries_by_default_are_safe_for_every_method() {
    use AppProtocol::{Grpc, Http};
    let service = service();
    let get = service.retry_conditions(Http, true);
    assert!(get.connect_failure && get.refused_stream && get.reset && get.timeout && !get.unavailable);
    assert_eq!(get.statuses, [502, 503, 504]);
    assert!(get.status(503) && !get.status(500));

    let post = service.retry_conditions(Http, false);
    assert_eq!(
        post,
        RetryConditions { connect_failure: true, refused_stream: true, ..RetryConditions::default() }
    );
    let call = service.retry_conditions(Grpc, true);
    assert_eq!(
        call,
        RetryConditions {
            connect_failure: true,
            refused_stream: true,
            unavailable: true,
            ..RetryConditions::default()
        },
        "gRPC calls are POSTs, whoever says otherwise"
    );
}

#[test]
fn a_retry_list_is_taken_at_its_word() {
    let mut service = service();
    service.retry.on =
        Some(vec![RetryOn::Status(vec![503, 429]), RetryOn::Reset, RetryOn::Status(vec![503])]);
    let post = service.retry_conditions(AppProtocol::Http, false);
    assert_eq!(
        post,
        RetryConditions { reset: true, statuses: vec![429, 503], ..RetryConditions::default() },
        "named for every method, and nothing beside"
    );
    assert_eq!(post, service.retry_conditions(AppProtocol::Grpc, true));
}

#[test]
fn a_route_overrides_key_by_key() {
    let service = service();
    let timeout =
        RouteTimeout { per_request_timeout_seconds: Some(Seconds::new(3)), ..RouteTimeout::default() };
    let merged = timeout.over(&service.timeout);
    assert_eq!(merged.per_request(), Some(Duration::from_secs(3)));
    assert_eq!(merged.connect(), Duration::from_secs(1));
    let retry = RouteRetry { retries: Some(0), ..RouteRetry::default() }.over(&service.retry);
    assert_eq!((retry.retries, retry.max_body_bytes), (0, 65_536));
}

#[test]
fn seconds_take_fractions_and_refuse_what_is_no_time() {
    for (text, expected) in
        [("15", Some(15_000)), ("0.25", Some(250)), ("0", Some(0)), ("15.0", Some(15_000))]
    {
        let read: Option<u128> = serde_json::from_str::<Seconds>(text).ok().map(|s| s.get().as_millis());
        assert_eq!(read, expected, "{text}");
    }
    for text in ["-1", "-0.5", "1e300", "31536001", "\"1\"", "null", "true"] {
        assert!(serde_json::from_str::<Seconds>(text).is_err(), "{text}");
    }
    for not in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(Seconds::from_f64(not), None);
    }
    // What is written can be read again, to the nanosecond.
    for nanos in [1, 100_000_000, 123_456_789, 999_999_999] {
        let seconds = Seconds::from_duration(Duration::new(12, nanos));
        let text = serde_json::to_string(&seconds).unwrap();
        assert_eq!(serde_json::from_str::<Seconds>(&text).unwrap(), seconds, "{text}");
    }
    assert_eq!(serde_json::to_string(&Seconds::new(15)).unwrap(), "15");
}

#[test]
fn ejections_grow_up_to_the_bound() {
    let outlier = OutlierDetection::default();
    let lasts: Vec<u64> = [0, 1, 2, 10, 11, u32::MAX].map(|n| outlier.ejection(n).as_secs()).to_vec();
    assert_eq!(lasts, [30, 30, 60, 300, 300, 300]);
}

#[test]
fn names_are_filled_in_and_lower_cased() {
    let mut mesh = Mesh { namespace: "hello-world.com".to_owned(), services: vec![service()] };
    let alias = |name: &str| ClientAlias { dns_name: name.to_owned(), port: 5000, test_traffic_rules: None };
    mesh.services[0].discovery_name.clear();
    mesh.services[0].port_name = Some("api".to_owned());
    mesh.services[0].client_aliases = vec![alias(""), alias("API.Internal")];
    mesh.resolve_names();
    let service = mesh.service("api").expect("named by its port");
    let names: Vec<&str> = service.client_aliases.iter().map(|a| a.dns_name.as_str()).collect();
    assert_eq!(names, ["api.hello-world.com", "api.internal"]);
}
