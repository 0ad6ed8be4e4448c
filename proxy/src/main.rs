//! The `bowline-proxy` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_proxy::app::main(std::env::args_os())
}

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: bowline_proxy::Allocator = bowline_proxy::Allocator;
