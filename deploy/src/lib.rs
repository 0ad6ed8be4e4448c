//! `bowline`, the operator's command line.

mod check;
mod cli;
mod diff;
mod import;
mod inject;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Command};

/// Done.
const DONE: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// Wrong usage, or a wrong mesh file. clap exits with this one too.
const WRONG: u8 = 2;
/// `bowline diff --exit-code`: something would change; `bowline import --strict`: something was listed.
const DIFFERENT: u8 = 3;

/// The program: `args` begin with its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG } else { DONE });
        }
    };
    let mut out = std::io::stdout().lock();
    let mut err = std::io::stderr().lock();
    let outcome = match &cli.command {
        Command::Check(args) => check::run(args, &mut out, &mut err),
        Command::Schema => cli::schema(&mut out),
        Command::Diff(args) => diff::run(args, &mut out, &mut err),
        Command::Inject(args) => inject::run(args, &mut out, &mut err),
        Command::Import(args) => import::run(args, &mut out, &mut err),
        Command::Status(args) => status::run(args, &mut out),
        Command::Look(look) => bowline_look::run(look, &mut out, &mut err),
    };
    ExitCode::from(outcome.unwrap_or_else(|error| {
        // A reader that has gone, as in `bowline check . | head -1`, is no failure worth words.
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("bowline: can't write: {error}");
        }
        FAILED
    }))
}
