//! Changing a text in place.

use std::ops::Range;

use super::render::{self, Indent, LineStyle};
use super::{Content, Doc, Fault, Node, Out, Path, Step, Syntax};

/// What may stand on one line in JSON, beside others that do.
const SHORT_LINE: usize = 100;

impl Doc {
    /// Adds an element at the end of a list.
    ///
    /// # Errors
    /// There is no list in this place, or it is written in a way that can't be added to.
    pub(crate) fn push(&mut self, list: &Path, value: &Out) -> Result<(), Fault> {
        let node = self.changeable(list)?;
        let Content::List(elements) = &node.content else {
            return Err(self.stuck(node, "is not a list"));
        };
        if node.flow {
            let children: Vec<Range<usize>> = elements.iter().map(|element| element.span.clone()).collect();
            return self.add_to_flow(node.span.clone(), &children, &|doc, indent| match indent {
                Some(indent) => render::pretty(value, indent, &doc.unit(), doc.newline()),
                None => render::flow(value, doc.line_style()),
            });
        }
        let (Some(first), Some(last)) = (elements.first(), elements.last()) else {
            return Err(self.stuck(node, "is written in a way that can't be added to"));
        };
        let dash = self.dash(first).unwrap_or(node.span.start);
        let lines = render::block_element(value, self.column(dash), self.indent());
        let at = self.line_end(self.content_end(last));
        self.insert_lines(at, &lines)
    }

    /// Adds an entry at the end of a mapping.
    ///
    /// # Errors
    /// There is no mapping in this place, or it is written in a way that can't be added to.
    pub(crate) fn insert(&mut self, map: &Path, key: &str, value: &Out) -> Result<(), Fault> {
        let node = self.changeable(map)?;
        let Content::Map(entries) = &node.content else {
            return Err(self.stuck(node, "is not a mapping"));
        };
        if node.own(key).is_none() && node.get(key).is_some() {
            let why =
                format!("gets {key} by a merge key (<<), which a {key} of its own would hide: write it out");
            return Err(self.stuck(node, &why));
        }
        if node.flow {
            let children: Vec<Range<usize>> =
                entries.iter().map(|entry| entry.key_span.start..entry.value.span.end).collect();
            return self.add_to_flow(node.span.clone(), &children, &|doc, indent| match indent {
                Some(indent) => render::pretty_entry(key, value, indent, &doc.unit(), doc.newline()),
                None => render::entry(key, value, doc.line_style()),
            });
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(self.stuck(node, "is written in a way that can't be added to"));
        };
        let column = self.column(first.key_span.start);
        let lines = render::block_entry(key, value, column, self.indent());
        let at = self.line_end(self.content_end(&last.value).max(last.key_span.end));
        self.insert_lines(at, &lines)
    }

    /// Adds the entry that a way ends with. Like [`Doc::insert`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn insert_at(&mut self, entry: &Path, value: &Out) -> Result<(), Fault> {
        match entry.split() {
            Some((map, Step::Key(key))) => self.insert(&map, key, value),
            _ => Err(Fault { line: 1, message: format!("{entry} is no entry") }),
        }
    }

    /// Puts another value in the place of one that is written on one line, or in JSON.
    ///
    /// # Errors
    /// There is none, or it is a YAML value over several lines, or one that has no text at all.
    pub(crate) fn replace(&mut self, path: &Path, value: &Out) -> Result<(), Fault> {
        let node = self.target(path)?;
        let span = node.span.clone();
        if span.is_empty() {
            return Err(self.stuck(node, "is a key without a value: take it out"));
        }
        if self.syntax == Syntax::Yaml && (!node.flow || self.text[span.clone()].contains('\n')) {
            return Err(self.stuck(node, "can't be replaced"));
        }
        let text = match self.syntax {
            Syntax::Json if self.text.contains('\n') => {
                render::pretty(value, &self.margin(span.start), &self.unit(), self.newline())
            }
            _ => render::flow(value, self.line_style()),
        };
        self.splice(span, &text)
    }

    /// Takes an entry out of a mapping, or an element out of a list. `interior` is what stood between the brackets
    /// before anything was put in, where nothing else is left in them.
    ///
    /// # Errors
    /// There is no such value, or it can't be cut out.
    pub(crate) fn remove(&mut self, path: &Path, interior: &str) -> Result<(), Fault> {
        let lost = || Fault { line: 1, message: format!("{path} is not there") };
        let (parent, step) = path.split().ok_or_else(lost)?;
        let node = self.target(&parent)?;
        let spans: Vec<Range<usize>> = match &node.content {
            Content::List(elements) => {
                elements.iter().map(|element| element.span.start..self.content_end(element)).collect()
            }
            Content::Map(entries) => entries
                .iter()
                .map(|entry| entry.key_span.start..self.content_end(&entry.value).max(entry.key_span.end))
                .collect(),
            _ => return Err(lost()),
        };
        let index = match (step, &node.content) {
            (Step::Index(index), Content::List(_)) => *index,
            (Step::Key(key), Content::Map(entries)) => {
                entries.iter().position(|entry| entry.key == *key).ok_or_else(lost)?
            }
            _ => return Err(lost()),
        };
        let span = spans.get(index).cloned().ok_or_else(lost)?;
        if node.flow {
            let (cut, with) = match (index.checked_sub(1).and_then(|i| spans.get(i)), spans.get(index + 1)) {
                (Some(before), _) => (before.end..span.end, ""),
                (None, Some(after)) => (span.start..after.start, ""),
                (None, None) => (node.span.start + 1..node.span.end - 1, interior),
            };
            return self.splice(cut, with);
        }
        let line = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let before = self.text[line..span.start].trim_start();
        let whole = before.is_empty() || (matches!(step, Step::Index(_)) && before.trim_end() == "-");
        if !whole || spans.len() == 1 {
            return Err(self.stuck(node, "is written in a way that nothing can be cut out of"));
        }
        let end = self.line_end(span.end);
        let cut = match self.text[end..].find('\n') {
            Some(newline) => line..end + newline + 1,
            // The last line of a file that does not end it with a newline.
            None => self.text[..line].trim_end_matches('\n').trim_end_matches('\r').len()..end,
        };
        self.splice(cut, "")
    }

    /// What stands between the brackets of an empty list or mapping: mostly nothing.
    pub(crate) fn interior(&self, path: &Path) -> Option<&str> {
        let node = self.at(path)?;
        let empty = match &node.content {
            Content::List(elements) => elements.is_empty(),
            Content::Map(entries) => entries.is_empty(),
            _ => false,
        };
        empty.then(|| &self.text[node.span.start + 1..node.span.end - 1])
    }

    fn target(&self, path: &Path) -> Result<&Node, Fault> {
        let node = self.at(path).ok_or_else(|| Fault { line: 1, message: format!("{path} is not there") })?;
        if node.is_alias() {
            return Err(
                self.stuck(node, "is an alias, and what it stands for is used elsewhere too: write it out")
            );
        }
        Ok(node)
    }

    /// What is to be added to.
    fn changeable(&self, path: &Path) -> Result<&Node, Fault> {
        let node = self.target(path)?;
        match &node.tag {
            Some(tag) => Err(self.stuck(node, &format!("is computed by {tag}, and can't be added to"))),
            None => Ok(node),
        }
    }

    fn stuck(&self, node: &Node, why: &str) -> Fault {
        Fault { line: self.line(node.span.start), message: format!("what stands here {why}") }
    }

    /// Adds a child inside brackets, on a line of its own if the others are on lines of their own.
    fn add_to_flow(
        &mut self,
        span: Range<usize>,
        children: &[Range<usize>],
        write: &dyn Fn(&Doc, Option<&str>) -> String,
    ) -> Result<(), Fault> {
        let many_lines = self.syntax == Syntax::Json && self.text.trim_end().contains('\n');
        if let (Some(first), Some(last)) = (children.first(), children.last()) {
            let margin = self.margin(first.start);
            let own_line = margin.len() == self.column_bytes(first.start);
            // `[{`, and then many lines: the next one begins behind the brace that ends this one.
            let goes_on = self.text[last.clone()].contains('\n');
            let inner =
                Some(margin.as_str()).filter(|_| (own_line || goes_on) && self.syntax == Syntax::Json);
            // In a file that has mappings on one line, so does a short one beside others.
            let lines = !goes_on && (self.text.contains("{ \"") || self.text.contains("{\""));
            let short =
                Some(write(self, None)).filter(|text| inner.is_none() || (lines && text.len() <= SHORT_LINE));
            let text = short.unwrap_or_else(|| write(self, inner));
            let separator = match (own_line, self.is_tight()) {
                (true, _) => format!(",{}{margin}", self.newline()),
                (false, true) => ",".to_owned(),
                (false, false) => ", ".to_owned(),
            };
            return self.splice(last.end..last.end, &format!("{separator}{text}"));
        }
        let interior = span.start + 1..span.end - 1;
        if !many_lines {
            let text = write(self, None);
            return self.splice(interior, &text);
        }
        let outer = self.margin(span.start);
        let inner = format!("{outer}{}", self.unit());
        let newline = self.newline();
        let text = format!("{newline}{inner}{}{newline}{outer}", write(self, Some(&inner)));
        self.splice(interior, &text)
    }

    fn insert_lines(&mut self, at: usize, lines: &[String]) -> Result<(), Fault> {
        let newline = self.newline();
        let text: String = lines.iter().flat_map(|line| [newline, line.as_str()]).collect();
        self.splice(at..at, &text)
    }

    /// The one place where the text changes.
    fn splice(&mut self, span: Range<usize>, with: &str) -> Result<(), Fault> {
        let line = self.line(span.start);
        let mut text = self.text.clone();
        text.replace_range(span, with);
        *self = Doc::parse(text, self.syntax).map_err(|fault| Fault {
            line,
            message: format!("the text can't be changed here ({})", fault.message),
        })?;
        Ok(())
    }

    /// Where the last character of a value ends, without comments and empty lines after it.
    fn content_end(&self, node: &Node) -> usize {
        let last = match &node.content {
            Content::List(elements) if !node.flow => elements.last().map(|last| self.content_end(last)),
            Content::Map(entries) if !node.flow => {
                entries.last().map(|last| self.content_end(&last.value).max(last.key_span.end))
            }
            _ => None,
        };
        last.unwrap_or(node.span.end)
    }

    /// The end of the line of a place, without its newline.
    fn line_end(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        let length = rest.find('\n').unwrap_or(rest.len());
        at + rest[..length].trim_end_matches('\r').len()
    }

    /// The white space that the line of a place begins with.
    fn margin(&self, at: usize) -> String {
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        self.text[line..at].chars().take_while(|c| matches!(c, ' ' | '\t')).collect()
    }

    /// Bytes from the beginning of the line.
    fn column_bytes(&self, at: usize) -> usize {
        at - self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Characters from the beginning of the line.
    fn column(&self, at: usize) -> usize {
        self.text[at - self.column_bytes(at)..at].chars().count()
    }

    /// The dash that an element of a YAML list stands behind. One in a comment in between is none.
    fn dash(&self, element: &Node) -> Option<usize> {
        let mut end = element.span.start;
        loop {
            let dash = self.text[..end].rfind('-')?;
            let line = dash - self.column_bytes(dash);
            if self.text[line..dash].bytes().all(|byte| matches!(byte, b' ' | b'-')) {
                return Some(dash);
            }
            end = dash;
        }
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// How values on one line look in this file.
    fn line_style(&self) -> LineStyle {
        match self.syntax {
            Syntax::Yaml => LineStyle::Yaml,
            Syntax::Json if self.is_tight() => LineStyle::Tight,
            Syntax::Json if self.text.contains("{ \"") => LineStyle::Wide,
            Syntax::Json => LineStyle::Plain,
        }
    }

    /// Whether JSON is written without any spaces.
    fn is_tight(&self) -> bool {
        self.syntax == Syntax::Json && !self.text.contains(": ") && self.text.contains("\":")
    }

    /// What one level of JSON is indented by: as the first child of the outermost value is.
    fn unit(&self) -> String {
        let first = match &self.root.content {
            Content::List(elements) => elements.first().map(|element| element.span.start),
            Content::Map(entries) => entries.first().map(|entry| entry.key_span.start),
            _ => None,
        };
        let unit = first.map(|at| self.margin(at)).unwrap_or_default();
        let outer = self.margin(self.root.span.start);
        match unit.strip_prefix(&outer) {
            Some(unit) if !unit.is_empty() => unit.to_owned(),
            _ => "  ".to_owned(),
        }
    }

    /// How YAML blocks are indented: as the first ones in the file are.
    fn indent(&self) -> Indent {
        let mut found = (None, None);
        self.measure(&self.root, &mut found);
        let map = found.0.unwrap_or(2);
        Indent { map, list: found.1.unwrap_or(map) }
    }

    fn measure(&self, node: &Node, found: &mut (Option<usize>, Option<usize>)) {
        if node.flow || (found.0.is_some() && found.1.is_some()) {
            return;
        }
        match &node.content {
            Content::Map(entries) => {
                for entry in entries {
                    let outer = self.column(entry.key_span.start);
                    let (place, start) = match &entry.value {
                        Node { flow: false, content: Content::Map(inner), .. } => {
                            (&mut found.0, inner.first().map(|inner| inner.key_span.start))
                        }
                        Node { flow: false, content: Content::List(inner), .. } => {
                            (&mut found.1, inner.first().and_then(|inner| self.dash(inner)))
                        }
                        _ => continue,
                    };
                    if let (None, Some(start)) = (&*place, start) {
                        *place = self.column(start).checked_sub(outer);
                    }
                    self.measure(&entry.value, found);
                }
            }
            Content::List(elements) => elements.iter().for_each(|element| self.measure(element, found)),
            _ => {}
        }
    }
}
