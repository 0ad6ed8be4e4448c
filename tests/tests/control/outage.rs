//! The control plane goes away, and comes back: requests do not notice.

use std::time::{Duration, Instant};

use bowline_tests::{Backend, BackendProcess, Load, Reply, eventually, service, url};
use rustix::process::Signal;

use crate::{BACKEND, client, control, has_mesh, registered};

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_it_is_killed_and_endpoints_come_and_go() {
    let mut control = control().mesh(registered("server")).start().await;
    let stays = BackendProcess::start(BACKEND).await;
    let mut dies = BackendProcess::start(BACKEND).await;
    let _a = client(&[&control]).register("server", stays.addr()).start().await;
    let lost = client(&[&control]).register("server", dies.addr()).start().await;
    control.has_endpoints("server", 2).await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    let load = Load::start(app.outbound, &url("server", "/"), 600, 24);
    eventually("the load is under way", async || (load.ok() > 300).then_some(())).await;

    control.kill().await;
    app.logged("no stream to the control plane").await;
    // While nobody is there to tell: one goes without a word, one comes.
    lost.signal(Signal::KILL);
    dies.kill().await;
    let comes = BackendProcess::start(BACKEND).await;
    let _c = client(&[&control]).register("server", comes.addr()).start().await;
    load.run_for(outage()).await;

    control.restart().await;
    let begun = Instant::now();
    eventually("the new one is known", async || app.endpoint(comes.addr()).await).await;
    eprintln!("an addition after {:?}", begun.elapsed());
    assert!(app.endpoint(stays.addr()).await.is_some(), "one that lives was forgotten");
    eventually("the dead one is gone", async || app.endpoint(dies.addr()).await.is_none().then_some(()))
        .await;
    eprintln!("the dead one gone after {:?}", begun.elapsed());
    let report = load.stop().await;
    eprintln!("{} requests", report.ok);
    report.assert_none_failed(600);
}

/// How long the control plane is away: `BOWLINE_TEST_OUTAGE_SECONDS`, or a short while.
fn outage() -> Duration {
    let seconds = std::env::var("BOWLINE_TEST_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_starts_from_its_last_good_mesh_and_another_from_a_seed() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let mut control = control().mesh(service("server").at(&backend)).start().await;
    let state = tempfile::tempdir().expect("a folder");
    let dir = state.path().to_str().expect("a path").to_owned();
    let mut before = client(&[&control]).arg("--state-dir").arg(&dir).start().await;
    has_mesh(&before).await;
    let file = state.path().join("last-good-mesh.test.json");
    eventually("it is kept", async || file.exists().then_some(())).await;
    before.signal(Signal::TERM);
    before.ended().await;
    control.kill().await;

    let again = client(&[&control]).arg("--state-dir").arg(&dir).start().await;
    assert_eq!(again.get("server", "/").await.expect(200).text(), "served");
    assert_eq!(again.admin("GET", "/health/ready").await.status, 200);
    assert_eq!(again.page("/config").await["controlPlane"]["meshFrom"], "last good");

    let seeded = client(&[&control]).seed(service("server").at(&backend)).start().await;
    assert_eq!(seeded.get("server", "/").await.expect(200).text(), "served");
    assert_eq!(seeded.page("/config").await["controlPlane"]["meshFrom"], "seed");
    // Once it is there again, it is the authority.
    control.restart().await;
    has_mesh(&again).await;
    has_mesh(&seeded).await;
    assert_eq!(seeded.get("server", "/").await.expect(200).text(), "served");

    // A damaged copy is no reason not to start.
    std::fs::write(&file, b"{ half").expect("a file");
    let damaged = client(&[&control]).arg("--state-dir").arg(&dir).start().await;
    damaged.logged("the last good mesh on disk is damaged").await;
    has_mesh(&damaged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_at_all_it_says_so_and_is_ready_after_a_while() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let mut control = control().mesh(service("server").at(&backend)).start().await;
    control.kill().await;
    let app = client(&[&control]).start().await;
    let begun = Instant::now();
    let ready = app.admin("GET", "/health/ready").await;
    let reasons = ready.expect(503).json()["reasons"].to_string();
    assert!(reasons.contains("control plane"), "{reasons}");
    app.logged("no stream to the control plane").await;
    let answer = app.get("server", "/").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("no_mesh"));
    assert!(answer.text().contains("the control plane"), "{}", answer.text());
    eventually("it is ready", async || (app.admin("GET", "/health/ready").await.status == 200).then_some(()))
        .await;
    assert!(begun.elapsed() > Duration::from_secs(3), "not at once: {:?}", begun.elapsed());
    control.restart().await;
    has_mesh(&app).await;
    assert_eq!(app.get("server", "/").await.expect(200).text(), "served");
}

/// The second of two addresses takes over.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_control_planes_is_enough() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let mut first = control().mesh(service("server").at(&backend)).start().await;
    let second = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&first, &second]).start().await;
    has_mesh(&app).await;
    first.kill().await;
    eventually("it is connected to the other", async || {
        let page = app.page("/config").await;
        (page["controlPlane"]["url"] == second.url() && page["controlPlane"]["connected"] == true)
            .then_some(())
    })
    .await;
    second.replace_mesh(bowline_tests::Mesh::of([
        service("server").at(&backend),
        service("later").at(&backend),
    ]));
    eventually("its push has come", async || (app.get("later", "/").await.status == 200).then_some(())).await;
}
