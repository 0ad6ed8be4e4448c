//! The `bowline` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline::main(std::env::args_os())
}
