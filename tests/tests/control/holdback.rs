//! A new mesh goes to some of the proxies first.

use bowline_tests::{Backend, Load, Mesh, Proxy, Reply, eventually, service, url};
use serde_json::json;

use crate::{client, control, has_mesh};

async fn fleet(control: &bowline_tests::Control) -> Vec<Proxy> {
    let mut fleet = Vec::new();
    for n in 0..4 {
        let proxy = client(&[control]).arg("--node-id").arg(format!("task-{n}")).start().await;
        has_mesh(&proxy).await;
        fleet.push(proxy);
    }
    fleet
}

fn loads(fleet: &[Proxy]) -> Vec<Load> {
    fleet.iter().map(|proxy| Load::start(proxy.outbound, &url("server", "/"), 60, 4)).collect()
}

/// A port at which nobody is.
fn nowhere() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

async fn calls_it(proxy: &Proxy, addr: std::net::SocketAddr) -> bool {
    proxy.endpoint(addr).await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_makes_requests_fail_reaches_some_proxies_and_is_taken_back() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let control = control().mesh(service("server").at(&backend)).arg("--hold-back").arg("25").start().await;
    let fleet = fleet(&control).await;
    let loads = loads(&fleet);
    eventually("the load is under way", async || loads.iter().all(|load| load.ok() > 20).then_some(())).await;

    let wrong = nowhere();
    control.replace_mesh(service("server").at(wrong));
    control.logged("the new mesh is given to a share of the clients first").await;
    control.logged("the new mesh is taken back").await;
    let held = control.page("/snapshot").await["heldBack"].clone();
    assert_eq!(held["state"], "stopped");
    assert!(held["why"].as_str().is_some_and(|why| why.contains('%')), "{held}");
    for proxy in &fleet {
        eventually("the old mesh is back", async || calls_it(proxy, backend.addr()).await.then_some(()))
            .await;
        assert_eq!(proxy.get("server", "/").await.status, 200);
    }
    let mut hurt = 0;
    for load in loads {
        hurt += usize::from(!load.stop().await.failures.is_empty());
    }
    assert_eq!(hurt, 1, "one of the four proxies had it, and no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_works_is_given_to_all() {
    let [old, new] = Backend::several(|_, _| Reply::ok("")).await;
    let mesh =
        |at: &Backend| Mesh::of([service("server").at(at).with("timeout", json!({ "connectSeconds": 2 }))]);
    let control = control().mesh(mesh(&old)).arg("--hold-back").arg("50");
    let control = control.arg("--hold-back-seconds").arg("4").start().await;
    let fleet = fleet(&control).await;
    let loads = loads(&fleet);
    control.replace_mesh(mesh(&new));
    let have = async || {
        let mut have = 0;
        for proxy in &fleet {
            have += usize::from(calls_it(proxy, new.addr()).await);
        }
        have
    };
    eventually("half of them have it", async || (have().await == 2).then_some(())).await;
    assert_eq!(control.page("/snapshot").await["heldBack"]["state"], "trying");
    control.logged("the new mesh is given to all").await;
    eventually("all have it", async || (have().await == 4).then_some(())).await;
    for load in loads {
        load.stop().await.assert_none_failed(100);
    }
}
