//! JSON with places. serde_json says what is wrong with a text; what it lets pass is read here once more, for the places.

use serde::de::IgnoredAny;

use super::{Content, Entry, Fault, Node};

/// Reads a JSON text.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    serde_json::from_str::<IgnoredAny>(&text[start..]).map_err(|error| {
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        Fault { line: error.line(), message: format!("not valid JSON: {message}") }
    })?;
    let mut reader = Reader { text, at: start };
    reader.value().ok_or_else(|| Fault { line: 1, message: "not valid JSON".to_owned() })
}

/// Goes through a text that is known to be JSON, and at most 128 levels deep. `None` is never met.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn value(&mut self) -> Option<Node> {
        let first = self.peek()?;
        let start = self.at;
        let content = match first {
            b'{' => self.map()?,
            b'[' => self.list()?,
            b'"' => Content::Scalar { text: self.string()?, plain: false },
            _ => {
                let rest = &self.text[start..];
                let length = rest
                    .find(|c: char| c == ',' || c == ']' || c == '}' || c.is_ascii_whitespace())
                    .unwrap_or(rest.len());
                self.at += length;
                Content::Scalar { text: rest[..length].to_owned(), plain: true }
            }
        };
        Some(Node { span: start..self.at, tag: None, flow: true, content })
    }

    fn list(&mut self) -> Option<Content> {
        self.at += 1;
        let mut elements = Vec::new();
        loop {
            match self.peek()? {
                b']' => break,
                b',' => self.at += 1,
                _ => elements.push(self.value()?),
            }
        }
        self.at += 1;
        Some(Content::List(elements))
    }

    fn map(&mut self) -> Option<Content> {
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            match self.peek()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let start = self.at;
                    let key = self.string()?;
                    let key_span = start..self.at;
                    if self.peek()? != b':' {
                        return None;
                    }
                    self.at += 1;
                    entries.push(Entry { key, key_span, value: self.value()? });
                }
            }
        }
        self.at += 1;
        Some(Content::Map(entries))
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            match bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(&self.text[start..self.at]).ok()
    }
}
