//! `bowline check` and `bowline schema`, run as a user runs them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn bowline(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bowline"))
        .args(args)
        .env_remove("BOWLINE_OUTPUT")
        .env_remove("BOWLINE_VIP_RANGE")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file that is gone when the test is.
struct Mesh(PathBuf);

impl Mesh {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bowline-check-{name}-{}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const GOOD: &str = "
namespace: hello-world.com
services:
  - discoveryName: server
    clientAliases: [{ port: 5000 }]
    vip: 127.255.0.7
    endpoints: { static: [{ address: 127.0.0.1:9001, zone: b }, { address: 127.0.0.1:9002, zone: a, weight: 0 }] }
  - discoveryName: calls
    appProtocol: grpc
    endpoints: { static: [] }
    retry: { retries: 1, on: [unavailable, status: [503]] }
    outlierDetection: { consecutiveFailures: 0 }
    timeout: { idleTimeoutSeconds: 0, perRequestTimeoutSeconds: 2.5, perAttemptSeconds: 0 }
";

#[test]
fn a_good_mesh_is_told_in_words() {
    let mesh = Mesh::new("good", GOOD);
    let output = bowline(&["check", mesh.path()]);
    let expected = "\
valid: 2 services, 1 alias, 2 endpoints in namespace hello-world.com (1 file)

server  detected
  dialled    server.hello-world.com:5000
  vip        127.255.0.7, pinned
  endpoints  2 static, zones a b, 1 of weight 0, without new traffic
  timeouts   15 s to response headers (gRPC: its own grpc-timeout), attempts by recent latency, 1 s to connect, 300 s idle
  retries    up to 2; GET and the like on connectFailure, refusedStream, reset, timeout, 502, 503, 504; POST and PATCH on connectFailure, refusedStream; at most 20 % of requests + 3/s; bodies to 65536 B; 25 to 250 ms apart
  balancing  peakEwma: the faster and less busy of two at random; all endpoints when fewer than 50 % are left
  ejection   after 5 failures in a row, for 30 s × n up to 300 s, at most 50 % of endpoints, never the last

calls  grpc
  dialled    by nobody: it has no clientAliases
  endpoints  none: every request gets a 503
  timeouts   none to response headers but the call's grpc-timeout, 2.5 s for the whole response, no bound per attempt, 1 s to connect, idle for ever
  retries    up to 1; every method on unavailable, 503; at most 20 % of requests + 3/s; bodies to 65536 B; 25 to 250 ms apart
  balancing  peakEwma: the faster and less busy of two at random; all endpoints when fewer than 50 % are left
  ejection   off
";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_bad_mesh_exits_2_and_says_all_on_stderr() {
    let mesh =
        Mesh::new("bad", &GOOD.replace("retries: 1", "retires: 1").replace("port: 5000", "port: \"5000\""));
    let output = bowline(&["check", mesh.path()]);
    let said = text(&output.stderr).replace(mesh.path(), "mesh.yaml");
    let expected = "\
mesh.yaml:5:29: services[0].clientAliases[0].port: expected a whole number from 1 to 65535, found the text \"5000\"
    help: remove the quotes
mesh.yaml:11:14: services[1].retry.retires: unknown key \"retires\"; did you mean \"retries\"?
2 problems
";
    assert_eq!(said, expected);
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn json_is_for_programs() {
    let good = Mesh::new("good-json", GOOD);
    let output = bowline(&["check", good.path(), "--output", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(value["valid"], true);
    assert_eq!(
        (&value["services"], &value["aliases"], &value["endpoints"]),
        (&2.into(), &1.into(), &2.into())
    );
    assert_eq!(value["mesh"]["services"][0]["retry"]["retries"], 2, "defaults are written out");

    let bad = Mesh::new("bad-json", "namespace: a\nservcies: []\n");
    let output = bowline(&["check", bad.path(), "--output", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(value["valid"], false);
    assert_eq!(value["problems"][0]["line"], 2);
    assert_eq!(value["problems"][0]["path"], "servcies");
    assert_eq!(text(&output.stderr), "", "all of it is in the JSON");
}

#[test]
fn no_colour_where_nobody_looks() {
    let mesh = Mesh::new("colour", GOOD);
    let output = bowline(&["check", mesh.path()]);
    assert!(!text(&output.stdout).contains('\u{1b}'));
}

#[test]
fn the_vip_range_is_a_flag() {
    let mesh = Mesh::new("range", GOOD);
    let output = bowline(&["check", mesh.path(), "--vip-range", "127.9.0.0/16"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("127.255.0.7 is not a usable address of the VIP range 127.9.0.0/16")
    );
    let output = bowline(&["check", mesh.path(), "--vip-range", "10.0.0.0/8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not inside 127.0.0.0/8"), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_exits_2() {
    for args in [&["check"][..], &["frobnicate"], &["check", "no-such-file.yaml"], &[]] {
        assert_eq!(bowline(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_schema_is_printed() {
    let output = bowline(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema, bowline_api::json_schema());
}

#[test]
fn help_shows_examples_that_work() {
    for args in [&["--help"][..], &["check", "--help"], &["schema", "--help"]] {
        let help = text(&bowline(args).stdout);
        assert!(help.contains("Examples:"), "{args:?}\n{help}");
    }
    // The least mesh file of the help is a mesh file.
    let help = text(&bowline(&["--help"]).stdout);
    let sample: String = help
        .lines()
        .skip_while(|line| !line.contains("The least mesh file"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    let mesh = Mesh::new("help", &sample);
    let output = bowline(&["check", mesh.path()]);
    assert_eq!(output.status.code(), Some(0), "{sample}\n{}", text(&output.stderr));
}
