//! The demo: a mesh on one machine, under load, with one fault after the other, for a person to watch.
//!
//! One program plays all parts. Called by a person it is the demo; called by itself, with a hidden first argument, it
//! is the proxy (exactly what `bowline-proxy` is) or one endpoint of a service. So one command builds everything, and
//! each part is still a process of its own that can be killed.

mod endpoint;
mod grpc;
mod load;
mod look;
mod mesh;
mod options;
mod role;
mod script;
mod show;
mod stage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let _name = args.next();
    let rest: Vec<OsString> = args.collect();
    if let Some((role, rest)) = role::Role::of(&rest) {
        return role.play(rest);
    }
    let options = options::Options::parse();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(show::run(&options)),
        Err(error) => {
            eprintln!("bowline-examples: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The demo's proxy is this program too: it gets what bowline-proxy has.
#[global_allocator]
static ALLOCATOR: bowline_proxy::Allocator = bowline_proxy::Allocator;
