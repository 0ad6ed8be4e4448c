//! The words of error messages: the nearest valid word, where a key belongs, what a schema expects.

use std::borrow::Cow;

use serde_json::Value;

use super::tree::{Content, Node, Scalar, resolve as resolve_scalar};
use crate::schema;

/// The candidate that was most likely meant, if one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &fold(candidate)), candidate))
        // One edit in three characters: `retires` is `retries`, `foo` is nothing.
        .filter(|(distance, candidate)| *distance * 3 <= candidate.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case, hyphens and underscores are the commonest mistakes, and cost nothing: `per_request_timeout` is near to
/// `perRequestTimeout`. Long words are cut, so that hostile ones cost nothing either.
fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).take(64).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions, and neighbours swapped.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// What to say about a key that is not valid where it stands: the rest of the message, and help.
pub(super) fn about_unknown_key(key: &str, valid: &[&str]) -> (String, Option<String>) {
    if let Some(near) = nearest(key, valid.iter().copied()) {
        return (format!("; did you mean \"{near}\"?"), None);
    }
    if let Some((_, meant)) = OTHER_WORDS.iter().find(|(other, meant)| *other == key && valid.contains(meant))
    {
        return (format!("; did you mean \"{meant}\"?"), None);
    }
    if let Some((_, why)) = FOREIGN.iter().find(|(foreign, _)| *foreign == key) {
        return (String::new(), Some((*why).to_owned()));
    }
    // Better where it can be used today: `port` belongs to an alias, not to endpoints from DNS.
    let of_key = |built| schema::places().iter().filter(move |p| p.key == key && p.built == built);
    let mut places: Vec<&str> = of_key(true).map(|p| p.within.as_str()).collect();
    if places.is_empty() {
        places = of_key(false).map(|p| p.within.as_str()).collect();
    }
    match places.as_slice() {
        [] => (String::new(), Some(format!("valid here: {}", valid.join(", ")))),
        ["", others @ ..] => {
            let others: Vec<String> = others.iter().take(2).map(|place| format!(" or in {place}")).collect();
            (format!("; it belongs at the top of the file{}", others.concat()), None)
        }
        places => {
            let at_most: Vec<&str> = places.iter().take(3).copied().collect();
            (format!("; it belongs in {}", at_most.join(" or ")), None)
        }
    }
}

/// Other tools' words for our keys.
const OTHER_WORDS: [(&str, &str); 12] = [
    ("name", "discoveryName"),
    ("name", "dnsName"),
    ("host", "dnsName"),
    ("hosts", "clientAliases"),
    ("aliases", "clientAliases"),
    ("protocol", "appProtocol"),
    ("attempts", "retries"),
    ("numRetries", "retries"),
    ("maxAttempts", "retries"),
    ("perTryTimeout", "perAttemptSeconds"),
    ("retryOn", "on"),
    ("policy", "loadBalancing"),
];

/// Keys of a Service Connect configuration that have no place in a mesh file.
const FOREIGN: [(&str, &str); 3] = [
    ("enabled", "Service Connect's switch is not needed here: remove it"),
    (
        "logConfiguration",
        "the proxy logs to stderr, and its container's log driver takes it from there: remove it",
    ),
    ("accessLogConfiguration", "access logs are set where the proxy is started, not in the mesh: remove it"),
];

/// What a schema wants, in words.
pub(super) fn expectation(schema: &'static Value) -> String {
    let schema = schema::resolve(schema);
    if let Some(words) = schema[schema::EXPECTED].as_str() {
        return words.to_owned();
    }
    if let Some(branches) = schema::branches(schema) {
        let mut alternatives: Vec<String> = Vec::new();
        for branch in branches {
            let words = match (branch["const"].as_str(), tag_of(branch)) {
                (Some(word), _) => format!("\"{word}\""),
                (None, Some(tag)) => format!("{{ {tag}: ... }}"),
                (None, None) => expectation(branch),
            };
            alternatives.push(words);
        }
        return join_or(&alternatives);
    }
    match schema["type"].as_str() {
        Some("object") => "a mapping (key: value)".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => format!("a whole number{}", range(schema)),
        Some("number") => format!("a number{}", range(schema)),
        Some("string") if schema["format"] == "ipv4" => "an IPv4 address".to_owned(),
        Some("string") => "a text".to_owned(),
        _ => "another value".to_owned(),
    }
}

/// The key of a branch that is a mapping with one key, e.g. `static` of `{ static: [...] }`.
pub(super) fn tag_of(branch: &'static Value) -> Option<&'static str> {
    let required = branch["required"].as_array()?;
    match (required.as_slice(), schema::properties(branch)) {
        ([only], Some(properties)) if properties.len() == 1 => only.as_str(),
        _ => None,
    }
}

fn range(schema: &Value) -> String {
    let (above, min, max) = (&schema["exclusiveMinimum"], &schema["minimum"], &schema["maximum"]);
    match (above.is_number(), min.is_number(), max.is_number()) {
        (true, _, true) => format!(" above {above}, at most {max}"),
        (true, _, false) => format!(" above {above}"),
        (false, true, true) => format!(" from {min} to {max}"),
        (false, true, false) => format!(" of at least {min}"),
        (false, false, true) => format!(" of at most {max}"),
        (false, false, false) => String::new(),
    }
}

fn join_or(words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [start @ .., last] => format!("{} or {last}", start.join(", ")),
    }
}

/// What was found, in words.
pub(super) fn found(node: &Node) -> String {
    match &node.content {
        Content::Sequence(_) => "a list".to_owned(),
        Content::Mapping(_) => "a mapping".to_owned(),
        Content::Scalar { text, plain } => match resolve_scalar(text, *plain) {
            Scalar::Null => "nothing".to_owned(),
            Scalar::Bool(_) => format!("the boolean {text}"),
            Scalar::Integer(_) | Scalar::Float(_) => format!("the number {}", clip(text)),
            Scalar::Text(_) => format!("the text {}", quoted(text)),
        },
    }
}

/// A key as a step of a path: as it stands if it is a word, else in quotes, so that a path stays one line and can't carry
/// a terminal's control sequences.
pub(super) fn step(key: &str) -> Cow<'_, str> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=80).contains(&key.len()) && key.chars().all(word) { key.into() } else { quoted(key).into() }
}

/// In quotes, on one line, and not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", clip(text))
}

/// Not too long.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}
