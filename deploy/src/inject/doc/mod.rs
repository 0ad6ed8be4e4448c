//! A JSON or YAML file that is changed by putting text in and taking it out, never by writing it anew: comments, order,
//! tags, number formats and indentation of everything else stay as they are, byte for byte.
//!
//! After each change the text is read again, so positions are always those of the text as it is.

mod edit;
mod json;
mod out;
mod render;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

pub(crate) use self::out::Out;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// JSON.
    Json,
    /// YAML, one document.
    Yaml,
}

/// Something that can't be read, or not be changed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
}

/// A value with its place in the text.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// From its first byte to behind its last one. For YAML's indented lists and mappings only the start counts.
    span: Range<usize>,
    /// YAML's tag, as `!Ref`.
    tag: Option<String>,
    /// Whether a list or mapping is written in brackets; false for YAML's block scalars too.
    flow: bool,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// `plain`: without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A YAML alias, and what it stands for.
    Alias(Rc<Node>),
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    key_span: Range<usize>,
    value: Node,
}

impl Node {
    /// What it stands for, if it is an alias.
    fn resolved(&self) -> &Node {
        match &self.content {
            Content::Alias(node) => node.resolved(),
            _ => self,
        }
    }

    /// Whether it is written as an alias (`*name`): what it stands for can't be changed in this place.
    pub(crate) fn is_alias(&self) -> bool {
        matches!(self.content, Content::Alias(_))
    }

    /// The tag of a value that CloudFormation computes, or of whatever else.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.resolved().tag.as_deref()
    }

    /// Whether a function of a template computes it: `!If [...]`, or `{ "Fn::If": [...] }`.
    pub(crate) fn is_computed(&self) -> bool {
        let is_function = |key: &str| key.starts_with("Fn::") || key == "Ref";
        self.tag().is_some() || self.entries().any(|(key, _)| is_function(key))
    }

    /// Whether it is a mapping.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.resolved().content, Content::Map(_))
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.resolved().content, Content::List(_))
    }

    /// Whether it is nothing: null, or a YAML key without a value.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.resolved().content, Content::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The elements of a list; none if it is something else.
    pub(crate) fn elements(&self) -> &[Node] {
        match &self.resolved().content {
            Content::List(elements) => elements,
            _ => &[],
        }
    }

    /// The entries that are written in a mapping itself, without those that YAML's merge key brings in.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let entries = match &self.resolved().content {
            Content::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|entry| (entry.key.as_str(), &entry.value))
    }

    /// The value of a key that is written in this mapping itself.
    pub(crate) fn own(&self, key: &str) -> Option<&Node> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The value of a key, be it from YAML's merge key. A null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        if let Some(value) = self.own(key) {
            return Some(value).filter(|value| !value.is_null());
        }
        let merged = self.own("<<")?;
        if merged.is_list() {
            return merged.elements().iter().find_map(|node| node.get(key));
        }
        merged.get(key)
    }

    /// The text of a scalar without a tag.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.resolved().content {
            Content::Scalar { text, .. } if self.tag().is_none() => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar, whatever its tag.
    pub(crate) fn tagged_text(&self) -> Option<&str> {
        match &self.resolved().content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Where it begins in the text.
    pub(crate) fn start(&self) -> usize {
        self.span.start
    }
}

/// One step of the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The way from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

impl Path {
    /// One step on, into a mapping.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// One step on, into a list.
    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// The last step, and the way to there.
    fn split(&self) -> Option<(Path, &Step)> {
        let (last, rest) = self.0.split_last()?;
        Some((Path(rest.to_vec()), last))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A file's text, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    text: String,
    syntax: Syntax,
    root: Node,
}

impl Doc {
    /// Reads a text.
    ///
    /// # Errors
    /// The text is not what `syntax` says.
    pub(crate) fn parse(text: String, syntax: Syntax) -> Result<Self, Fault> {
        let root = match syntax {
            Syntax::Json => json::parse(&text)?,
            Syntax::Yaml => yaml::parse(&text)?,
        };
        Ok(Self { text, syntax, root })
    }

    /// The text as it is now.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How it is written.
    pub(crate) fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// The value at the end of a way.
    pub(crate) fn at(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(&self.root, |node, step| match step {
            Step::Key(key) => node.own(key),
            Step::Index(index) => node.elements().get(*index),
        })
    }

    /// The text of a value.
    pub(crate) fn slice(&self, node: &Node) -> &str {
        &self.text[node.span.clone()]
    }

    /// The line of a place in the text, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        line_of(&self.text, offset)
    }
}

/// The line of a byte offset, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}
