//! What operators see and do.

use bowline_proxy::telemetry::catalogue;
use bowline_tests::{Backend, Mesh, Reply, eventually, service};
use serde_json::json;

use crate::{client, control, has_mesh, registered};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_mesh_file_is_pushed_and_acknowledged() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&control]).arg("--node-id").arg("app-1").arg("--zone").arg("eu-1a").start().await;
    has_mesh(&app).await;
    let narrow =
        client(&[&control]).arg("--services").arg("other").arg("--node-id").arg("narrow").start().await;
    has_mesh(&narrow).await;
    assert_eq!(narrow.get("server", "/").await.status, 502, "it has asked for `other` alone");

    control.replace_mesh(Mesh::of([service("server").at(&backend), service("other").at(&backend)]));
    for proxy in [&app, &narrow] {
        eventually("it is there", async || (proxy.get("other", "/").await.status == 200).then_some(())).await;
    }
    let page = eventually("both have acknowledged it", async || {
        let page = control.page("/clients").await;
        let revision = page["revision"].as_u64()?;
        let clients = page["clients"].as_array()?;
        clients.iter().all(|c| c["acknowledged"] == revision).then_some(page.clone())
    })
    .await;
    let all = page["clients"].as_array().expect("a list");
    let one = all.iter().find(|c| c["id"] == "app-1").expect("it is there");
    assert_eq!(
        (&one["kind"], &one["zone"], &one["protocol"]),
        (&json!("bowline"), &json!("eu-1a"), &json!("delta"))
    );
    assert_eq!(one["nacks"], 0);
    assert!(one["acknowledgedAfterMilliseconds"].as_f64().expect("a time") < 10_000.0);
    let at_proxy = app.metrics().await;
    for metric in catalogue::ALL.iter().filter(|metric| metric.name.starts_with("bowline_control_plane_")) {
        assert!(!at_proxy.families[metric.name].samples.is_empty(), "{} has no sample", metric.name);
    }
    assert_eq!(at_proxy.sum("bowline_control_plane_connected", &[]), 1.0);
    let metrics = control.metrics().await;
    assert_eq!(metrics.sum("bowline_control_clients", &[("kind", "bowline")]), 2.0);
    assert!(metrics.sum("bowline_control_pushes_total", &[]) >= 4.0);
    assert_eq!(metrics.sum("bowline_control_nacks_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_mesh_file_changes_nothing() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    std::fs::write(control.mesh_file(), "namespace: mesh.test\nservices:\n  - discoveryNam: x\n")
        .expect("a file");
    let line = control.logged("discoveryNam").await;
    assert!(line.contains("mesh.yaml:3"), "{line}");
    let trouble = control.page("/snapshot").await["troubles"][0].clone();
    assert_eq!(trouble["source"], "mesh");
    assert_eq!(app.get("server", "/").await.expect(200).text(), "served");
    control.replace_mesh(service("server").at(&backend));
    eventually("it is well again", async || {
        (control.page("/snapshot").await["troubles"] == json!([])).then_some(())
    })
    .await;
}

/// An emptied list may be a mistake: it is held until somebody says that it is meant.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_not_emptied_without_confirmation() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let control = control().mesh(service("server").at(&backend)).start().await;
    let app = client(&[&control]).start().await;
    has_mesh(&app).await;
    control.replace_mesh(service("server"));
    control.logged("it has lost all its endpoints").await;
    assert_eq!(control.service("server").await.expect("it is there")["held"], true);
    assert_eq!(app.get("server", "/").await.expect(200).text(), "served");
    assert_eq!(control.admin("POST", "/allow-empty?service=other", "").await.status, 404);
    control.admin("POST", "/allow-empty?service=server", "").await.expect(200);
    eventually("it is empty", async || (app.get("server", "/").await.status == 503).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_compared_before_it_is_given() {
    let control = control().mesh(Mesh::of([registered("server"), registered("old")])).start().await;
    let timeout = json!({ "connectSeconds": 2 });
    let next = Mesh::of([registered("server").with("timeout", timeout), registered("new")]);
    let diff = control.admin("POST", "/diff", &next.text()).await.expect(200).json();
    assert_eq!(diff["added"], json!(["new"]));
    assert_eq!(diff["removed"][0]["service"], "old");
    assert_eq!(diff["changed"][0]["keys"][0]["key"], "timeout.connectSeconds");
    let wrong = control.admin("POST", "/diff", "namespace: x\nservices: 7\n").await;
    assert!(wrong.expect(422).text().contains("services"), "{}", wrong.text());
}
