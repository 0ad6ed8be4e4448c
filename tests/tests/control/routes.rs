//! Routes that come from the control plane.

use bowline_tests::{Backend, Mesh, Reply, eventually, service};
use serde_json::{Value, json};

use crate::{client, control, has_mesh};

async fn named(name: &'static str) -> Backend {
    Backend::start(move |_| Reply::ok(name)).await
}

/// A proxy that has asked for one service alone gets those as well that its routes lead to, and no others; labels of
/// endpoints come along.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_knows_where_the_routes_of_its_services_lead() {
    let (own, beta, a, b) = (named("own").await, named("beta").await, named("a").await, named("b").await);
    let endpoint = |backend: &Backend, labels: Value| json!({ "address": backend.addr().to_string(), "metadata": labels });
    let endpoints = json!([endpoint(&own, json!({})), endpoint(&beta, json!({ "version": "beta" }))]);
    let mesh = |to: &str| {
        Mesh::of([
            service("server").with("endpoints", json!({ "static": endpoints })).with(
                "routes",
                json!([
                    { "match": { "path": { "prefix": "/to" } }, "to": [{ "service": to }] },
                    { "match": { "path": { "prefix": "/beta" } },
                      "to": [{ "service": "server", "subset": { "version": "beta" } }],
                      "headers": { "response": { "set": { "x-route": "beta" } } } },
                ]),
            ),
            service("a").at(&a),
            service("b").at(&b),
            service("stranger").at(&a),
        ])
    };
    let control = control().mesh(mesh("a")).start().await;
    let app = client(&[&control]).arg("--services").arg("server").start().await;
    has_mesh(&app).await;
    let goes_to = async |name: &str| {
        let what = format!("the route leads to {name}");
        eventually(&what, async || {
            let answer = app.get("server", "/to").await;
            (answer.status == 200 && answer.text() == name).then_some(())
        })
        .await;
    };
    goes_to("a").await;
    let answer = app.get("server", "/beta").await;
    assert_eq!((answer.expect(200).text().as_str(), answer.header("x-route")), ("beta", Some("beta")));
    let known = async || -> Vec<String> {
        let page = app.page("/services").await;
        let services = page["services"].as_array().expect("a list");
        services.iter().filter_map(|s| s["service"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(known().await, ["a", "server"]);
    control.replace_mesh(mesh("b"));
    goes_to("b").await;
    eventually("it forgets what no route leads to any more", async || {
        (known().await == ["b", "server"]).then_some(())
    })
    .await;
}
