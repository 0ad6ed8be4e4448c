//! The operator's command line against a control plane and proxies that run.

use std::path::Path;

use bowline_tests::proxy::{Ended, bare, run_to_end};
use bowline_tests::{Backend, Control, Mesh, Proxy, Reply, eventually, service};
use serde_json::{Value, json};

use crate::{client, control, has_mesh, registered};

const BOWLINE: &str = env!("CARGO_BIN_EXE_bowline-under-test");

/// Runs `bowline` as somebody does who has a proxy set that is not there: admin pages are asked for directly.
async fn bowline(args: &[&str]) -> Ended {
    let mut command = bare(Path::new(BOWLINE));
    command.args(args).envs([("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")]);
    run_to_end(&mut command).await
}

async fn diff(control: &Control, mesh: &str, more: &[&str]) -> Ended {
    let file = control.folder().join("next.yaml");
    std::fs::write(&file, mesh).expect("a mesh file");
    let admin = control.admin.to_string();
    let file = file.to_str().expect("a path");
    let args = ["diff", file, "--control-admin", &admin];
    bowline(&[&args[..], more].concat()).await
}

/// Asks the control plane and these proxies. What is written for people must fit a terminal.
async fn status(control: &Control, proxies: &[&Proxy], more: &[&str]) -> Ended {
    let admin = control.admin.to_string();
    let mut args = vec!["status".to_owned(), "--control-admin".to_owned(), admin];
    for proxy in proxies {
        args.extend(["--proxy-admin".to_owned(), proxy.admin.to_string()]);
    }
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    let ended = bowline(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let fits = ended.out.lines().all(|line| line.chars().count() <= 100);
    assert!(fits || more.contains(&"json"), "{}", ended.out);
    ended
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}", ended.out))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_tells_what_a_file_would_change_and_changes_nothing() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let now = Mesh::of([service("server").at(&backend), service("fixed").at(&backend), registered("old")]);
    let control = control().mesh(now.clone()).start().await;
    let revision = control.page("/snapshot").await["revision"].clone();

    let same = diff(&control, &now.text(), &["--exit-code"]).await;
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.out.starts_with("nothing would change: 3 services are as they are"), "{}", same.out);

    let timeout = json!({ "connectSeconds": 2 });
    let next = Mesh::of([
        service("server").at(&backend).with("timeout", timeout),
        service("fixed"),
        registered("new"),
    ])
    .text();
    let told = diff(&control, &next, &[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    for words in [
        "+ new\n",
        "- old  it has no endpoints now\n",
        "~ server\n",
        "    timeout.connectSeconds  1 → 2\n",
        "~ fixed\n",
        "would lose all its endpoints: it has 1 endpoint now",
        "1 added, 1 removed, 2 changed; 1 service would lose all endpoints\n",
    ] {
        assert!(told.out.contains(words), "{words}\n--- in\n{}", told.out);
    }
    assert!(!told.out.contains('\u{1b}'), "no colour where nobody looks");
    assert_eq!(diff(&control, &next, &["--exit-code"]).await.code, Some(3));
    let page = diff(&control, &next, &["--exit-code", "--output", "json"]).await;
    assert_eq!(page.code, Some(3), "{page:?}");
    let page = json(&page);
    assert_eq!((&page["same"], &page["added"]), (&json!(false), &json!(["new"])));
    assert_eq!(page["removed"][0]["service"], "old");
    assert_eq!(page["changed"][0]["service"], "server");
    assert_eq!(page["changed"][1]["empties"], true);
    assert_eq!(control.page("/snapshot").await["revision"], revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_diff_is_told() {
    let mut control = control().mesh(registered("server")).start().await;
    let wrong = diff(&control, "namespace: mesh.test\nservices:\n  - discoveryNam: x\n", &[]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.err.contains("next.yaml:3") && wrong.err.contains("discoveryNam"), "{}", wrong.err);

    let elsewhere = "namespace: elsewhere.test\nservices: []\n";
    let other = diff(&control, elsewhere, &[]).await;
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.err.contains("elsewhere.test") && other.err.contains("mesh.test"), "{}", other.err);

    // The pin is right for who writes the file, and wrong for the control plane.
    let pinned = registered("server").with("vip", json!("127.0.7.7"));
    let file = control.folder().join("pinned.yaml");
    std::fs::write(&file, Mesh::from(pinned).text()).expect("a mesh file");
    let (admin, path) = (control.admin.to_string(), file.to_str().expect("a path"));
    let pinned = bowline(&["diff", path, "--control-admin", &admin, "--vip-range", "127.0.0.0/8"]).await;
    assert_eq!(pinned.code, Some(2), "{pinned:?}");
    assert!(pinned.err.contains("127.0.7.7"), "{}", pinned.err);

    control.kill().await;
    let away = diff(&control, &Mesh::from(registered("server")).text(), &["--exit-code"]).await;
    assert_eq!(away.code, Some(1), "{away:?}");
    assert!(
        away.err.contains("does not answer") && away.err.contains("bowline-control serve"),
        "{}",
        away.err
    );
    let away = diff(&control, &Mesh::from(registered("server")).text(), &["--output", "json"]).await;
    assert!(away.code == Some(1) && json(&away)["error"].is_string(), "{away:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_all_is() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&control]).arg("--node-id").arg("app-1").arg("--zone").arg("eu-1a").start().await;
    has_mesh(&app).await;
    eventually("it has acknowledged", async || {
        let page = control.page("/clients").await;
        (page["clients"][0]["acknowledged"] == page["revision"]).then_some(())
    })
    .await;
    let told = status(&control, &[&app], &[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let vip = control.service("server").await.expect("it is there")["vips"]["server.mesh.test"].clone();
    for words in [
        format!("control plane {}: namespace mesh.test, revision 1", control.admin),
        vip.as_str().expect("an address").to_owned(),
        "app-1".to_owned(),
        "eu-1a".to_owned(),
        format!("proxy {}: namespace mesh.test", app.admin),
        format!("connected to {}", control.url()),
        "mesh from control".to_owned(),
        "\nall is well: 1 service, 1 endpoint, 1 client\n".to_owned(),
    ] {
        assert!(told.out.contains(&words), "{words}\n--- in\n{}", told.out);
    }

    // It loses its endpoints, and then the file is broken too.
    control.replace_mesh(service("server"));
    control.logged("it has lost all its endpoints").await;
    std::fs::write(control.mesh_file(), "namespace: mesh.test\nservices:\n  - discoveryNam: x\n")
        .expect("a file");
    control.logged("discoveryNam").await;
    let told = eventually("both are told", async || {
        let told = status(&control, &[&app], &[]).await;
        (told.out.contains("1 source in trouble") && told.out.contains("1 service held")).then_some(told)
    })
    .await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("mesh.yaml:3"), "{}", told.out);
    let page = json(&status(&control, &[&app], &["--output", "json"]).await);
    assert_eq!(page["verdict"]["ok"], false);
    assert_eq!(page["control"]["snapshot"]["services"][0]["held"], true);
    assert_eq!(page["control"]["clients"][0]["id"], "app-1");
    assert_eq!(page["proxies"][0]["controlPlane"]["connected"], true);

    // What it says is to be done does it.
    let url = told.out.lines().find_map(|line| line.split_once("curl -X POST '")).expect("a command").1;
    let path = url.trim_end_matches('\'').strip_prefix(&format!("http://{}", control.admin)).expect("a path");
    control.admin("POST", path, "").await.expect(200);
    eventually("it is held no more", async || {
        let told = status(&control, &[&app], &[]).await;
        (told.out.contains("1 service without endpoints") && !told.out.contains("held")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_a_control_plane_fails_and_still_tells_of_the_proxies() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let mut control = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    control.kill().await;
    let told = eventually("the proxy has noticed", async || {
        let told = status(&control, &[&app], &[]).await;
        told.out.contains("not connected for").then_some(told)
    })
    .await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("bowline-control serve"), "{}", told.out);
    assert!(told.out.contains("look at this: the control plane can't be reached"), "{}", told.out);
    assert!(told.out.contains("server.mesh.test:21500"), "{}", told.out);
    let page = json(&status(&control, &[&app], &["--output", "json"]).await);
    assert!(page["control"]["error"].is_string() && page["proxies"][0]["services"].is_array(), "{page}");

    // A named proxy that is away is a failure too.
    control.restart().await;
    let gone = app.admin;
    drop(app);
    let (admin, gone) = (control.admin.to_string(), gone.to_string());
    let told = eventually("nobody answers there", async || {
        let told = bowline(&["status", "--control-admin", &admin, "--proxy-admin", &gone]).await;
        told.out.contains("can't be reached").then_some(told)
    })
    .await;
    assert_eq!(told.code, Some(1), "{told:?}");
}

/// Who has asked for one service is not behind when another changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_behind_only_in_what_it_has_asked_for() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let now = Mesh::of([service("server").at(&backend), service("other").at(&backend)]);
    let control = control().mesh(now).start().await;
    let narrow = client(&[&control]).arg("--services").arg("server").start().await;
    has_mesh(&narrow).await;
    let acknowledged = async |revision: u64| {
        eventually("it has acknowledged all", async || {
            let page = control.page("/clients").await;
            (page["revision"] == revision && page["clients"][0]["acknowledged"] == revision).then_some(page)
        })
        .await
    };
    let pushes = acknowledged(1).await["clients"][0]["pushes"].clone();
    let timeout = json!({ "connectSeconds": 2 });
    let next = |changed: &str| {
        Mesh::of(["server", "other"].map(|name| match name == changed {
            true => service(name).at(&backend).with("timeout", timeout.clone()),
            false => service(name).at(&backend),
        }))
    };
    control.replace_mesh(next("other"));
    let page = acknowledged(2).await;
    assert_eq!(page["clients"][0]["pushes"], pushes, "it was sent what it has not asked for");
    assert!(!status(&control, &[&narrow], &[]).await.out.contains("behind"));
    control.replace_mesh(next("server"));
    let page = acknowledged(3).await;
    assert_ne!(page["clients"][0]["pushes"], pushes);
}
