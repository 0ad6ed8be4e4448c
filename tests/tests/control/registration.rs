//! Tasks that register themselves, and clients that see them come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use bowline_tests::{Backend, BackendProcess, Gate, Load, Reply, eventually, url};
use rustix::process::Signal;
use serde_json::json;

use crate::{BACKEND, client, control, has_mesh, registered};

/// Where Service Connect needs a redeployment of the client: it was started before its server.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_there_before_its_server_sees_it_at_once() {
    let control = control().mesh(registered("server")).start().await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    let answer = app.get("server", "/").await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("no_endpoints"));
    assert!(answer.text().contains("the control plane knows none at the moment"), "{}", answer.text());

    let backend = Backend::start(|_| Reply::ok("at last")).await;
    let begun = Instant::now();
    let server = client(&[&control]).register("server", backend.addr()).start().await;
    let up = begun.elapsed();
    server.logged("\"registered\"").await;
    let registered = begun.elapsed();
    eventually("the client is served", async || (app.get("server", "/").await.status == 200).then_some(()))
        .await;
    eprintln!(
        "server's proxy up after {up:?}, registered after {registered:?}, served after {:?}",
        begun.elapsed()
    );
    assert_eq!(app.get("server", "/").await.text(), "at last");
    assert_eq!(app.endpoint(backend.addr()).await.expect("it is known")["source"], "control");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_is_told_with_the_nearest() {
    let control = control().mesh(registered("server")).start().await;
    let backend = Backend::start(|_| Reply::ok("")).await;
    let typo = client(&[&control]).register("servr", backend.addr()).start().await;
    let line = typo.logged("not registered").await;
    assert!(line.contains("did you mean") && line.contains("server"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_the_app_and_its_health_page() {
    let well = Gate::shut();
    let control = control().mesh(registered("server")).start().await;
    let opened = well.clone();
    let ready = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let answers = ready.clone();
    let backend = Backend::start(move |request| match request.target.as_str() {
        "/ready" if !answers.load(std::sync::atomic::Ordering::Relaxed) => Reply::status(503),
        _ => Reply::ok("well"),
    })
    .await;
    let flag = format!("server={},health=/ready", backend.addr().port());
    let server = client(&[&control]).arg("--register").arg(flag).start().await;
    let line = server.logged("the app is waited for before it is registered").await;
    assert!(line.contains("/ready answers 503"), "{line}");
    control.has_endpoints("server", 0).await;
    ready.store(true, std::sync::atomic::Ordering::Relaxed);
    opened.open();
    let page = control.has_endpoints("server", 1).await;
    assert_eq!(page["endpoints"][0]["address"], format!("127.0.0.1:{}", backend.addr().port()));
}

/// The app's own page decides whether the task is registered, and whether it is ready once it has been well.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_fails_its_page_is_taken_back_and_the_task_is_not_ready() {
    let checked = registered("server").with(
        "healthCheck",
        json!({ "http": { "path": "/" }, "unhealthyThreshold": 1, "healthyThreshold": 3 }),
    );
    let control = control().mesh(checked).start().await;
    let well = Arc::new(AtomicBool::new(false));
    let answers = well.clone();
    let backend = Backend::start(move |request| match request.target.as_str() {
        "/ready" if !answers.load(Relaxed) => Reply::status(503),
        _ => Reply::ok("well"),
    })
    .await;
    let flag = format!("server={},health=/ready", backend.addr().port());
    let server = client(&[&control]).arg("--register").arg(flag).start().await;
    server.logged("the app is waited for before it is registered").await;
    has_mesh(&server).await;
    let ready = async || server.admin("GET", "/health/ready").await;
    let page = server.page("/health").await;
    assert_eq!((&page["live"], &page["apps"][0]["state"]), (&json!(true), &json!("unhealthy")), "{page}");
    eventually("an app that has not started yet keeps nobody", async || {
        (ready().await.status == 200).then_some(())
    })
    .await;
    well.store(true, Relaxed);
    control.has_endpoints("server", 1).await;
    assert_eq!(server.page("/health").await["apps"][0]["state"], "healthy");
    well.store(false, Relaxed);
    server.logged("not registered any more").await;
    let answer = ready().await;
    answer.expect(503);
    assert!(
        answer.text().contains("the app of service server fails its check: /ready answers 503"),
        "{}",
        answer.text()
    );
    well.store(true, Relaxed);
    eventually("it is ready again", async || (ready().await.status == 200).then_some(())).await;
    let page = server.page("/health").await;
    assert_eq!((&page["ready"], page["apps"][0].get("why")), (&json!(true), None), "{page}");
}

/// The drain begins with the withdrawal: nobody is sent to a task that is on its way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_drains_is_taken_back_first_and_no_request_fails() {
    let control = control().mesh(registered("server")).start().await;
    let backends = Backend::several(|_, _| Reply::ok("")).await;
    let [stays, goes] = &backends;
    let _kept = client(&[&control]).register("server", stays.addr()).start().await;
    let mut leaving = client(&[&control]).register("server", goes.addr()).start().await;
    control.has_endpoints("server", 2).await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    let load = Load::start(app.outbound, &url("server", "/"), 300, 12);
    eventually("both are called", async || (goes.count() > 20 && stays.count() > 20).then_some(())).await;
    leaving.signal(Signal::TERM);
    leaving.logged("registration taken back").await;
    control.has_endpoints("server", 1).await;
    // Shortly after the control plane's start it stays in the list, without weight: see `ServiceState::settled`.
    eventually("the client knows", async || {
        app.endpoint(goes.addr()).await.is_none_or(|page| page["state"] == "draining").then_some(())
    })
    .await;
    let (before, sent) = (goes.count(), load.ok());
    eventually("the load goes on", async || (load.ok() > sent + 100).then_some(())).await;
    assert_eq!(goes.count(), before, "it is called no more");
    assert!(leaving.ended().await.success());
    load.stop().await.assert_none_failed(100);
}

/// Without a word: the lease runs out.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_dies_goes_with_its_lease() {
    let control = control().mesh(registered("server")).start().await;
    let alive = BackendProcess::start(BACKEND).await;
    let mut dies = BackendProcess::start(BACKEND).await;
    let _kept = client(&[&control]).register("server", alive.addr()).start().await;
    let lost = client(&[&control]).register("server", dies.addr()).start().await;
    control.has_endpoints("server", 2).await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    let load = Load::start(app.outbound, &url("server", "/"), 200, 8);
    lost.signal(Signal::KILL);
    dies.kill().await;
    let begun = Instant::now();
    control.has_endpoints("server", 1).await;
    eprintln!("gone after {:?}", begun.elapsed());
    eventually("the client knows", async || app.endpoint(dies.addr()).await.is_none().then_some(())).await;
    load.stop().await.assert_none_failed(100);
}
