//! The end to end tests: the real proxy, real sockets. One program, because linking one is faster than linking ten.
#![allow(missing_docs)]

mod acceptance;
mod access;
mod access_log;
mod admin;
mod balancing;
mod bodies;
mod bridges;
mod bypass;
mod connect;
mod descriptors;
mod dns;
mod faults;
mod floods;
mod grpc;
mod guards;
mod headers;
mod health;
mod health_flapping;
mod hostile;
mod inbound;
mod ingress;
mod interop;
mod life;
mod limits;
mod limits_connections;
mod log_fields;
mod look;
mod metrics;
mod names;
mod overload;
mod redirect;
mod redirect_rules;
mod reload;
mod retry;
mod retry_h2;
mod routes;
mod routes_change;
mod routes_trouble;
mod spread;
mod stalls;
mod sticky;
mod tcp;
mod timeouts;
mod upgrade;
mod way_in;

use bowline_tests::proxy::Builder;

/// The proxy's program, built by cargo before these tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_bowline-proxy-under-test");
/// A backend in a process of its own.
const BACKEND: &str = env!("CARGO_BIN_EXE_bowline-test-backend");

/// A proxy that is to be started.
fn proxy() -> Builder {
    Builder::new(PROGRAM)
}
