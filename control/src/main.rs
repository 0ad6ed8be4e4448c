//! The `bowline-control` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_control::app::main(std::env::args_os())
}

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
