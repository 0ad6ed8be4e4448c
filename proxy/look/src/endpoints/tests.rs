use serde_json::json;

use super::*;

fn page() -> Endpoints {
    let endpoint = |service: &str, address: &str, state: &str| {
        json!({
            "service": service, "address": address, "source": "static", "weight": 1, "zone": "a", "state": state,
            "consecutiveFailures": 0, "inFlight": 2, "connections": 3, "expectedMilliseconds": 1.25,
            "attempts": 400, "failures": 0, "a key of tomorrow": true,
        })
    };
    let mut ejected = endpoint("server", "10.0.0.2:9001", "ejected");
    ejected["ejectedForSeconds"] = json!(12.2);
    ejected["failures"] = json!(5);
    ejected["zone"] = json!(null);
    let mut failing = endpoint("server", "10.0.0.3:9001", "active");
    failing["consecutiveFailures"] = json!(2);
    let hostile = endpoint("a\u{1b}[2Jb\nc", "[2001:db8::1]:9001", "draining");
    serde_json::from_value(json!({ "endpoints": [
        endpoint("server", "10.0.0.1:9001", "active"), ejected, failing, hostile,
    ] }))
    .unwrap()
}

#[test]
fn a_pipe_gets_a_whole_line_for_each() {
    let lines = lines(&page(), Style::plain(), None);
    assert_eq!(
        lines,
        [
            "  SERVICE   ADDRESS             ZONE  WEIGHT  STATE               IN FLIGHT  CONNS  EXPECTED  ATTEMPTS  FAILURES",
            "  server    10.0.0.1:9001       a          1  active                      2      3   1.25 ms       400         0",
            "  server    10.0.0.2:9001       -          1  ejected, 13 s left          2      3   1.25 ms       400         5",
            "  server    10.0.0.3:9001       a          1  active, failed 2×           2      3   1.25 ms       400         0",
            "  a\u{fffd}[2Jb c  [2001:db8::1]:9001  a          1  draining                    2      3   1.25 ms       400         0",
        ]
    );
}

#[test]
fn a_terminal_gets_what_fits_and_a_sum() {
    let lines = lines(&page(), Style::plain(), Some(90));
    assert!(lines.iter().all(|line| line.chars().count() <= 90), "{lines:#?}");
    assert!(lines[2].starts_with("        "), "the name stands once: {lines:#?}");
    assert!(lines[0].contains("FAILURES") && !lines[0].contains("WEIGHT"), "{lines:#?}");
    assert!(lines[4].contains("[2001:db8::1]:9001"), "{lines:#?}");
    assert_eq!(lines[5], "  1 of 4 endpoints ejected");
}

#[test]
fn an_unhealthy_endpoint_says_why_and_a_new_one_how_far_it_is() {
    let mut page = page();
    page.endpoints.truncate(2);
    "unhealthy".clone_into(&mut page.endpoints[0].state);
    let why = format!("/ready answers 500, and more of this: {}", "x".repeat(50));
    let health = json!({ "state": "unhealthy", "why": why, "checks": 3, "failures": 3 });
    page.endpoints[0].health = serde_json::from_value(health).unwrap();
    "active".clone_into(&mut page.endpoints[1].state);
    page.endpoints[1].slow_start_percent = Some(41.7);
    let lines = lines(&page, Style::plain(), Some(200));
    assert!(lines[1].contains("unhealthy: /ready answers 500, and more of this: xx...  "), "{lines:#?}");
    assert!(lines[2].contains("active, slow start 42 %"), "{lines:#?}");
    assert_eq!(lines[3], "  1 of 2 endpoints unhealthy");
}

#[test]
fn an_empty_mesh_is_said() {
    assert_eq!(lines(&Endpoints { endpoints: Vec::new() }, Style::plain(), None), ["  no endpoints"]);
}

#[test]
fn a_service_without_endpoints_is_known_and_a_misspelt_one_is_not() {
    let services =
        serde_json::from_value::<Services>(json!({ "namespace": "n", "generation": 1, "services": [
        { "service": "server", "endpoints": 0, "ejected": 0, "aliases": [] },
    ] }));
    let services = services.unwrap();
    assert_eq!(known(&services, "server"), Ok(()));
    let text = "the mesh has no service sever; did you mean server?".to_owned();
    assert_eq!(known(&services, "sever"), Err(AskError::Refused { status: 404, text }));
}
