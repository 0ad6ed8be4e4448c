//! Files broken at random: whatever stands in them, the answer is a mesh or problems with places, never a panic.

use bowline_api::parse;

const VALID: &str = r#"# A mesh of two.
namespace: hello-world.com
services:
  - discoveryName: server
    appProtocol: http
    clientAliases: [{ dnsName: server.hello-world.com, port: 5000 }]
    vip: 127.255.0.7
    endpoints:
      static:
        - { address: "127.0.0.1:9001", weight: 1, zone: a, metadata: { version: v1 } }
        - address: "[::1]:9001"
          weight: 2
    timeout: &short { perRequestTimeoutSeconds: 15, perAttemptSeconds: auto, connectSeconds: 0.5 }
    retry:
      retries: 2
      on: [connectFailure, reset, status: [502, 503]]
      backoff: { baseMilliseconds: 25, maxMilliseconds: 250 }
  - portName: other
    endpoints: { static: [] }
    timeout: *short
    loadBalancing: { policy: peakEwma, panicPercent: 50 }
    outlierDetection: { consecutiveFailures: 5, baseEjectionSeconds: 30 }
"#;

/// What YAML gives a meaning to, and what has tripped parsers before.
const SPLINTERS: &[&str] = &[
    "\n",
    "\t",
    " ",
    "  ",
    ":",
    ": ",
    "- ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "*short",
    "!",
    "!!str ",
    "!<x>",
    "|",
    "|\n",
    ">-\n",
    "#",
    " #",
    "%",
    "---\n",
    "...\n",
    "<<: ",
    "~",
    "null",
    "true",
    "0x",
    "0o7",
    "-1",
    "1e999",
    ".nan",
    ".inf",
    "010",
    "\\",
    "\"\\ud83d\"",
    "\u{0}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "é",
    "𝕏",
    "services:",
    "endpoints: ",
    "port: ",
    "\r",
    "\r\n",
    "@",
    "`",
];

/// Picks a place between two characters.
fn cut(rng: &mut fastrand::Rng, text: &str) -> usize {
    let mut at = rng.usize(..=text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(rng: &mut fastrand::Rng, text: &mut String) {
    let (a, b) = (cut(rng, text), cut(rng, text));
    let (from, to) = (a.min(b), a.max(b));
    match rng.u8(..6) {
        0 => text.insert_str(from, SPLINTERS[rng.usize(..SPLINTERS.len())]),
        1 => text.truncate(from),
        2 => {
            let mut end = (from + rng.usize(1..8)).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(from..end, SPLINTERS[rng.usize(..SPLINTERS.len())]);
        }
        3 if to - from < 200 => text.replace_range(from..to, ""),
        4 if to - from < 200 => {
            let piece = text[from..to].to_owned();
            let at = cut(rng, text);
            text.insert_str(at, &piece);
        }
        _ => {
            // Two lines change places.
            let mut lines: Vec<&str> = text.split('\n').collect();
            let (i, j) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
            lines.swap(i, j);
            *text = lines.join("\n");
        }
    }
}

#[test]
fn no_file_makes_it_panic() {
    let seed = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    let runs = std::env::var("BOWLINE_TEST_RUNS").ok().and_then(|s| s.parse().ok()).unwrap_or(3000);
    println!("BOWLINE_TEST_SEED={seed}");
    assert!(parse("mesh.yaml", VALID).is_ok(), "{}", parse("mesh.yaml", VALID).unwrap_err());
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut good, mut bad) = (0, 0);
    for run in 0..runs {
        let mut text = VALID.to_owned();
        for _ in 0..rng.usize(1..4) {
            mutate(&mut rng, &mut text);
        }
        let name = if run % 10 == 0 { "mesh.json" } else { "mesh.yaml" };
        match std::panic::catch_unwind(|| parse(name, &text)) {
            Ok(Ok(mesh)) => {
                good += 1;
                // What was taken can be written and read again.
                let written = serde_json::to_string(&mesh).unwrap();
                assert_eq!(parse("mesh.json", &written).as_ref(), Ok(&mesh), "run {run}:\n{text}");
            }
            Ok(Err(problems)) => {
                bad += 1;
                assert!(!problems.is_empty());
                let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
                for problem in &problems {
                    assert!(problem.line <= lines + 1, "run {run}: line {} of {lines}\n{text}", problem.line);
                    assert!(!problem.message.is_empty());
                    assert!(problem.to_string().len() < 1000, "run {run}: {problem}");
                }
            }
            Err(_) => panic!("run {run} panicked on:\n{text}"),
        }
    }
    println!("{good} good, {bad} bad");
    assert!(good * 100 > runs && bad * 4 > runs, "{good} good and {bad} bad: the mutations miss their aim");
}
