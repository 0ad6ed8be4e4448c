use super::*;

fn model(json: serde_json::Value) -> model::RateLimit {
    serde_json::from_value(json).unwrap()
}

fn limits(model: &model::RateLimit, before: Option<&RateLimits>) -> RateLimits {
    RateLimits::new(std::slice::from_ref(model), Side::Inbound, before)
}

fn of(user: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-user"), HeaderValue::from_str(user).unwrap())])
}

const NOW: Tick = Tick(1_000_000_000_000);

#[test]
fn each_value_of_a_header_has_a_bucket() {
    let one =
        model(serde_json::json!({ "requestsPerMinute": 60, "burst": 2, "key": { "header": "x-user" } }));
    let limits = limits(&one, None);
    for _ in 0..2 {
        assert_eq!(limits.take(&of("ann"), None, NOW).unwrap(), None);
        assert_eq!(limits.take(&of("bob"), None, NOW).unwrap(), None);
    }
    let refused = limits.take(&of("ann"), None, NOW).unwrap_err();
    let mut headers = HeaderMap::new();
    refused.write(&mut headers);
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(headers["x-ratelimit-limit"], "2");
    assert_eq!(headers["x-ratelimit-remaining"], "0");
    assert_eq!(headers["x-ratelimit-reset"], "2");
    assert!(refused.text().contains("60 requests a minute for each x-user, 2 at once"), "{}", refused.text());
    let second = NOW.after(Duration::from_millis(1001));
    assert_eq!(limits.take(&of("ann"), None, second).unwrap(), None);
    assert_eq!(limits.0[0].counts(), (1, 0));
}

#[test]
fn who_does_not_pass_at_once_waits_for_its_turn() {
    let one = model(serde_json::json!({ "requestsPerSecond": 10, "burst": 3, "atOnce": 1 }));
    let limits = limits(&one, None);
    let waits: Vec<_> = (0..3).map(|_| limits.take(&HeaderMap::new(), None, NOW).unwrap()).collect();
    assert_eq!(waits, [None, Some(Duration::from_millis(100)), Some(Duration::from_millis(200))]);
    assert!(limits.take(&HeaderMap::new(), None, NOW).is_err());
}

#[test]
fn a_change_of_the_mesh_gives_nobody_a_full_bucket() {
    let slow = model(serde_json::json!({ "requestsPerSecond": 1, "burst": 1, "key": "clientAddress" }));
    let quick = model(serde_json::json!({ "requestsPerSecond": 2, "burst": 1, "key": "clientAddress" }));
    let client = Some("10.0.0.1".parse().unwrap());
    let before = limits(&slow, None);
    assert!(before.take(&HeaderMap::new(), client, NOW).is_ok());
    let after = limits(&quick, Some(&before));
    assert!(after.take(&HeaderMap::new(), client, NOW).is_err(), "the bucket is the same one");
    // Two that look alike are two buckets.
    let both = RateLimits::new(&[slow.clone(), slow.clone()], Side::Inbound, Some(&before));
    assert!(!Arc::ptr_eq(&both.0[0].state, &both.0[1].state));
    assert!(limits(&slow, None).take(&HeaderMap::new(), client, NOW).is_ok());
    assert!(RateLimits::new(&[slow], Side::Outbound, None).is_empty(), "it is of the other side");
}
