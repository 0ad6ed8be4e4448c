//! Looking at a proxy that works: `endpoints`, `explain`, `top` and `tap`, by both programs that have them, into pipes and
//! on a terminal.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use bowline_tests::load::Load;
use bowline_tests::proxy::{Ended, bare, run_to_end};
use bowline_tests::running::Running;
use bowline_tests::sockets::refusing;
use bowline_tests::wait::within;
use bowline_tests::{Backend, Mesh, Proxy, Reply, eventually, service, url};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

const BOWLINE: &str = env!("CARGO_BIN_EXE_bowline-under-test");
/// Both programs: what they do is the same.
const BOTH: [&str; 2] = [BOWLINE, crate::PROGRAM];

/// A program as somebody starts it who has a proxy set that is not there: admin pages are asked for directly.
fn program(program: &str, command: &str, admin: SocketAddr, args: &[&str]) -> Command {
    let mut started = bare(Path::new(program));
    started.envs([
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
        ("TERM", "xterm"),
    ]);
    started.env_remove("NO_COLOR");
    started.arg(command).args(["--admin", &admin.to_string()]).args(args);
    started
}

async fn look(with: &str, command: &str, proxy: &Proxy, args: &[&str]) -> Ended {
    let ended = run_to_end(&mut program(with, command, proxy.admin, args)).await;
    assert!(!ended.out.contains('\u{1b}') && !ended.err.contains('\u{1b}'), "no colour in a pipe: {ended:?}");
    ended
}

/// A service with an endpoint that answers and one that nobody listens at, which is ejected already.
async fn with_an_ejected_one() -> (Backend, SocketAddr, Proxy) {
    let well = Backend::start(|_| Reply::ok("well")).await;
    let away = refusing();
    let outliers = json!({ "consecutiveFailures": 1, "baseEjectionSeconds": 300 });
    let server = service("server").at(&well).at(away).with("outlierDetection", outliers);
    let proxy = crate::proxy().mesh(Mesh::of([server, service("quiet")])).start().await;
    eventually("the endpoint is ejected", async || {
        proxy.get("server", "/").await.expect(200);
        let endpoint = proxy.endpoint(away).await?;
        (endpoint["state"] == "ejected").then_some(())
    })
    .await;
    (well, away, proxy)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_and_the_way_of_a_request_are_told() {
    let (well, away, proxy) = with_an_ejected_one().await;
    for with in BOTH {
        let told = look(with, "endpoints", &proxy, &[]).await;
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{told:?}");
        let line = |addr: SocketAddr| told.out.lines().find(|line| line.contains(&addr.to_string()));
        assert!(line(well.addr()).is_some_and(|line| line.contains(" active ")), "{}", told.out);
        assert!(line(away).is_some_and(|line| line.contains(" ejected, ")), "{}", told.out);

        let page = json(&look(with, "endpoints", &proxy, &["--output", "json"]).await.out);
        let states: Vec<_> = page["endpoints"].as_array().unwrap().iter().map(|e| &e["state"]).collect();
        assert_eq!(states, ["active", "ejected"]);

        let quiet = look(with, "endpoints", &proxy, &["--service", "quiet"]).await;
        assert_eq!((quiet.code, quiet.out.as_str()), (Some(0), "  no endpoints\n"));
        let unknown = look(with, "endpoints", &proxy, &["--service", "sever"]).await;
        assert_eq!(unknown.code, Some(1), "{unknown:?}");
        assert_eq!(unknown.err, "the mesh has no service sever; did you mean server?\n");

        let url = url("server", "/v1?a=b&url=c");
        let told = look(with, "explain", &proxy, &[&url]).await;
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.out.starts_with(&format!("{url} goes to service server\n  1. ")), "{}", told.out);
        let end = format!("  one of\n    {}\n  and not\n    {away}  ejected for another ", well.addr());
        assert!(told.out.contains(&end), "{}", told.out);
        let page = json(&look(with, "explain", &proxy, &[&url, "--output", "json"]).await.out);
        assert_eq!(
            (&page["url"], &page["notCandidates"][0]["address"]),
            (&json!(url), &json!(away.to_string()))
        );

        let nowhere = look(with, "explain", &proxy, &["http://nobody.mesh.test:1/"]).await;
        assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
        assert!(nowhere.out.starts_with("http://nobody.mesh.test:1/ goes nowhere\n"), "{}", nowhere.out);
        let wrong = look(with, "explain", &proxy, &["/no-url"]).await;
        assert_eq!((wrong.code, wrong.err.as_str()), (Some(2), "/no-url is not an absolute URL\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_proxies_are_asked_one_after_the_other() {
    let (_well, away, proxy) = with_an_ejected_one().await;
    let nobody = refusing().to_string();
    let told = look(BOWLINE, "endpoints", &proxy, &["--admin", &nobody]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.starts_with(&format!("proxy {}\n", proxy.admin)), "{}", told.out);
    assert!(told.out.contains(&away.to_string()), "{}", told.out);
    assert!(told.err.contains(&format!("no proxy answers at {nobody}")), "{}", told.err);
    let page = look(BOWLINE, "endpoints", &proxy, &["--admin", &nobody, "--output", "json"]).await;
    assert_eq!(page.code, Some(1), "{page:?}");
    let page = json(&page.out);
    assert_eq!(page["proxies"][0]["endpoints"].as_array().map(Vec::len), Some(2), "{page}");
    assert!(page["proxies"][1]["error"].is_string(), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_wrong_usage_are_told_apart() {
    let nobody = refusing();
    for with in BOTH {
        for command in [&["endpoints"][..], &["explain", "http://a/"], &["top"], &["tap"]] {
            let mut started = program(with, command[0], nobody, &command[1..]);
            let ended = run_to_end(&mut started).await;
            assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{command:?}: {ended:?}");
            assert!(ended.err.starts_with(&format!("no proxy answers at {nobody}: ")), "{}", ended.err);
            assert!(ended.err.contains("help: ") && ended.err.contains("--admin"), "{}", ended.err);
            let mut started =
                program(with, command[0], nobody, &[&command[1..], &["--output", "json"]].concat());
            let ended = run_to_end(&mut started).await;
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                json(&ended.out)["error"].as_str().is_some_and(|why| why.contains("no answer")),
                "{ended:?}"
            );
            let ended = run_to_end(&mut program(with, command[0], nobody, &["--no-such-flag"])).await;
            assert_eq!(ended.code, Some(2), "{ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_sees_the_rate_and_an_ejected_endpoint() {
    let (well, away, proxy) = with_an_ejected_one().await;
    let load = Load::start(proxy.outbound, &url("server", "/"), 100, 4);
    for with in BOTH {
        eventually("the load flows", async || (load.ok() > 20).then_some(())).await;
        let before = load.ok();
        let args = ["--count", "3", "--interval", "0.5", "--endpoints", "--output", "json"];
        let told = look(with, "top", &proxy, &args).await;
        let meanwhile = (load.ok() - before) as f64;
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{told:?}");
        let frames: Vec<Value> = told.out.lines().map(json).collect();
        assert_eq!(frames.len(), 3, "a line for each interval: {}", told.out);
        let of = |frame: &Value, key: &str| frame[key].as_f64().unwrap_or_else(|| panic!("{key} of {frame}"));
        let mut sum = 0.0;
        for frame in &frames {
            assert_eq!(frame["generation"], 1);
            assert!(of(frame, "residentBytes") > 1e6 && of(frame, "connections") >= 4.0, "{frame}");
            let services = frame["services"].as_array().unwrap();
            let [quiet, server] = &services[..] else { panic!("{frame}") };
            assert_eq!((&quiet["service"], of(quiet, "requestsPerSecond")), (&json!("quiet"), 0.0));
            assert_eq!((&quiet["successPercent"], &quiet["p99Milliseconds"]), (&Value::Null, &Value::Null));
            assert_eq!((&server["service"], &server["ejected"]), (&json!("server"), &json!(1)));
            assert_eq!(of(server, "successPercent"), 100.0);
            let (p50, p99) = (of(server, "p50Milliseconds"), of(server, "p99Milliseconds"));
            assert!(0.0 < p50 && p50 <= p99 && p99 <= 15_000.0, "{server}");
            for endpoint in server["endpoints"].as_array().unwrap() {
                let is_away = endpoint["address"] == away.to_string();
                assert_eq!(endpoint["ejected"], json!(is_away), "{endpoint}");
                assert_eq!(of(endpoint, "requestsPerSecond") == 0.0, is_away, "{endpoint}");
            }
            sum += of(server, "requestsPerSecond") * of(frame, "seconds");
        }
        // What was under way at either end, and what was answered while the program started and ended.
        assert!(sum > meanwhile / 4.0 && sum <= meanwhile + 8.0, "{sum} of {meanwhile}");

        let told =
            look(with, "top", &proxy, &["--count", "2", "--interval", "0.2", "--service", "server"]).await;
        let blocks: Vec<&str> = told.out.split("\n\n").collect();
        assert_eq!(blocks.len(), 4, "head and rows of two blocks: {}", told.out);
        assert!(told.out.starts_with(&format!("proxy {}  last ", proxy.admin)), "{}", told.out);
        assert!(blocks[1].contains("  server ") && blocks[1].contains(" 1 of 2"), "{}", told.out);
        assert!(!told.out.contains("quiet") && !told.out.contains(&well.addr().to_string()), "{}", told.out);
        let unknown = look(with, "top", &proxy, &["--service", "quit"]).await;
        assert_eq!(unknown.code, Some(1));
        assert_eq!(unknown.err, "the mesh has no service quit; did you mean quiet?\n");
    }
    load.stop().await.assert_none_failed(40);
}

/// A service that answers well, badly and after a second try.
async fn of_all_kinds() -> (Backend, Proxy) {
    let backend = Backend::start(|request| match request.target.split('?').next() {
        Some("/bad") => Reply::status(500),
        _ => Reply::ok("good"),
    })
    .await;
    let proxy = crate::proxy().mesh(Mesh::of([service("server").at(&backend).no_ejections()])).start().await;
    (backend, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_shows_what_its_filter_lets_through_and_nothing_else() {
    let (backend, proxy) = of_all_kinds().await;
    for with in BOTH {
        let text = Running::piped(program(with, "tap", proxy.admin, &["--failed"]));
        let lines = Running::piped(program(with, "tap", proxy.admin, &["--failed", "--output", "json"]));
        // A tap shows what ends from its beginning on, and says nothing before that in a pipe.
        eventually("both show a request", async || {
            proxy.get("server", "/good").await.expect(200);
            proxy.get("server", "/bad?secret=1").await.expect(500);
            (!text.seen().is_empty() && !lines.seen().is_empty()).then_some(())
        })
        .await;
        let (code, text) = text.interrupted().await;
        assert_eq!(code, Some(0), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for line in text.lines() {
            assert!(line.contains("  out  server  GET /bad") && line.contains("  500  "), "{text}");
            assert!(line.contains(&backend.addr().to_string()), "{text}");
        }
        assert!(!text.contains("secret"), "{text}");
        let (code, lines) = lines.interrupted().await;
        assert_eq!(code, Some(0), "{lines}");
        for line in lines.lines().map(json) {
            assert_eq!((&line["path"], &line["status"]), (&json!("/bad"), &json!(500)), "{lines}");
        }

        let wrong = look(with, "tap", &proxy, &["--status", "bad"]).await;
        assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""), "{wrong:?}");
        assert_eq!(wrong.err, "status=bad is not understood: status is 503, 5xx, 400-499\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_ends_after_as_many_as_were_wanted_and_says_when_the_proxy_ends() {
    let (_backend, mut proxy) = of_all_kinds().await;
    let load = Load::start(proxy.outbound, &url("server", "/good?x=1"), 100, 2);
    let args =
        ["--limit", "3", "--with-query", "--header", "host:mesh.test", "--path", "/go", "--method", "GET"];
    let told = look(crate::PROGRAM, "tap", &proxy, &args).await;
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 3), "{told:?}");
    assert!(told.out.lines().all(|line| line.contains("GET /good?x=1")), "{}", told.out);
    let _ = load.stop().await;

    let mut tap = Running::piped(program(BOWLINE, "tap", proxy.admin, &["--output", "json"]));
    eventually("it shows a request", async || {
        proxy.get("server", "/good").await.expect(200);
        (!tap.seen().is_empty()).then_some(())
    })
    .await;
    proxy.signal(Signal::KILL);
    proxy.ended().await;
    assert_eq!(tap.ended().await, Some(1));
    let said = tap.seen().lines().last().map(json).expect("why");
    assert!(said["error"].is_string(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let (_backend, proxy) = of_all_kinds().await;
    let load = Load::start(proxy.outbound, &url("server", "/good"), 100, 2);
    for command in
        [&["tap"][..], &["top", "--interval", "0.1"], &["top", "--interval", "0.1", "--output", "json"]]
    {
        let mut command = program(BOWLINE, command[0], proxy.admin, &command[1..]);
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let child = command.stdout(writer).spawn().expect("the program");
        command.stdout(Stdio::null());
        let read = tokio::task::spawn_blocking(move || reader.read(&mut [0; 16]).expect("a line"));
        assert!(within("something is written", read).await.expect("read") > 0);
        let output = within("it ends", child.wait_with_output()).await.expect("its end");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()));
    }
    let _ = load.stop().await;
}

/// What a terminal must be left with: cursor, line breaks, no colour.
fn assert_clean(seen: &str) {
    for (off, on) in [("\u{1b}[?25l", "\u{1b}[?25h"), ("\u{1b}[?7l", "\u{1b}[?7h")] {
        assert!(seen.rfind(off) <= seen.rfind(on), "{off:?} is the last word in {seen:?}");
    }
    let is_colour =
        |piece: &&str| piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
    let last = seen.split("\u{1b}[").skip(1).filter(is_colour).last();
    assert!(last.is_none_or(|colour| colour.starts_with("0m")), "{seen:?}");
    assert!(seen.ends_with('\n') || seen.ends_with("\r\u{1b}[K"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_is_drawn_in_place_on_a_terminal() {
    let (_well, _away, proxy) = with_an_ejected_one().await;
    for with in BOTH {
        let args = ["--interval", "0.2", "--endpoints"];
        let top = Running::on_terminal(program(with, "top", proxy.admin, &args), 90, 20);
        top.has_written("since its start").await;
        top.has_written("  last ").await;
        let (code, seen) = top.interrupted().await;
        assert_eq!(code, Some(0), "{seen:?}");
        assert!(seen.contains("\u{1b}[1;31mejected\u{1b}[0m"), "{seen:?}");
        // Up by as many lines as there are, and drawn over.
        assert!(seen.contains("\r\u{1b}[7A"), "{seen:?}");
        assert_clean(&seen);
    }
    // Nobody wants colours; it is drawn in place all the same.
    let mut command = program(BOWLINE, "top", proxy.admin, &["--count", "1", "--interval", "0.2"]);
    command.env("NO_COLOR", "1");
    let mut top = Running::on_terminal(command, 90, 20);
    assert_eq!(top.ended().await, Some(0));
    top.has_written("  last ").await;
    assert!(!top.seen().contains("\u{1b}[1"), "{:?}", top.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_comes_back_is_seen_again() {
    let (backend, mut proxy) = of_all_kinds().await;
    let admin = proxy.admin;
    let top = Running::on_terminal(program(BOWLINE, "top", admin, &["--interval", "0.2"]), 90, 20);
    top.has_written("  last ").await;
    proxy.signal(Signal::KILL);
    proxy.ended().await;
    top.has_written("asking again").await;
    let before = top.seen().len();
    let again = crate::proxy().mesh(Mesh::of([service("again").at(&backend)]));
    let _again = again.admin(&admin.to_string()).start().await;
    eventually("it is seen again", async || top.seen()[before..].contains("again\u{1b}[0m").then_some(()))
        .await;
    let (code, seen) = top.interrupted().await;
    assert_eq!(code, Some(0), "{seen:?}");
    assert_clean(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_has_colours_on_a_terminal() {
    let (_backend, proxy) = of_all_kinds().await;
    for with in BOTH {
        let tap = Running::on_terminal(program(with, "tap", proxy.admin, &[]), 100, 20);
        // It is open when it says so.
        tap.has_written("Ctrl-C ends it").await;
        proxy.get("server", &format!("/good/{}", "x".repeat(200))).await.expect(200);
        proxy.get("server", "/bad").await.expect(500);
        tap.has_written("\u{1b}[1;31m500\u{1b}[0m").await;
        let (code, seen) = tap.interrupted().await;
        assert_eq!(code, Some(0), "{seen:?}");
        assert!(seen.contains("\u{1b}[32m200\u{1b}[0m") && seen.contains("xxx…"), "{seen:?}");
        assert_clean(&seen);
    }
}
