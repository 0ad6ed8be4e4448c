//! Route 53, as moto plays it, as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::wait::{eventually, within};

/// A zone's records: `NAME TYPE`, and the TTL in seconds with the values.
pub type Records = BTreeMap<String, (i64, Vec<String>)>;

/// The stand-in; it is killed when this is dropped.
#[derive(Debug)]
pub struct Route53 {
    /// Where it is asked.
    pub url: String,
    _child: Child,
    say: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

fn python() -> Option<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.ancestors().nth(3)?.join("python/bin/python3"));
    let found = std::env::var_os("BOWLINE_TEST_PYTHON").map(PathBuf::from).or_else(beside)?;
    let has = std::process::Command::new(&found).args(["-c", "import boto3, moto.server"]).output();
    has.is_ok_and(|ended| ended.status.success()).then_some(found)
}

impl Route53 {
    /// Starts it; `None`, aloud, where it is missing and nobody insists on it.
    ///
    /// # Panics
    /// It is missing and `BOWLINE_REQUIRE_INTEROP` is set, or it does not come up.
    pub async fn or_skip() -> Option<Self> {
        let Some(python) = python() else {
            let insists = std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_some();
            assert!(!insists, "python3 with moto and boto3 is missing");
            eprintln!("SKIPPED: python3 with moto and boto3 is missing; tests/run installs it");
            return None;
        };
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/route53.py"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // Nothing of the machine's own.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn().expect("python");
        let say = child.stdin.take().expect("its stdin");
        let said = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        let mut route53 = Route53 { url: String::new(), _child: child, say, said };
        // Python on a busy machine: longer than anything of ours may take.
        let up = eventually("moto is up", async || {
            let line = route53.said.next_line().await.expect("a line");
            Some(line.expect("moto runs"))
        });
        let up = up.await;
        route53.url = serde_json::from_str(&up).expect("its URL");
        Some(route53)
    }

    /// Lets it do something: the lines that `tools/route53.py` knows.
    ///
    /// # Panics
    /// It can't.
    pub async fn does(&mut self, what: &str) -> Value {
        self.say.write_all(format!("{what}\n").as_bytes()).await.expect("moto runs");
        let line = within(what, self.said.next_line()).await.expect("a line");
        serde_json::from_str(&line.unwrap_or_else(|| panic!("no answer to {what:?}"))).expect("JSON")
    }

    /// Makes a zone. Its id.
    pub async fn zone(&mut self, name: &str, kind: &str) -> String {
        let id = self.does(&format!("create {name} {kind}")).await;
        id.as_str().expect("an id").to_owned()
    }

    /// All records of a zone but those that it was made with.
    pub async fn records(&mut self, zone: &str) -> Records {
        let all: Records = serde_json::from_value(self.does(&format!("list {zone}")).await).expect("records");
        let own = |name: &str| name.ends_with(" NS") || name.ends_with(" SOA");
        all.into_iter().filter(|(name, _)| !own(name)).collect()
    }

    /// Requests that have come to it since the last time: those that only read, and changes.
    pub async fn passed(&mut self) -> (u64, u64) {
        let passed = self.does("passed").await;
        let count = |method: &str| passed[method].as_u64().expect("a number");
        (count("GET"), count("POST"))
    }

    /// What makes an AWS SDK ask it.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        env_for(&self.url)
    }
}

/// What makes an AWS SDK ask at this URL, with nothing of the machine's own.
#[must_use]
pub fn env_for(url: &str) -> Vec<(&'static str, String)> {
    let env = [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    env.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}
