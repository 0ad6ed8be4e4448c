//! YAML text (and so JSON) to a tree, with bounds on everything a file can do to us.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::tree::{Content, Entry, Node, Position, leading_zero};
use super::words::{clip, quoted};

/// How deep mappings and sequences may nest. The model needs about ten levels; recursion over a tree relies on it.
pub(super) const MAX_DEPTH: usize = 64;
/// How many values a file may hold once its aliases are written out. Three hundred services of a hundred endpoints each
/// have about a third of this.
pub(super) const MAX_NODES: usize = 1_000_000;

/// Something wrong with the text itself.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Position,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// What was read: the tree, unless reading had to stop, and the faults found on the way.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) root: Option<Node>,
    pub(super) faults: Vec<Fault>,
}

/// Reads one document.
pub(super) fn read(text: &str) -> Reading {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reading = Reading::default();
    if let Some(fault) = control_character(text) {
        reading.faults.push(fault);
        return reading;
    }
    let mut builder = Builder::default();
    match builder.build(text) {
        Ok(root) => reading.root = root,
        Err(fault) => builder.faults.push(fault),
    }
    reading.faults = builder.faults;
    reading
}

/// YAML allows no control characters, and the parser takes NUL for the end: what follows would be ignored in silence.
fn control_character(text: &str) -> Option<Fault> {
    let bad = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{feff}';
    let offset = text.find(bad)?;
    let at = position_at(text, offset);
    let c = text[offset..].chars().next()?;
    Some(
        Fault::new(at, format!("the control character U+{:04X} is not allowed", u32::from(c)))
            .help("save the file as plain UTF-8 text"),
    )
}

/// The position of a byte offset.
pub(super) fn position_at(text: &str, offset: usize) -> Position {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Position {
        line: before.bytes().filter(|b| *b == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// A collection that is still open.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping: the key that waits for its value.
    key: Option<Key>,
    /// In a mapping: where each key stood first.
    seen: HashMap<String, Position>,
    /// Values so far, this collection included.
    size: usize,
    /// Levels below, this collection included.
    height: usize,
}

struct Key {
    text: String,
    at: Position,
    /// A key that was refused: its value is read, and dropped.
    refused: bool,
}

/// A finished value with what it takes to write it out again.
#[derive(Clone)]
struct Finished {
    node: Node,
    size: usize,
    height: usize,
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Finished>,
    nodes: usize,
    faults: Vec<Fault>,
}

impl Builder {
    /// Reads the events of the one document. `Err` is where reading can't go on.
    fn build(&mut self, text: &str) -> Result<Option<Node>, Fault> {
        let mut root = None;
        let mut documents = 0;
        let mut parser = Parser::new_from_str(text);
        loop {
            let (event, span) = match parser.next_event() {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Err(syntax_fault(text, *error.marker(), error.info())),
                None => break,
            };
            let at = position(span);
            let value = match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => None,
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Fault::new(
                            at,
                            "a second document begins here; a mesh file is one document",
                        )
                        .help("put each document into a file of its own, and all of them into one folder"));
                    }
                    None
                }
                Event::Alias(id) => Some(self.alias(id, at)?),
                Event::Scalar(value, style, anchor, tag) => {
                    let tag = tag.as_deref().map(tag_name);
                    self.check_tag(tag.as_deref(), at);
                    let plain = style == ScalarStyle::Plain && tag.as_deref() != Some("!!str");
                    if plain && leading_zero(&value) && !self.expects_key() {
                        self.faults.push(ambiguous_number(at, &value));
                    }
                    self.count(1, at)?;
                    let node = Node { at, content: Content::Scalar { text: value.into_owned(), plain } };
                    let finished = Finished { node, size: 1, height: 0 };
                    self.remember(anchor, &finished)?;
                    Some(finished)
                }
                Event::SequenceStart(anchor, tag) => {
                    self.check_tag(tag.as_deref().map(tag_name).as_deref(), at);
                    self.open(Content::Sequence(Vec::new()), anchor, at)?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.check_tag(tag.as_deref().map(tag_name).as_deref(), at);
                    self.open(Content::Mapping(Vec::new()), anchor, at)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
            };
            if let Some(value) = value
                && let Some(finished) = self.put(value)?
            {
                root = Some(finished);
            }
        }
        Ok(root)
    }

    /// Whether the next value is a key of a mapping.
    fn expects_key(&self) -> bool {
        self.stack
            .last()
            .is_some_and(|open| open.key.is_none() && matches!(open.node.content, Content::Mapping(_)))
    }

    fn open(&mut self, content: Content, anchor: usize, at: Position) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(Fault::new(at, "a key must be a word, not a list or a mapping"));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(1, at)?;
        let node = Node { at, content };
        self.stack.push(Open { node, anchor, key: None, seen: HashMap::new(), size: 1, height: 1 });
        Ok(())
    }

    fn close(&mut self) -> Result<Option<Finished>, Fault> {
        let Some(open) = self.stack.pop() else { return Ok(None) };
        let finished = Finished { node: open.node, size: open.size, height: open.height };
        self.remember(open.anchor, &finished)?;
        Ok(Some(finished))
    }

    /// Counts values, and stops at the bound: before a copy is made, since a few lines of nested aliases can stand for
    /// billions of values.
    fn count(&mut self, values: usize, at: Position) -> Result<(), Fault> {
        self.nodes += values;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(at, format!("more than {MAX_NODES} values, aliases written out")));
        }
        Ok(())
    }

    /// Hands a finished value to the collection it is in; gives it back if it is the root.
    fn put(&mut self, value: Finished) -> Result<Option<Node>, Fault> {
        let expects_key = self.expects_key();
        let Some(open) = self.stack.last_mut() else { return Ok(Some(value.node)) };
        open.size += value.size;
        open.height = open.height.max(value.height + 1);
        match &mut open.node.content {
            Content::Sequence(elements) => elements.push(value.node),
            Content::Mapping(_) if expects_key => {
                let at = value.node.at;
                let Content::Scalar { text, plain } = value.node.content else {
                    return Err(Fault::new(at, "a key must be a word, not a list or a mapping"));
                };
                let refused =
                    if plain && text == "<<" {
                        self.faults.push(Fault::new(at, "merge keys (<<) are not supported").help(
                            "they are not part of YAML 1.2: write the keys out, or alias a whole value",
                        ));
                        true
                    } else if let Some(first) = open.seen.get(&text) {
                        self.faults.push(Fault::new(
                            at,
                            format!("duplicate key {}; it is on line {} already", quoted(&text), first.line),
                        ));
                        true
                    } else {
                        open.seen.insert(text.clone(), at);
                        false
                    };
                open.key = Some(Key { text, at, refused });
            }
            Content::Mapping(entries) => {
                if let Some(key) = open.key.take()
                    && !key.refused
                {
                    entries.push(Entry { key: key.text, key_at: key.at, value: value.node });
                }
            }
            Content::Scalar { .. } => {}
        }
        Ok(None)
    }

    /// Keeps what an anchor marks; the copy counts, because anchors inside anchors multiply.
    fn remember(&mut self, anchor: usize, finished: &Finished) -> Result<(), Fault> {
        if anchor > 0 {
            self.count(finished.size, finished.node.at)?;
            self.anchors.insert(anchor, finished.clone());
        }
        Ok(())
    }

    /// A copy of the value behind an anchor, which is where its problems are reported.
    fn alias(&mut self, id: usize, at: Position) -> Result<Finished, Fault> {
        let measure = self.anchors.get(&id).map(|finished| (finished.size, finished.height));
        let (size, height) =
            measure.ok_or_else(|| Fault::new(at, "this alias stands inside the value it repeats"))?;
        if self.stack.len() + height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.count(size, at)?;
        Ok(self.anchors[&id].clone())
    }

    fn check_tag(&mut self, tag: Option<&str>, at: Position) {
        let known = ["!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq"];
        if let Some(tag) = tag
            && !known.contains(&tag)
        {
            self.faults.push(Fault::new(at, format!("the tag {} means nothing in a mesh file", quoted(tag))));
        }
    }
}

fn position(span: Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn tag_name(tag: &saphyr_parser::Tag) -> String {
    if tag.is_yaml_core_schema() {
        return format!("!!{}", tag.suffix);
    }
    format!("{}{}", tag.handle, tag.suffix)
}

fn too_deep(at: Position) -> Fault {
    Fault::new(at, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn ambiguous_number(at: Position, text: &str) -> Fault {
    Fault::new(
        at,
        format!("{} has a leading zero: some readers take it for octal, others for decimal", clip(text)),
    )
    .help("write the number without the zero, or a text in quotes")
}

/// The parser's own words, and the usual cause where it can be told.
fn syntax_fault(text: &str, marker: Marker, info: &str) -> Fault {
    let at = Position { line: marker.line().max(1), column: marker.col() + 1 };
    if info == "recursion limit exceeded" {
        return too_deep(at);
    }
    let fault = Fault::new(at, format!("not valid YAML: {info}"));
    let indent = |line: &str| line.len() - line.trim_start().len();
    // The parser may have gone on to the next line before it noticed.
    let tab = (at.line.saturating_sub(1)..=at.line)
        .filter(|line| *line > 0)
        .find(|line| text.lines().nth(line - 1).is_some_and(|l| l[..indent(l)].contains('\t')));
    match tab {
        Some(line) => fault.help(format!("line {line} is indented with a tab; YAML allows spaces only")),
        None => fault,
    }
}
