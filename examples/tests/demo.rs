//! The demo, run as a script runs it: piped, in a hurry.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_bowline-examples");

/// A folder of its own for the demo's temporary files, so that it can be seen that none are left.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bowline-demo-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Scratch(path)
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).expect("readable").next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn demo(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = Command::new(DEMO);
    command.args(args).env("TMPDIR", &scratch.0).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_whole_show_and_nothing_fails() {
    let scratch = Scratch::new("whole");
    let began = Instant::now();
    let show = demo(&scratch, &["--seconds-per-fault", "1", "--seed", "7", "--rate", "200"]);
    let output = { show }.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{complained}");
    assert!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    for wanted in [
        "Bowline demo, seed 7.",
        "1 of 6: Endpoint :",
        "4 of 6: Endpoint :",
        "6 of 6: gRPC endpoint :",
        "  failed          0\n",
        "No request failed that could be tried again.",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is missing:\n{said}");
    }
    assert!(!said.contains('\x1b'), "escape sequences in a pipe");
    assert!(scratch.is_empty(), "files are left");
}

#[test]
fn interrupted_it_takes_everything_with_it() {
    use std::io::{BufRead, BufReader};

    let scratch = Scratch::new("interrupted");
    let mut show = demo(&scratch, &["--seconds-per-fault", "2", "--rate", "50", "--forward-proxy"]);
    let mut show = show.spawn().expect("it starts");
    let mut lines = BufReader::new(show.stdout.take().expect("piped")).lines();
    let all_well = lines.by_ref().map_while(Result::ok).any(|line| line == "All is well.");
    assert!(all_well, "it did not begin");
    let children = children_of(show.id());
    assert_eq!(children.len(), 8, "five endpoints, two endpoints, a proxy");
    let pid = rustix::process::Pid::from_child(&show);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it can be interrupted");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(rest.iter().any(|line| line == "Stopping everything."), "{rest:?}");
    let status = show.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    for child in children {
        assert!(!PathBuf::from(format!("/proc/{child}")).exists(), "{child} is left");
    }
    assert!(scratch.is_empty(), "files are left");
}

/// Killed without a chance to clean up, its children end by themselves.
#[test]
fn killed_it_leaves_no_process_behind() {
    use std::io::{BufRead, BufReader};

    let scratch = Scratch::new("killed");
    let mut show = demo(&scratch, &["--rate", "50", "--forward-proxy"]).spawn().expect("it starts");
    let mut lines = BufReader::new(show.stdout.take().expect("piped")).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line == "All is well."), "it did not begin");
    let children = children_of(show.id());
    assert_eq!(children.len(), 8);
    show.kill().expect("it can be killed");
    show.wait().expect("it ends");
    let deadline = Instant::now() + Duration::from_secs(10);
    for child in children {
        let left = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            // A zombie has ended; whoever inherited it may not have looked yet.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while left() {
            assert!(Instant::now() < deadline, "{child} is left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The fourth field, behind the command's name, which may hold anything.
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        after_name.split(' ').nth(1) == Some(&parent.to_string())
    };
    numbers.filter(is_child).collect()
}

/// A page of the control plane's admin listener.
fn page(admin: &str, path: &str) -> serde_json::Value {
    use std::io::{Read, Write};

    let mut stream = std::net::TcpStream::connect(admin).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("JSON")
}

/// With a control plane the same show can be watched in a browser: what asks for it is here a test.
#[test]
fn the_live_picture_shows_what_is_killed() {
    use std::io::{BufRead, BufReader};

    let scratch = Scratch::new("page");
    let mut show =
        demo(&scratch, &["--page", "--seconds-per-fault", "3", "--rate", "100", "--forward-proxy"]);
    let mut show = show.spawn().expect("it starts");
    let mut lines = BufReader::new(show.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("a live picture")).expect("it says where");
    let url = line.split_whitespace().next_back().expect("a URL");
    let admin =
        url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/ui")).expect("the URL of a page");
    let killed = lines.find(|line| line.starts_with("1 of 6: Endpoint :")).expect("the first fault");
    let port = killed.split_once("Endpoint :").and_then(|(_, rest)| rest.split_once(' ')).expect("a port").0;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let picture = page(admin, "/picture");
        let failures = picture["failures"].as_array().expect("a list");
        let of = |failure: &serde_json::Value| failure["endpoint"].as_str().unwrap_or_default().to_owned();
        if failures.iter().any(|failure| of(failure).ends_with(&format!(":{port}"))) {
            assert_eq!(picture["callers"][0]["caller"], "app", "{picture}");
            assert_eq!(picture["namespace"], "hello-world.com");
            break;
        }
        assert!(Instant::now() < deadline, "no failure of :{port} is shown: {picture}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = rustix::process::Pid::from_child(&show);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it can be interrupted");
    for _ in lines {}
    assert_eq!(show.wait().expect("it ends").code(), Some(130));
    assert!(scratch.is_empty(), "files are left");
}
