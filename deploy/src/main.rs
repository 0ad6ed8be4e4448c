//! `bowline`, the operator's command line.

mod check;
mod cli;
mod style;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Command};

/// Done.
const DONE: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// Wrong usage, or a wrong mesh file. clap exits with this one too.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = std::io::stdout().lock();
    let mut err = std::io::stderr().lock();
    let outcome = match &cli.command {
        Command::Check(args) => check::run(args, &mut out, &mut err),
        Command::Schema => cli::schema(&mut out),
    };
    ExitCode::from(outcome.unwrap_or_else(|error| {
        // A reader that has gone, as in `bowline check . | head -1`, is no failure worth words.
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("bowline: can't write: {error}");
        }
        FAILED
    }))
}
