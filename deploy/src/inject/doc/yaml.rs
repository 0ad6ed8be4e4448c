//! YAML with places, by the events of saphyr-parser. Tags such as `!Ref` are kept, and nothing is resolved but aliases.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Content, Entry, Fault, Node, line_of};

/// How deep values may be nested.
const MAX_DEPTH: usize = 100;

/// Reads a YAML text of one document.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let places = Places::new(text);
    let mut builder = Builder { text, ..Builder::default() };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| Fault {
            line: error.marker().line().max(1),
            message: format!("not valid YAML: {}", error.info()),
        })?;
        let span = places.bytes(span);
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    let message = "a second document begins here: put it into a file of its own".to_owned();
                    return Err(Fault { line: line_of(text, span.start), message });
                }
            }
            Event::Alias(id) => {
                let target = builder.anchors.get(&id).cloned().ok_or_else(|| Fault {
                    line: line_of(text, span.start),
                    message: "this alias stands inside the value it repeats".to_owned(),
                })?;
                builder.put(Node { span, tag: None, flow: true, content: Content::Alias(target) }, 0)?;
            }
            Event::Scalar(value, style, anchor, tag) => {
                let span = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => block_scalar(text, span),
                    ScalarStyle::SingleQuoted => quoted_scalar(text, span, b'\''),
                    ScalarStyle::DoubleQuoted => quoted_scalar(text, span, b'"'),
                    ScalarStyle::Plain => span,
                };
                let plain = style == ScalarStyle::Plain;
                let flow = !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let content = Content::Scalar { text: value.into_owned(), plain };
                builder.put(Node { span, tag: name(tag.as_deref()), flow, content }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                let (span, flow) = opening(text, span, b'[');
                let content = Content::List(Vec::new());
                builder.open(Node { span, tag: name(tag.as_deref()), flow, content }, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                let (span, flow) = opening(text, span, b'{');
                let content = Content::Map(Vec::new());
                builder.open(Node { span, tag: name(tag.as_deref()), flow, content }, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(span.start)?,
        }
    }
    builder.root.ok_or_else(|| Fault { line: 1, message: "the file is empty".to_owned() })
}

fn name(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| !tag.is_yaml_core_schema()).map(|tag| format!("{}{}", tag.handle, tag.suffix))
}

/// The parser counts characters; the text is cut by bytes.
struct Places {
    /// The byte offset of each character, and of the end; empty where both are the same.
    bytes: Vec<usize>,
}

impl Places {
    fn new(text: &str) -> Self {
        let mut bytes = Vec::new();
        if !text.is_ascii() {
            bytes.extend(text.char_indices().map(|(offset, _)| offset));
            bytes.push(text.len());
        }
        Self { bytes }
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let byte = |index: usize| match self.bytes.last() {
            None => index,
            Some(end) => self.bytes.get(index).copied().unwrap_or(*end),
        };
        byte(span.start.index())..byte(span.end.index())
    }
}

/// A block scalar's span goes on to the next value; what counts ends with its last line, unless it says (`|+`) that the
/// empty lines after it belong to it.
fn block_scalar(text: &str, span: Range<usize>) -> Range<usize> {
    let before = &text[..span.start];
    let header = before.rfind(['|', '>']).map_or("", |at| &before[at..]);
    let header = header.lines().next().unwrap_or_default();
    let body = &text[span.clone()];
    let length = if header.contains('+') {
        body.rfind('\n').map_or(body.len(), |at| body[..at].trim_end_matches('\r').len())
    } else {
        body.trim_end().len()
    };
    span.start..span.start + length
}

/// Where a list or mapping begins, and whether it is one in brackets: then with its bracket, behind tag and anchor.
fn opening(text: &str, span: Range<usize>, bracket: u8) -> (Range<usize>, bool) {
    let bytes = text.as_bytes();
    let mut at = span.start;
    loop {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_whitespace() && at < span.end => at += 1,
            Some(b'!' | b'&') if at < span.end => {
                while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                    at += 1;
                }
            }
            Some(byte) if *byte == bracket && at < span.end => return (at..span.end, true),
            _ => return (span, false),
        }
    }
}

/// The parser lets the span of a quoted scalar go on over the spaces and the comment behind it.
fn quoted_scalar(text: &str, span: Range<usize>, quote: u8) -> Range<usize> {
    let bytes = &text.as_bytes()[span.clone()];
    // A tag or an anchor may stand in front.
    let Some(open) = bytes.iter().position(|byte| *byte == quote) else { return span };
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' if quote == b'"' => at += 2,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            byte if byte == quote => return span.start..span.start + at + 1,
            _ => at += 1,
        }
    }
    span
}

/// A list or mapping that is open.
struct Open {
    node: Node,
    anchor: usize,
    /// In a mapping: the key that waits for its value.
    key: Option<(String, Range<usize>)>,
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Node>,
}

impl Builder<'_> {
    fn fault(&self, at: usize, message: &str) -> Fault {
        Fault { line: line_of(self.text, at), message: message.to_owned() }
    }

    fn open(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if let Some(Open { node: Node { content: Content::Map(_), .. }, key: None, .. }) = self.stack.last() {
            return Err(self.fault(node.span.start, "a key must be a word, not a list or a mapping"));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.fault(node.span.start, "nested too deep"));
        }
        self.stack.push(Open { node, anchor, key: None });
        Ok(())
    }

    fn close(&mut self, at: usize) -> Result<(), Fault> {
        let Some(Open { mut node, anchor, .. }) = self.stack.pop() else { return Ok(()) };
        node.span.end = if node.flow { at + 1 } else { at };
        self.put(node, anchor)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::new(node.clone()));
        }
        let text = self.text;
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open { node: Node { content: Content::List(elements), .. }, .. }) => elements.push(node),
            Some(Open { node: Node { content: Content::Map(entries), .. }, key, .. }) => match key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => {
                    let Content::Scalar { text, .. } = node.content else {
                        let message = "a key must be a word, not a list or a mapping".to_owned();
                        return Err(Fault { line: line_of(text, node.span.start), message });
                    };
                    *key = Some((text, node.span));
                }
            },
            Some(_) => {}
        }
        Ok(())
    }
}
