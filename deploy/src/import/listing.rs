//! What is said beside the mesh file: everything that did not get into it as it was.

use std::io::{self, Write};
use std::rc::Rc;

use bowline_look::style::Style;
use bowline_look::words::{count, plain};

/// Where something stands: file, line, resource, key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, as it was named to us.
    pub(crate) file: Rc<str>,
    /// The line, counted from 1; 0: the file as a whole.
    pub(crate) line: usize,
    /// A logical id, or kind and name; empty: none.
    pub(crate) resource: Rc<str>,
    /// The way to the value inside of the resource; empty: the resource as a whole.
    pub(crate) key: String,
}

impl Place {
    /// A file as a whole.
    pub(crate) fn file(name: &Rc<str>) -> Self {
        Self { file: name.clone(), line: 0, resource: "".into(), key: String::new() }
    }

    /// `file:line`.
    pub(crate) fn in_file(&self) -> String {
        if self.line == 0 { self.file.to_string() } else { format!("{}:{}", self.file, self.line) }
    }

    fn text(&self) -> String {
        let mut text = format!("{}: ", plain(&self.in_file()));
        for part in [&*self.resource, &self.key] {
            if !part.is_empty() {
                text.push_str(&plain(part));
                text.push_str(": ");
            }
        }
        text
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// It can't be imported at all.
    Refused,
    /// Something is not in the mesh file as it was: counts for `--strict`.
    Listed,
    /// Good to know.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    weight: Weight,
    place: Place,
    message: String,
}

/// Everything there is to say.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    findings: Vec<Finding>,
    /// In the order in which they were named.
    files: Vec<Rc<str>>,
}

impl Listing {
    /// The files, in the order in which what is about them is to be written.
    pub(crate) fn files(&mut self, files: impl IntoIterator<Item = Rc<str>>) {
        self.files = files.into_iter().collect();
    }

    /// It can't be done, and no mesh file is written.
    pub(crate) fn refuse(&mut self, place: Place, message: impl Into<String>) {
        self.push(Weight::Refused, place, message.into());
    }

    /// This did not get into the mesh file as it was.
    pub(crate) fn list(&mut self, place: Place, message: impl Into<String>) {
        self.push(Weight::Listed, place, message.into());
    }

    /// This is good to know, and nothing is lost.
    pub(crate) fn note(&mut self, place: Place, message: impl Into<String>) {
        self.push(Weight::Note, place, message.into());
    }

    // A node that several services share is told of once.
    fn push(&mut self, weight: Weight, place: Place, message: String) {
        let finding = Finding { weight, place, message };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn number(&self, weight: Weight) -> usize {
        self.findings.iter().filter(|finding| finding.weight == weight).count()
    }

    /// Whether it can't be done.
    pub(crate) fn is_refused(&self) -> bool {
        self.number(Weight::Refused) > 0
    }

    /// How many things did not get into the mesh file as they were.
    pub(crate) fn listed(&self) -> usize {
        self.number(Weight::Listed)
    }

    /// Writes all of it, one line each: file by file in the order in which they were named, by line.
    pub(crate) fn write(&self, services: usize, style: Style, err: &mut impl Write) -> io::Result<()> {
        let order = |finding: &&Finding| {
            let file = self.files.iter().position(|name| *name == finding.place.file);
            (file, finding.place.line)
        };
        let refused = self.is_refused();
        // Where nothing is written, what would have been lost is of no interest.
        let mut findings: Vec<&Finding> =
            self.findings.iter().filter(|finding| !refused || finding.weight == Weight::Refused).collect();
        findings.sort_by_key(order);
        for finding in findings {
            let place = style.strong(finding.place.text());
            let word = if finding.weight == Weight::Note { style.faint("note: ") } else { String::new() };
            writeln!(err, "{place}{word}{}", plain(&finding.message))?;
        }
        if refused {
            return writeln!(err, "{}", style.bad("nothing is imported"));
        }
        let services = count(services, "service", "services");
        match self.listed() {
            0 => writeln!(err, "{}", style.good(format!("{services} imported, nothing is lost"))),
            listed => {
                let lines = count(listed, "thing is", "things are");
                writeln!(err, "{services} imported; {lines} not in the mesh file as before, see above")
            }
        }
    }
}
