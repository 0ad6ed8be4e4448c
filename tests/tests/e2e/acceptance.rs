//! What the whole is for: apps notice nothing while endpoints die and the mesh is rewritten.

use std::time::Duration;

use bowline_tests::{Backend, BackendProcess, Load, Mesh, Proxy, Reply, eventually, seeded, service, url};
use serde_json::json;

const PER_SECOND: u32 = 1000;
const CONNECTIONS: u32 = 16;
/// Far below what is asked for: the test is about failures, and the machine may be busy.
const LEAST: u64 = 1500;

async fn load(proxy: &Proxy) -> Load {
    let load = Load::start(proxy.outbound, &url("server", "/"), PER_SECOND, CONNECTIONS);
    eventually("the load is under way", async || (load.ok() > 300).then_some(())).await;
    load
}

/// One of three endpoints closes its listener and drops what it is doing, in the middle of steady load.
#[tokio::test(flavor = "multi_thread")]
async fn no_get_fails_when_one_of_three_endpoints_goes() {
    let [a, b, c] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let proxy = crate::proxy().mesh(service("server").at_all([&a, &b, &c])).start().await;
    let load = load(&proxy).await;
    load.run_for(Duration::from_secs(1)).await;
    let gone = a.addr();
    a.stop().await;
    proxy.endpoint_is(gone, "ejected").await;
    load.run_for(Duration::from_secs(4)).await;
    load.stop().await.assert_none_failed(LEAST);
}

/// The same with a process and SIGKILL: the kernel resets its connections.
#[tokio::test(flavor = "multi_thread")]
async fn no_get_fails_when_a_backend_process_is_killed() {
    let mut a = BackendProcess::start(crate::BACKEND).await;
    let b = BackendProcess::start(crate::BACKEND).await;
    let c = BackendProcess::start(crate::BACKEND).await;
    let proxy = crate::proxy().mesh(service("server").at_all([&a, &b, &c])).start().await;
    let load = load(&proxy).await;
    load.run_for(Duration::from_secs(1)).await;
    a.kill().await;
    proxy.endpoint_is(a.addr(), "ejected").await;
    load.run_for(Duration::from_secs(4)).await;
    load.stop().await.assert_none_failed(LEAST);
}

/// It comes back on the same port, is taken back, and no GET fails on the way.
#[tokio::test(flavor = "multi_thread")]
async fn no_get_fails_when_an_endpoint_goes_and_comes_back() {
    let [a, b, c] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let outliers = json!({ "baseEjectionSeconds": 1, "maxEjectionSeconds": 2 });
    let server = service("server").at_all([&a, &b, &c]).with("outlierDetection", outliers);
    let proxy = crate::proxy().mesh(server).start().await;
    let load = load(&proxy).await;
    let addr = a.addr();
    a.stop().await;
    proxy.endpoint_is(addr, "ejected").await;
    let back = Backend::builder().port(addr.port()).start(|_| Reply::ok("back")).await;
    back.has_received(100).await;
    proxy.endpoint_is(addr, "active").await;
    load.stop().await.assert_none_failed(300);
}

/// The mesh file is written anew a hundred times, in both ways in which files are written, while the load goes on.
#[tokio::test(flavor = "multi_thread")]
async fn no_get_fails_while_the_mesh_file_is_rewritten_a_hundred_times() {
    let mut rng = seeded();
    let backends: [Backend; 4] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let proxy = crate::proxy().mesh(service("server").at_all(&backends)).start().await;
    let load = load(&proxy).await;
    let mut generation = proxy.generation().await;
    for n in 0..100 {
        let mut server = service("server");
        // One endpoint at the least; the others come and go, with weights that change.
        let always = rng.usize(..backends.len());
        for (at, backend) in backends.iter().enumerate() {
            if at == always || rng.bool() {
                server = server.weighted(backend, rng.u32(1..10));
            }
        }
        if rng.bool() {
            server = server.retry(json!({ "retries": rng.u32(1..5), "budget": { "percent": 100 } }));
        }
        if rng.bool() {
            let policy = ["peakEwma", "leastRequest", "roundRobin", "random"][rng.usize(..4)];
            server = server.with("loadBalancing", json!({ "policy": policy }));
        }
        if rng.bool() {
            server = server
                .with("timeout", json!({ "idleTimeoutSeconds": rng.u32(200..400), "connectSeconds": 2 }));
        }
        let other = service("other").at(&backends[0]).alias(&format!("other{}.mesh.test", n % 3), 21501);
        let mesh = if rng.bool() { Mesh::of([server, other]) } else { Mesh::of([server]) };
        match rng.bool() {
            true => proxy.replace_mesh(mesh),
            false => proxy.overwrite_mesh(&mesh.text()),
        }
        // Most changes are waited for; some follow so fast on the one before that the proxy may see both as one.
        if rng.u8(..4) > 0 {
            generation = eventually("the change is in force", async || {
                Some(proxy.generation().await).filter(|now| *now > generation)
            })
            .await;
        }
    }
    load.stop().await.assert_none_failed(LEAST);
    assert!(generation > 50, "only {generation} generations");
    // A file that is written in place may be seen half-written: then it is refused, and read again when it is whole.
    proxy.metric_is("bowline_mesh_refused", &[], 0.0).await;
}
