//! Where an outcome goes: a terminal, which has a size, or something else.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// A terminal that doesn't tell its size is taken for one of this many columns …
const COLUMNS: usize = 80;
/// … and rows.
const ROWS: usize = 24;

/// What can be written to, and be a terminal: stdout and stderr.
pub trait Stream: Write + IsTerminal + AsFd {}

impl<T: Write + IsTerminal + AsFd> Stream for T {}

/// How much a terminal shows, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Across.
    pub columns: usize,
    /// Down.
    pub rows: usize,
}

impl Size {
    /// Of a terminal; `None`: it is none.
    pub fn of(stream: &impl Stream) -> Option<Self> {
        if !stream.is_terminal() {
            return None;
        }
        let size = tcgetwinsize(stream).ok();
        let known = |n: fn(&rustix::termios::Winsize) -> u16, else_: usize| {
            size.as_ref().map(n).filter(|n| *n > 0).map_or(else_, usize::from)
        };
        Some(Size { columns: known(|size| size.ws_col, COLUMNS), rows: known(|size| size.ws_row, ROWS) })
    }
}
