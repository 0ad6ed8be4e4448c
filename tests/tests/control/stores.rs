//! Two control planes on one etcd.

use std::time::{Duration, Instant};

use bowline_tests::{BackendProcess, Control, Etcd, Load, Proxy, eventually, url};
use rustix::process::Signal;

use crate::{BACKEND, client, control, has_mesh, registered};

/// How long something is away: `BOWLINE_TEST_OUTAGE_SECONDS`, or a little longer than a lease.
fn outage() -> Duration {
    let seconds = std::env::var("BOWLINE_TEST_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(17))
}

async fn two(etcd: &Etcd) -> [Control; 2] {
    let first = control().mesh(registered("server")).arg("--store").arg(etcd.store());
    let second = control().mesh(registered("server")).arg("--store").arg(etcd.store());
    let second = second.arg("--vip-range").arg(first.vip_range()).without_range();
    [first.start().await, second.start().await]
}

/// Two endpoints that register with the first control plane, or else the second, and a client of either.
async fn world(controls: &[Control; 2]) -> ([BackendProcess; 2], [Proxy; 2], Proxy) {
    let [first, second] = controls;
    let backends = [BackendProcess::start(BACKEND).await, BackendProcess::start(BACKEND).await];
    let register = |at: usize| client(&[first, second]).register("server", backends[at].addr()).start();
    let tasks = [register(0).await, register(1).await];
    let app = client(&[second, first]).start().await;
    for control in controls {
        control.has_endpoints("server", 2).await;
    }
    has_mesh(&app).await;
    (backends, tasks, app)
}

fn load(app: &Proxy) -> Load {
    Load::start(app.outbound, &url("server", "/"), 300, 12)
}

async fn both_known(app: &Proxy, backends: &[BackendProcess; 2]) {
    for backend in backends {
        let page = app.endpoint(backend.addr()).await.expect("a living endpoint was forgotten");
        assert_eq!(page["state"], "active");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_may_die() {
    for dies in [0, 1] {
        // One of its own: in the other one's the endpoints of the first turn are still known for a while.
        let Some(etcd) = Etcd::or_skip().await else { return };
        let mut controls = two(&etcd).await;
        let (backends, _tasks, app) = world(&controls).await;
        let load = load(&app);
        controls[dies].kill().await;
        let begun = Instant::now();
        while begun.elapsed() < outage() {
            both_known(&app, &backends).await;
            load.run_for(Duration::from_millis(200)).await;
        }
        // The one that is left goes on to work.
        let comes = BackendProcess::start(BACKEND).await;
        let left = &controls[1 - dies];
        let _new = client(&[left]).register("server", comes.addr()).start().await;
        eventually("an addition is seen", async || app.endpoint(comes.addr()).await).await;
        controls[dies].restart().await;
        controls[dies].has_endpoints("server", 3).await;
        load.stop().await.assert_none_failed(1000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_stand_still() {
    let Some(etcd) = Etcd::or_skip().await else { return };
    let controls = two(&etcd).await;
    let (backends, _tasks, app) = world(&controls).await;
    let load = load(&app);
    etcd.signal(Signal::STOP);
    let begun = Instant::now();
    while begun.elapsed() < outage() {
        both_known(&app, &backends).await;
        load.run_for(Duration::from_millis(200)).await;
    }
    etcd.signal(Signal::CONT);
    // Nothing is lost by its return either, and what comes is shared again.
    let comes = BackendProcess::start(BACKEND).await;
    let _new = client(&[&controls[0]]).register("server", comes.addr()).start().await;
    for control in &controls {
        control.has_endpoints("server", 3).await;
    }
    both_known(&app, &backends).await;
    load.stop().await.assert_none_failed(1000);
}

/// Names have the same VIPs whoever is asked.
#[tokio::test(flavor = "multi_thread")]
async fn both_give_the_same_vips() {
    let Some(etcd) = Etcd::or_skip().await else { return };
    let names: Vec<_> = (0..20).map(|n| registered(&format!("server-{n}"))).collect();
    let mesh = bowline_tests::Mesh::of(names);
    let first = control().mesh(mesh.clone()).arg("--store").arg(etcd.store());
    let second = control().mesh(mesh).arg("--store").arg(etcd.store());
    let second = second.arg("--vip-range").arg(first.vip_range()).without_range();
    let (first, second) = tokio::join!(first.start(), second.start());
    let vips = |page: serde_json::Value| {
        let services = page["services"].as_array().cloned().unwrap_or_default();
        services.iter().map(|service| service["vips"].clone()).collect::<Vec<_>>()
    };
    let (a, b) = (vips(first.page("/snapshot").await), vips(second.page("/snapshot").await));
    assert_eq!(a.len(), 20);
    assert_eq!(a, b);
}
