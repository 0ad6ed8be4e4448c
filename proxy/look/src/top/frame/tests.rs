use super::*;

/// A page as a proxy writes it.
fn page(requests: u64, slow: u64, failed: u64, started: &str) -> String {
    let all = requests + failed;
    format!(
        "# HELP bowline_requests_total Words.\n# TYPE bowline_requests_total counter\n\
         bowline_requests_total{{service=\"server\",class=\"2xx\"}} {requests}\n\
         bowline_requests_total{{service=\"server\",class=\"5xx\"}} {failed}\n\
         bowline_requests_total{{service=\"\",class=\"2xx\"}} 1\n\
         bowline_requests_in_flight{{service=\"server\"}} 3\n\
         bowline_request_duration_seconds_bucket{{service=\"server\",le=\"0.001\"}} {fast}\n\
         bowline_request_duration_seconds_bucket{{service=\"server\",le=\"15.0\"}} {fast}\n\
         bowline_request_duration_seconds_bucket{{service=\"server\",le=\"+Inf\"}} {all}\n\
         bowline_request_duration_seconds_sum{{service=\"server\"}} 0.5\n\
         bowline_request_duration_seconds_count{{service=\"server\"}} {all}\n\
         bowline_retries_total{{service=\"server\",reason=\"connect_failure\"}} {requests}\n\
         bowline_retries_total{{service=\"server\",reason=\"reset\"}} {requests}\n\
         bowline_shed_total{{service=\"server\",reason=\"queue_full\"}} {failed}\n\
         bowline_endpoint_attempts_total{{service=\"server\",endpoint=\"10.0.0.1:1\",class=\"2xx\"}} {requests}\n\
         bowline_endpoint_attempts_total{{service=\"server\",endpoint=\"10.0.0.2:1\",class=\"failed\"}} {failed}\n\
         bowline_endpoint_ejected{{service=\"server\",endpoint=\"10.0.0.1:1\"}} 0\n\
         bowline_endpoint_ejected{{service=\"server\",endpoint=\"10.0.0.2:1\"}} 1\n\
         bowline_downstream_connections 7\nbowline_mesh_generation 2\nprocess_start_time_seconds {started}\n\
         process_resident_memory_bytes 5000000\nprocess_cpu_seconds_total 1.5\na_metric_of_tomorrow 1\n",
        fast = all - slow,
    )
}

fn scrape(requests: u64, slow: u64, failed: u64, started: &str) -> Scrape {
    Scrape::of(&page(requests, slow, failed, started)).unwrap()
}

fn server(frame: &Frame) -> &Row {
    frame.services.iter().find(|row| row.name == "server").unwrap()
}

#[test]
fn an_interval_is_what_has_come_since() {
    let frame = Frame::between(&scrape(100, 0, 10, "1000.5"), &scrape(280, 20, 30, "1000.5"), 2.0);
    assert_eq!((frame.generation, frame.connections, frame.resident_bytes), (2.0, 7.0, 5e6));
    assert_eq!((frame.since_start, frame.cpu_percent), (false, 0.0));
    let row = server(&frame);
    assert_eq!((row.rate, row.success, row.in_flight), (100.0, Some(90.0), 3.0));
    assert_eq!((row.retries, row.shed, row.ejected), (180.0, 10.0, 1));
    assert!(matches!(row.p50, Some(Latency::Of(ms)) if ms < 1.0), "{row:?}");
    assert_eq!(row.p99, Some(Latency::Above(15_000.0)));
    let [well, ejected] = &row.endpoints[..] else { panic!("{row:?}") };
    assert_eq!(
        (well.name.as_str(), well.rate, well.success, well.ejected),
        ("10.0.0.1:1", 90.0, Some(100.0), 0)
    );
    assert_eq!((ejected.rate, ejected.success, ejected.ejected), (10.0, Some(0.0), 1));
    let outside = &frame.services[0];
    assert_eq!((outside.name.as_str(), outside.rate, outside.success, outside.p50), ("", 0.0, None, None));
}

#[test]
fn a_proxy_that_was_restarted_begins_again() {
    let frame = Frame::between(&scrape(1000, 0, 0, "1000.5"), &scrape(4, 0, 0, "2000.5"), 2.0);
    assert_eq!(server(&frame).rate, 2.0);
    // More than before, and all of it new.
    let frame = Frame::between(&scrape(10, 0, 0, "1000.5"), &scrape(40, 0, 0, "2000.5"), 2.0);
    assert_eq!(server(&frame).rate, 20.0);
    assert_eq!(frame.cpu_percent, 75.0);
}

#[test]
fn a_counter_that_goes_back_has_begun_again() {
    let frame = Frame::between(&scrape(1000, 0, 0, "1000.5"), &scrape(4, 0, 0, "1000.5"), 2.0);
    let row = server(&frame);
    assert_eq!((row.rate, row.success, row.retries), (2.0, Some(100.0), 4.0));
    assert!(matches!(row.p50, Some(Latency::Of(_))), "{row:?}");
}

#[test]
fn a_service_that_comes_is_new_and_one_that_goes_is_gone() {
    let empty = "bowline_mesh_generation 1\nprocess_start_time_seconds 1000.5\n";
    let empty = Scrape::of(empty).unwrap();
    assert_eq!(server(&Frame::between(&empty, &scrape(10, 0, 0, "1000.5"), 1.0)).rate, 10.0);
    assert_eq!(Frame::between(&scrape(10, 0, 0, "1000.5"), &empty, 1.0).services, []);
}

#[test]
fn totals_are_spread_over_the_time_since_the_start() {
    let frame = Frame::since_start(&scrape(100, 0, 0, "1000.5"), 1010.5);
    assert_eq!((frame.since_start, frame.seconds, server(&frame).rate), (true, 10.0, 10.0));
    assert_eq!(frame.cpu_percent, 15.0);
    // The clock here is behind the proxy's.
    let frame = Frame::since_start(&scrape(100, 0, 0, "1000.5"), 900.0);
    assert!(frame.seconds > 0.0 && server(&frame).rate.is_finite());
}

#[test]
fn only_one_service_can_be_looked_at() {
    let mut frame = Frame::since_start(&scrape(100, 0, 0, "1000.5"), 1010.5);
    frame.only("server");
    assert_eq!(frame.services.len(), 1);
}

#[test]
fn what_is_no_page_of_a_proxy_is_refused() {
    assert_eq!(Scrape::of("up 1\n"), Err("it has no bowline_mesh_generation".to_owned()));
    assert_eq!(Scrape::of("<html>\n"), Err("line 1 of its metrics is no metric".to_owned()));
    let falling = "bowline_request_duration_seconds_bucket{service=\"a\",le=\"1.0\"} 2\n\
                   bowline_request_duration_seconds_bucket{service=\"a\",le=\"+Inf\"} 1\n";
    assert!(Scrape::of(falling).unwrap_err().ends_with("do not rise"));
}
