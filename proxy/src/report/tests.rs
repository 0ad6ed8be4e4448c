use std::collections::BTreeMap;

use bowline_xds::load_report::{EndpointLoad, ServiceLoad};

use super::counts::{Counts, EndpointCounts, ServiceCounts};
use super::delta::since;
use super::*;

const SECOND: u64 = 1_000_000_000;

/// A service `s` with one endpoint, at a second.
fn counts(second: u64, requests: [u64; 8], endpoint: EndpointCounts) -> Counts {
    let load = ServiceLoad {
        service: "s".to_owned(),
        requests,
        in_flight: endpoint.load.in_flight,
        ..ServiceLoad::default()
    };
    let endpoints = BTreeMap::from([(endpoint.load.address, endpoint)]);
    let service = ServiceCounts { identity: 1, load, endpoints };
    Counts { at: Tick(second * SECOND), services: BTreeMap::from([("s".to_owned(), service)]) }
}

fn endpoint(good: u64, failed: u64, broken: u64) -> EndpointCounts {
    let load = EndpointLoad { good, failed, ..EndpointLoad::new(([10, 0, 0, 1], 80).into()) };
    EndpointCounts { identity: 1, load, broken, ejected_until: Tick::ZERO }
}

fn ejected(until: u64) -> EndpointCounts {
    EndpointCounts { ejected_until: Tick(until * SECOND), ..endpoint(5, 5, 0) }
}

#[test]
fn only_what_is_new_is_reported() {
    let at = |n| counts(1, [0, n, 0, 0, 1, 0, 0, 0], endpoint(n, 1, 0));
    let [first] = &since(&Counts::default(), &at(3))[..] else { panic!("one service") };
    assert_eq!((first.good(), first.failed()), (3, 1));
    let [second] = &since(&at(3), &at(5))[..] else { panic!("one service") };
    assert_eq!((second.good(), second.failed()), (2, 0));
    assert_eq!((second.endpoints[0].good, second.endpoints[0].failed), (2, 0));
    assert_eq!(since(&at(3), &at(3)), []);
}

#[test]
fn a_service_that_went_and_came_back_counts_from_nothing() {
    let mut back = counts(2, [0, 1, 0, 0, 0, 0, 0, 0], endpoint(1, 0, 0));
    let before = counts(1, [0, 9, 0, 0, 0, 0, 0, 0], endpoint(9, 0, 0));
    assert_eq!(since(&before, &back).len(), 0, "no counter ever falls");
    for service in back.services.values_mut() {
        service.identity = 2;
        service.endpoints.values_mut().for_each(|endpoint| endpoint.identity = 2);
    }
    let [load] = &since(&before, &back)[..] else { panic!("one service") };
    assert_eq!((load.good(), load.endpoints[0].good), (1, 1));
}

#[test]
fn an_answer_that_broke_off_later_was_none() {
    let before = counts(1, [0; 8], endpoint(4, 0, 0));
    let now = counts(2, [0; 8], endpoint(6, 1, 1));
    let [load] = &since(&before, &now)[..] else { panic!("one service") };
    assert_eq!((load.endpoints[0].good, load.endpoints[0].failed), (1, 2));
}

#[test]
fn ejections_and_returns_are_news() {
    let at = |second, endpoint| counts(second, [0; 8], endpoint);
    let out =
        |before: &Counts, now: &Counts| since(before, now).first().map(|load| load.endpoints[0].ejected);
    let well = at(1, endpoint(5, 5, 0));
    assert_eq!(out(&well, &at(2, ejected(32))), Some(Some(Duration::from_secs(30))));
    assert_eq!(out(&at(2, ejected(32)), &at(3, ejected(32))), None, "it is known");
    assert_eq!(at(3, ejected(32)).next_return(), Some(Tick(32 * SECOND)));
    assert_eq!(out(&at(3, ejected(32)), &at(33, ejected(32))), Some(None), "it is back");
    assert_eq!(out(&at(33, ejected(32)), &at(34, ejected(32))), None);
    assert_eq!(at(33, ejected(32)).next_return(), None);
    assert_eq!(out(&at(3, ejected(32)), &at(40, ejected(60))), Some(Some(Duration::from_secs(20))));
}

#[test]
fn that_an_endpoint_fails_now_is_news() {
    let at = |second, failures_in_a_row| {
        let mut endpoint = endpoint(5, 5, 0);
        endpoint.load.failures_in_a_row = failures_in_a_row;
        counts(second, [0; 8], endpoint)
    };
    let told = |before: &Counts, now: &Counts| {
        since(before, now).first().map(|load| load.endpoints[0].failures_in_a_row)
    };
    assert_eq!(told(&at(1, 0), &at(2, 2)), Some(2));
    assert_eq!(told(&at(2, 2), &at(3, 2)), None);
    assert_eq!(told(&at(3, 2), &at(4, 0)), Some(0));
}

#[test]
fn another_listener_is_told_what_stands() {
    let mut busy = ejected(32);
    busy.load.in_flight = 3;
    let mut before = counts(2, [0; 8], busy.clone());
    let now = counts(3, [0; 8], busy);
    assert_eq!(since(&before, &now), []);
    before.forget_levels();
    let [load] = &since(&before, &now)[..] else { panic!("one service") };
    assert_eq!((load.in_flight, load.endpoints[0].in_flight), (3, 3));
    assert_eq!((load.requests, load.endpoints[0].good), ([0; 8], 0), "nothing is counted twice");
    assert_eq!(load.endpoints[0].ejected, Some(Duration::from_secs(29)));
}

#[test]
fn intervals_are_kept_within_reason() {
    let wanted = |seconds, nanos| {
        let load_reporting_interval = Some(envoy_types::pb::google::protobuf::Duration { seconds, nanos });
        interval(&LoadStatsResponse { load_reporting_interval, ..LoadStatsResponse::default() })
    };
    assert_eq!(wanted(10, 5), Duration::new(10, 5));
    assert_eq!((wanted(0, 0), wanted(-1, -1)), (LEAST_INTERVAL, LEAST_INTERVAL));
    assert_eq!(wanted(i64::MAX, 0), Duration::from_secs(3600));
    assert_eq!(interval(&LoadStatsResponse::default()), LEAST_INTERVAL);
}
