//! Looking at a proxy that runs: `endpoints`, `explain`, `top` and `tap`, the same in `bowline` and in `bowline-proxy`. What
//! other commands of `bowline` use of it (asking admin pages, tables, colours, words) is here as well.
//!
//! Each command has a pure core, which turns what a page says into lines, and a thin run around it.

pub mod args;
pub mod ask;
mod endpoints;
mod explain;
mod signals;
pub mod style;
pub mod table;
mod tap;
pub mod terminal;
mod top;
mod trouble;
pub mod words;

use std::io;

use self::args::Look;
use self::terminal::Stream;

/// Done.
const DONE: u8 = 0;
/// It failed.
const FAILED: u8 = 1;
/// Wrong usage.
const WRONG: u8 = 2;

/// Does what is asked, and gives the exit code.
///
/// # Errors
/// The outcome can't be written. That nobody reads it any more is none: a pipe that is closed ends it well.
pub fn run(look: &Look, out: &mut impl Stream, err: &mut impl Stream) -> io::Result<u8> {
    let outcome = match look {
        Look::Endpoints(args) => endpoints::run(args, out, err),
        Look::Explain(args) => explain::run(args, out, err),
        Look::Top(args) => top::run(args, out, err),
        Look::Tap(args) => tap::run(args, out, err),
    };
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(DONE),
        outcome => outcome,
    }
}
