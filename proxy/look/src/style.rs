//! Colour, where somebody is looking and wants it.

use std::env;
use std::fmt;
use std::io::IsTerminal;

/// Whether and how text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// For a stream: only on a terminal that can, and not if `NO_COLOR` is set (<https://no-color.org>).
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { colour: stream.is_terminal() && !refused && !dumb }
    }

    /// Without colour.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    /// What a line is about.
    pub fn strong(self, text: impl fmt::Display) -> String {
        self.paint("1", text)
    }

    /// What is right.
    pub fn good(self, text: impl fmt::Display) -> String {
        self.paint("32", text)
    }

    /// What is wrong.
    pub fn bad(self, text: impl fmt::Display) -> String {
        self.paint("1;31", text)
    }

    /// What may become wrong.
    pub fn doubtful(self, text: impl fmt::Display) -> String {
        self.paint("33", text)
    }

    /// What is said beside.
    pub fn faint(self, text: impl fmt::Display) -> String {
        self.paint("2", text)
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_coloured(self) -> bool {
        self.colour
    }

    #[cfg(test)]
    pub(crate) fn coloured() -> Self {
        Self { colour: true }
    }

    fn paint(self, code: &str, text: impl fmt::Display) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}
