//! The change as a unified diff.

use std::io::{self, Write};

use bowline_look::style::Style;
use similar::{ChangeTag, TextDiff};

/// Lines that are shown around each change.
const CONTEXT: usize = 3;

/// Writes what changes, as `diff -u` does; nothing if nothing does.
pub(crate) fn write(name: &str, old: &str, new: &str, style: Style, out: &mut impl Write) -> io::Result<()> {
    let diff = TextDiff::from_lines(old, new);
    let mut unified = diff.unified_diff();
    let hunks = unified.context_radius(CONTEXT);
    let mut first = true;
    for hunk in hunks.iter_hunks() {
        if first {
            writeln!(
                out,
                "{}\n{}",
                style.strong(format!("--- {name}")),
                style.strong(format!("+++ {name}"))
            )?;
            first = false;
        }
        writeln!(out, "{}", style.faint(hunk.header()))?;
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches(['\r', '\n']);
            match change.tag() {
                ChangeTag::Equal => writeln!(out, " {line}")?,
                ChangeTag::Delete => writeln!(out, "{}", style.bad(format!("-{line}")))?,
                ChangeTag::Insert => writeln!(out, "{}", style.good(format!("+{line}")))?,
            }
            if change.missing_newline() {
                writeln!(out, "\\ No newline at end of file")?;
            }
        }
    }
    Ok(())
}
