use serde_json::json;

use super::*;
use crate::words::WIDTH;

#[test]
fn steps_candidates_and_the_others_are_told() {
    let explained = serde_json::from_value(json!({
        "url": "http://server.hello-world.com:5000/\u{1b}[31m",
        "steps": ["server.hello-world.com:5000 is an alias of service server", "a long step ".repeat(20)],
        "service": "server",
        "candidates": ["10.0.0.1:9001"],
        "notCandidates": [
            { "address": "10.0.0.12:9001", "why": "ejected for another 3.0 s" },
            { "address": "10.0.0.3:9001", "why": "weight 0" },
        ],
    }));
    let lines = lines(&explained.unwrap(), Style::plain());
    assert_eq!(lines[0], "http://server.hello-world.com:5000/\u{fffd}[31m goes to service server");
    assert_eq!(lines[1], "  1. server.hello-world.com:5000 is an alias of service server");
    assert!(lines[2].starts_with("  2. a long step") && lines[3].starts_with("     "), "{lines:#?}");
    assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
    let end = [
        "  one of",
        "    10.0.0.1:9001",
        "  and not",
        "    10.0.0.12:9001  ejected for another 3.0 s",
        "    10.0.0.3:9001   weight 0",
    ];
    assert!(lines.ends_with(&end.map(str::to_owned)), "{lines:#?}");
}

#[test]
fn nowhere_is_said() {
    let page =
        json!({ "url": "http://x/", "steps": ["no such name"], "candidates": [], "notCandidates": [] });
    let lines = lines(&serde_json::from_value(page).unwrap(), Style::plain());
    assert_eq!(lines, ["http://x/ goes nowhere", "  1. no such name"]);
}

#[test]
fn a_service_with_nobody_to_pick_is_said() {
    let page = json!({
        "url": "http://x/", "steps": [], "service": "x", "candidates": [],
        "notCandidates": [{ "address": "10.0.0.1:1", "why": "weight 0" }],
    });
    let lines = lines(&serde_json::from_value(page).unwrap(), Style::plain());
    assert_eq!(
        lines,
        [
            "http://x/ goes to service x",
            "  no endpoint may be picked now",
            "  and not",
            "    10.0.0.1:1  weight 0"
        ]
    );
}

#[test]
fn an_answer_of_the_proxy_itself_is_said() {
    let page = json!({
        "url": "http://x/old", "steps": ["route 0 is the first that fits"], "service": "x", "answered": 301,
        "candidates": [], "notCandidates": [],
    });
    let lines = lines(&serde_json::from_value(page).unwrap(), Style::plain());
    assert_eq!(
        lines,
        ["http://x/old is answered by the proxy itself with 301", "  1. route 0 is the first that fits"]
    );
}
