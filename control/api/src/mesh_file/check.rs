//! The walk of a document against the JSON Schema, which collects everything that is wrong on the way.
//!
//! It knows the part of JSON Schema that `schemars` makes from the model: objects with known keys or free ones, arrays,
//! strings with pattern, length and format, numbers with ranges, and choices of words and one-key mappings. A test
//! holds that the schema uses nothing else.

use std::net::SocketAddr;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::tree::{Content, Entry, Node, Position, Scalar, resolve};
use super::words::{self, about_unknown_key, expectation, found, nearest, quoted, tag_of};
use crate::schema;

/// Something wrong at a place in the document.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) at: Position,
    pub(super) path: String,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// How many findings a walk makes before it gives up: nobody reads more, and a file that is no mesh file at all must not
/// cost minutes and megabytes.
pub(super) const MAX_FINDINGS: usize = 1000;

/// Checks a document against the schema of mesh files. `Err` if it gave up, and the rest is unknown.
pub(super) fn check(root: &Node) -> Result<Vec<Finding>, Vec<Finding>> {
    let mut walk = Walk { path: String::new(), findings: Vec::new() };
    walk.value(schema::shared(), root);
    if walk.findings.len() >= MAX_FINDINGS {
        walk.path.clear();
        let at = walk.findings.last().map(|f| f.at).unwrap_or_default();
        walk.report(
            at,
            format!("{MAX_FINDINGS} problems are enough: the rest of the file was not looked at"),
            None,
        );
        return Err(walk.findings);
    }
    Ok(walk.findings)
}

struct Walk {
    path: String,
    findings: Vec<Finding>,
}

impl Walk {
    fn report(&mut self, at: Position, message: impl Into<String>, help: Option<String>) {
        self.findings.push(Finding { at, path: self.path.clone(), message: message.into(), help });
    }

    /// Runs with the path one step longer; not at all once there are findings enough.
    fn below(&mut self, step: &str, run: impl FnOnce(&mut Self)) {
        if self.findings.len() >= MAX_FINDINGS {
            return;
        }
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        run(self);
        self.path.truncate(length);
    }

    fn value(&mut self, schema: &'static Value, node: &Node) {
        let schema = schema::resolve(schema);
        if let Some(branches) = schema::branches(schema) {
            self.choice(schema, branches, node);
            return;
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, node),
            Some("array") => self.array(schema, node),
            Some("string") => self.string(schema, node),
            Some("boolean") => self.boolean(schema, node),
            Some("integer") => self.number(schema, node, true),
            Some("number") => self.number(schema, node, false),
            _ => {}
        }
    }

    fn wrong_type(&mut self, schema: &'static Value, node: &Node, help: Option<String>) {
        let help = help.or_else(|| {
            let nothing = matches!(&node.content, Content::Scalar { text, plain } if resolve(text, *plain) == Scalar::Null);
            nothing.then(|| {
                "give it a value, or remove the key; what belongs to it must be indented deeper".to_owned()
            })
        });
        self.report(node.at, format!("expected {}, found {}", expectation(schema), found(node)), help);
    }

    fn not_yet(&mut self, at: Position, name: &str, what: &str) {
        let message =
            format!("not yet: this version does not do {what}, and refuses \"{name}\" rather than ignore it");
        self.report(at, message, None);
    }

    // Mappings.

    fn object(&mut self, schema: &'static Value, node: &Node) {
        let Content::Mapping(entries) = &node.content else {
            return self.wrong_type(schema, node, None);
        };
        let properties = schema::properties(schema);
        let free = &schema["additionalProperties"];
        for entry in entries {
            let known = properties.and_then(|p| p.get(&entry.key));
            self.below(&words::step(&entry.key), |walk| match known {
                Some(property) => walk.property(property, entry),
                None if free.is_object() => walk.value(free, &entry.value),
                None => {
                    walk.unknown_key(entry, &keys_of(properties));
                }
            });
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|e| e.key == required) {
                let expected = properties.and_then(|p| p.get(required)).map(expectation);
                let help = expected.map(|expected| format!("{required} is {expected}"));
                self.report(node.at, format!("missing key \"{required}\""), help);
            }
        }
    }

    fn property(&mut self, property: &'static Value, entry: &Entry) {
        match schema::not_yet(property) {
            Some(what) => self.not_yet(entry.key_at, &entry.key, what),
            None => self.value(property, &entry.value),
        }
    }

    fn unknown_key(&mut self, entry: &Entry, valid: &[&str]) {
        let (more, help) = about_unknown_key(&entry.key, valid);
        self.report(entry.key_at, format!("unknown key {}{more}", quoted(&entry.key)), help);
    }

    // Lists.

    fn array(&mut self, schema: &'static Value, node: &Node) {
        let Content::Sequence(elements) = &node.content else {
            let help = match &node.content {
                Content::Mapping(_) => Some("begin each element with \"- \"".to_owned()),
                Content::Scalar { text, plain } if resolve(text, *plain) != Scalar::Null => {
                    let short = text.len() < 80 && !text.contains(char::is_control);
                    short.then(|| format!("write [{text}]"))
                }
                _ => None,
            };
            return self.wrong_type(schema, node, help);
        };
        if schema["minItems"].as_u64().is_some_and(|least| (elements.len() as u64) < least) {
            self.report(
                node.at,
                "expected at least one element, found none",
                Some("remove the key to get the default".into()),
            );
        }
        for (index, element) in elements.iter().enumerate() {
            self.below(&format!("[{index}]"), |walk| walk.value(&schema["items"], element));
        }
    }

    // Scalars.

    fn string(&mut self, schema: &'static Value, node: &Node) {
        let Content::Scalar { text, plain } = &node.content else {
            return self.wrong_type(schema, node, None);
        };
        let text = match resolve(text, *plain) {
            Scalar::Text(text) => text,
            Scalar::Null => return self.wrong_type(schema, node, None),
            Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => {
                let message = format!("expected a text, found {}", found(node));
                return self.report(node.at, message, Some(format!("put it in quotes: \"{text}\"")));
            }
        };
        if let Some((message, help)) = wrong_string(schema, text) {
            self.report(node.at, message, help);
        }
    }

    fn boolean(&mut self, schema: &'static Value, node: &Node) {
        let Content::Scalar { text, plain } = &node.content else {
            return self.wrong_type(schema, node, None);
        };
        let Scalar::Bool(_) = resolve(text, *plain) else {
            let help = match text.to_ascii_lowercase().as_str() {
                "true" | "false" => Some("remove the quotes".to_owned()),
                "yes" | "on" | "y" | "1" => Some("write true".to_owned()),
                "no" | "off" | "n" | "0" => Some("write false".to_owned()),
                _ => None,
            };
            return self.wrong_type(schema, node, help);
        };
    }

    fn number(&mut self, schema: &'static Value, node: &Node, whole: bool) {
        let Content::Scalar { text, plain } = &node.content else {
            return self.wrong_type(schema, node, None);
        };
        #[expect(clippy::cast_precision_loss, reason = "every bound of the model is exact in an f64")]
        let value = match resolve(text, *plain) {
            Scalar::Integer(i) => i as f64,
            Scalar::Float(f) if !whole => f,
            Scalar::Text(text) => {
                let number = resolve(text, true);
                let quotes = !*plain && matches!(number, Scalar::Integer(_) | Scalar::Float(_));
                let help = quotes.then(|| "remove the quotes".to_owned()).or_else(|| {
                    unit_of(text).map(|unit| format!("write the number alone, without \"{unit}\""))
                });
                return self.wrong_type(schema, node, help);
            }
            Scalar::Null | Scalar::Bool(_) | Scalar::Float(_) => return self.wrong_type(schema, node, None),
        };
        // Comparisons with NaN are false, so they ask what must hold.
        let holds =
            |bound: &str, test: fn(f64, f64) -> bool| schema[bound].as_f64().is_none_or(|b| test(value, b));
        let in_range = holds("minimum", |v, min| v >= min)
            && holds("maximum", |v, max| v <= max)
            && holds("exclusiveMinimum", |v, min| v > min)
            && value.is_finite();
        if !in_range {
            self.wrong_type(schema, node, None);
        }
    }

    // Choices: words, mappings with one key, and at most one other form.

    fn choice(&mut self, schema: &'static Value, branches: &'static [Value], node: &Node) {
        let tagged: Vec<(&'static str, &'static Value)> =
            branches.iter().filter_map(|b| tag_of(b).map(|tag| (tag, b))).collect();
        let other = branches.iter().find(|b| b["const"].is_null() && tag_of(b).is_none());
        match &node.content {
            Content::Mapping(entries) if !tagged.is_empty() => self.tagged(schema, &tagged, node, entries),
            Content::Scalar { text, plain } => match resolve(text, *plain) {
                Scalar::Text(word) => self.word(schema, branches, node, word),
                Scalar::Integer(_) | Scalar::Float(_) if other.is_some() => {
                    if let Some(other) = other {
                        self.value(other, node);
                    }
                }
                _ => self.wrong_type(schema, node, None),
            },
            Content::Mapping(_) | Content::Sequence(_) => self.wrong_type(schema, node, None),
        }
    }

    fn word(&mut self, schema: &'static Value, branches: &'static [Value], node: &Node, word: &str) {
        let words: Vec<(&'static str, &'static Value)> =
            branches.iter().filter_map(|b| b["const"].as_str().map(|word| (word, b))).collect();
        if let Some((_, branch)) = words.iter().find(|(w, _)| *w == word) {
            if let Some(what) = schema::not_yet(branch) {
                self.not_yet(node.at, word, what);
            }
            return;
        }
        if branches.iter().filter_map(tag_of).any(|tag| tag == word) {
            return self.report(node.at, format!("\"{word}\" needs a value: {word}: ..."), None);
        }
        match nearest(word, words.iter().map(|(w, _)| *w)) {
            Some(near) => {
                self.report(
                    node.at,
                    format!("unknown word {}; did you mean \"{near}\"?", quoted(word)),
                    None,
                );
            }
            None => self.wrong_type(schema, node, None),
        }
    }

    fn tagged(
        &mut self,
        schema: &'static Value,
        tagged: &[(&'static str, &'static Value)],
        node: &Node,
        entries: &[Entry],
    ) {
        let tags: Vec<&str> = tagged.iter().map(|(tag, _)| *tag).collect();
        let mut chosen: Vec<&str> = Vec::new();
        for entry in entries {
            let branch = tagged.iter().find(|(tag, _)| *tag == entry.key);
            self.below(&words::step(&entry.key), |walk| match branch {
                Some((tag, branch)) => {
                    chosen.push(tag);
                    match schema::not_yet(branch) {
                        Some(what) => walk.not_yet(entry.key_at, tag, what),
                        None => walk.value(&branch["properties"][*tag], &entry.value),
                    }
                }
                None => walk.unknown_key(entry, &tags),
            });
        }
        match chosen.as_slice() {
            [_] => {}
            // A lone misspelt key has been reported already.
            [] if !entries.is_empty() => {}
            [] => self.report(node.at, format!("expected {}, found nothing", expectation(schema)), None),
            several => self.report(
                node.at,
                format!("expected exactly one of {}, found {}", tags.join(", "), several.join(" and ")),
                None,
            ),
        }
    }
}

/// The keys of a mapping, first those that this version takes.
fn keys_of(properties: Option<&'static Map<String, Value>>) -> Vec<&'static str> {
    let all = || properties.into_iter().flatten();
    let built = all().filter(|(_, property)| schema::not_yet(property).is_none());
    let later = all().filter(|(_, property)| schema::not_yet(property).is_some());
    built.chain(later).map(|(key, _)| key.as_str()).collect()
}

/// Why a text is not what the schema wants.
fn wrong_string(schema: &'static Value, text: &str) -> Option<(String, Option<String>)> {
    let length = text.chars().count() as u64;
    if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        return Some(("expected a text, found an empty one".to_owned(), None));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        return Some((format!("expected at most {most} characters, found {length}"), None));
    }
    let mismatch = || format!("expected {}, found {}", expectation(schema), quoted(text));
    if let Some(pattern) = schema["pattern"].as_str() {
        // A test holds that every pattern of the schema compiles.
        if !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)) {
            return Some((mismatch(), None));
        }
    }
    match schema["format"].as_str() {
        Some("ipv4") if text.parse::<std::net::Ipv4Addr>().is_err() => Some((mismatch(), None)),
        Some("ip-port") if text.parse::<SocketAddr>().is_err() => Some((mismatch(), address_help(text))),
        _ => None,
    }
}

/// What to do about an address that is none.
fn address_help(text: &str) -> Option<String> {
    if text.contains("://") {
        return Some("leave out the scheme".to_owned());
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        let bracketed = if text.contains(':') { format!("[{text}]") } else { text.to_owned() };
        return Some(format!("add the port: \"{bracketed}:PORT\""));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.parse::<std::net::Ipv4Addr>().is_ok() || host.contains(':') {
        let what = if port.parse::<u16>().is_ok() {
            "an IPv6 address stands in brackets"
        } else {
            "the port is a number from 1 to 65535"
        };
        return Some(what.to_owned());
    }
    let named = host.chars().any(|c| c.is_ascii_alphabetic());
    named.then(|| {
        format!("{} is a host name: those are for endpoints.dns, an address is an IP", words::quoted(host))
    })
}

/// The unit that somebody wrote behind a number, e.g. `s` of `15s`.
fn unit_of(text: &str) -> Option<&str> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let known = ["s", "ms", "m", "h", "sec", "seconds", "%", "b", "k", "kb", "kib", "mb", "mib"];
    (unit.len() < text.len() && known.contains(&unit.to_ascii_lowercase().as_str())).then_some(unit)
}
