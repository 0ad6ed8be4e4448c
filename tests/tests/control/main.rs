//! The control plane with its clients: real processes, real sockets.
#![allow(missing_docs)]

mod cli;
mod holdback;
mod hostile;
mod outage;
mod pages;
mod picture;
mod registration;
mod routes;
mod safety;
mod stores;
mod zone;

use bowline_tests::{Control, Proxy, control, proxy, service};
use serde_json::json;

/// The programs, built by cargo before these tests.
const PROXY: &str = env!("CARGO_BIN_EXE_bowline-proxy-under-test");
const CONTROL: &str = env!("CARGO_BIN_EXE_bowline-control-under-test");
const BACKEND: &str = env!("CARGO_BIN_EXE_bowline-test-backend");

/// A control plane that is to be started.
fn control() -> control::Builder {
    control::Builder::new(CONTROL)
}

/// A proxy that is to be started on these control planes.
fn client(controls: &[&Control]) -> proxy::Builder {
    let urls: Vec<String> = controls.iter().map(|control| control.url()).collect();
    proxy::Builder::new(PROXY).control(&urls)
}

/// A service whose tasks register themselves.
fn registered(name: &str) -> bowline_tests::mesh::Service {
    service(name).with("endpoints", json!({ "registered": {} }))
}

/// Waits until a client has the mesh from the control plane.
async fn has_mesh(proxy: &Proxy) {
    bowline_tests::eventually("the proxy has a pushed mesh", async || {
        (proxy.page("/config").await["controlPlane"]["meshFrom"] == "control").then_some(())
    })
    .await;
}
