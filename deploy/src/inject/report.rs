//! What is said beside the changed file: refusals, which stop it, and notes, which don't.

use std::io::{self, Write};

use bowline_look::style::Style;
use bowline_look::words::count;
use similar::TextDiff;

use super::doc::Fault;

/// Something to say, and the line it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Counted from 1; 0: about the file as a whole, or about the flags.
    line: usize,
    message: String,
    help: Option<String>,
}

/// Everything there is to say about one file.
#[derive(Debug, Default)]
pub(crate) struct Report {
    file: String,
    /// The text as it was given.
    given: String,
    /// For each line of the text that is being looked at, the one in the given text; empty if it is the same text.
    lines: Vec<usize>,
    refusals: Vec<Finding>,
    notes: Vec<Finding>,
}

impl Report {
    /// Nothing yet. `file`: as it is named to the user.
    pub(crate) fn new(file: String) -> Self {
        Self { file, ..Self::default() }
    }

    /// This is the text that the user has.
    pub(crate) fn given(&mut self, text: &str) {
        text.clone_into(&mut self.given);
    }

    /// From here on lines are those of this text, which has been changed already. What is said names the user's.
    pub(crate) fn reading(&mut self, text: &str) {
        self.lines.clear();
        if text == self.given {
            return;
        }
        let diff = TextDiff::from_lines(self.given.as_str(), text);
        // A line that is new is named by the one of the user's before it.
        let mut near = 1;
        for change in diff.iter_all_changes() {
            near = change.old_index().map_or(near, |index| index + 1);
            if change.new_index().is_some() {
                self.lines.push(near);
            }
        }
    }

    fn line(&self, line: usize) -> usize {
        let changed = line.checked_sub(1).and_then(|index| self.lines.get(index));
        changed.copied().unwrap_or(line)
    }

    /// This can't be done; `help`: what to change.
    pub(crate) fn refuse(&mut self, line: usize, message: impl Into<String>, help: impl Into<String>) {
        let finding = Finding { line: self.line(line), message: message.into(), help: Some(help.into()) };
        if !self.refusals.contains(&finding) {
            self.refusals.push(finding);
        }
    }

    /// This can't be read or changed.
    pub(crate) fn fault(&mut self, fault: Fault) {
        let line = self.line(fault.line);
        self.refusals.push(Finding { line, message: fault.message, help: None });
    }

    /// It is done, and somebody should know this.
    pub(crate) fn note(&mut self, line: usize, message: impl Into<String>) {
        let finding = Finding { line: self.line(line), message: message.into(), help: None };
        if !self.notes.contains(&finding) {
            self.notes.push(finding);
        }
    }

    /// Whether anything can't be done.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refusals.is_empty()
    }

    /// Writes all of it, by line.
    pub(crate) fn write(&self, style: Style, err: &mut impl Write) -> io::Result<()> {
        // Notes tell what was done, and nothing was where something is refused.
        let (findings, word) = if self.is_refused() { (&self.refusals, "") } else { (&self.notes, "note: ") };
        let mut findings: Vec<&Finding> = findings.iter().collect();
        findings.sort_by_key(|finding| finding.line);
        for finding in findings {
            let place = match finding.line {
                0 => format!("{}: ", self.file),
                line => format!("{}:{line}: ", self.file),
            };
            writeln!(err, "{}{}{}", style.strong(place), style.faint(word), finding.message)?;
            if let Some(help) = &finding.help {
                writeln!(err, "{}", style.faint(format!("    help: {help}")))?;
            }
        }
        if self.is_refused() {
            let refused = count(self.refusals.len(), "refusal", "refusals");
            writeln!(err, "{}", style.bad(format!("{refused}, nothing is changed")))?;
        }
        Ok(())
    }
}
