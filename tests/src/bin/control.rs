//! The control plane as the tests start it: the same as `bowline-control`, built as part of this crate so that cargo has
//! it ready.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_control::app::main(std::env::args_os())
}
