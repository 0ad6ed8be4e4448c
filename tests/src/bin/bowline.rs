//! The operator's command line as the tests start it: the same as `bowline`, built as part of this crate so that cargo has it
//! ready.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline::main(std::env::args_os())
}
