//! The proxy as the tests start it: the same as `bowline-proxy`, built as part of this crate so that cargo has it ready.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_proxy::app::main(std::env::args_os())
}
