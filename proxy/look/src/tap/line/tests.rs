use serde_json::{Value, json};

use super::*;

fn record() -> Value {
    json!({
        "time": "2026-11-21T20:12:01.123456Z", "direction": "outbound", "service": "server", "method": "GET",
        "authority": "server.hello-world.com:5000", "path": "/v1/items", "protocol": "HTTP/1.1", "status": 200,
        "bytes_received": 0, "bytes_sent": 4, "duration_ms": 1.25, "upstream_ms": 1.1, "endpoint": "10.0.0.1:9001",
        "attempts": 1, "ended": "complete",
    })
}

fn with(changes: &Value) -> String {
    let mut record = record();
    for (key, value) in changes.as_object().unwrap() {
        record[key] = value.clone();
    }
    record.to_string()
}

fn layout(width: Option<usize>) -> Layout {
    Layout::new(Style::plain(), width)
}

#[test]
fn lines_stand_below_each_other() {
    let mut layout = layout(None);
    let lines = [
        with(&json!({})),
        with(&json!({ "direction": "inbound", "service": "inbound:9001", "endpoint": "127.0.0.1:9001", "duration_ms": 812.0 })),
        with(&json!({ "status": 503, "attempts": 3, "retried_for": ["connect_failure", "status"], "reason": "retries_exhausted",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736" })),
        with(&json!({ "service": null, "status": null, "endpoint": null, "ended": "cancelled" })),
        with(&json!({ "grpc_status": "UNAVAILABLE" })),
    ]
    .map(|line| layout.line(&line).unwrap());
    assert_eq!(
        lines,
        [
            "20:12:01.123  out  server  GET /v1/items     200     1.25  10.0.0.1:9001",
            "20:12:01.123  in   inbound:9001  GET /v1/items     200      812  127.0.0.1:9001",
            "20:12:01.123  out  server        GET /v1/items     503     1.25  10.0.0.1:9001   3 attempts (connect_failure, status)  retries_exhausted  4bf92f3577b34da6a3ce929d0e0e4736",
            "20:12:01.123  out  -             GET /v1/items     -       1.25  -               cancelled",
            "20:12:01.123  out  server        GET /v1/items     200     1.25  10.0.0.1:9001   UNAVAILABLE",
        ]
    );
}

#[test]
fn a_terminal_gets_what_fits_and_a_pipe_all_of_it() {
    let long = with(&json!({ "path": format!("/{}", "x".repeat(500)) }));
    let line = layout(Some(100)).line(&long).unwrap();
    assert!(line.chars().count() <= 100 && line.contains('…'), "{line}");
    assert!(layout(None).line(&long).unwrap().contains(&"x".repeat(500)));
    let narrow = layout(Some(20)).line(&long).unwrap();
    assert!(narrow.contains("GET /xxx") && narrow.contains("10.0.0.1:9001"), "{narrow}");
}

#[test]
fn nothing_in_a_request_steers_the_terminal() {
    let hostile = "\u{1b}[2J\r\n\u{7}\u{202e}";
    for key in ["time", "service", "method", "path", "endpoint", "reason", "ended", "trace_id", "grpc_status"]
    {
        let line = layout(None).line(&with(&json!({ key: hostile }))).unwrap();
        let bad = line.chars().find(|c| c.is_control() || *c == '\u{202e}');
        assert_eq!(bad, None, "{key}: {line:?}");
    }
    let line = layout(None).line(&with(&json!({ "attempts": 2, "retried_for": [hostile] }))).unwrap();
    assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
}

#[test]
fn a_status_has_the_colour_of_its_class() {
    let mut layout = Layout::new(Style::coloured(), Some(100));
    for (status, colour) in [(200, "\u{1b}[32m200"), (404, "\u{1b}[33m404"), (500, "\u{1b}[1;31m500")] {
        let line = layout.line(&with(&json!({ "status": status }))).unwrap();
        assert!(line.contains(colour), "{line:?}");
    }
    let redirect = layout.line(&with(&json!({ "status": 302 }))).unwrap();
    assert!(redirect.contains("  302  "), "{redirect:?}");
}

#[test]
fn what_was_lost_is_said_and_what_is_no_line_is_an_error() {
    let mut layout = layout(None);
    assert_eq!(
        layout.line("{\"missed\":2}").unwrap(),
        "2 requests are missing here: they came faster than they were read"
    );
    assert!(layout.line("no JSON").is_err());
    assert!(layout.line("{\"status\":\"200\"}").is_err());
}
