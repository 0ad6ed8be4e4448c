//! What `describe-task-definition` prints, made into what `register-task-definition` takes.

use super::doc::{Doc, Fault, Out, Path, Syntax};
use super::report::Report;

/// Keys that only AWS writes.
const READ_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "deregisteredAt",
    "deleteRequestedAt",
    "registeredBy",
];

/// The key around it.
const WRAPPER: &str = "taskDefinition";

/// The way to the task definition in a file of one.
pub(crate) fn place(doc: &Doc) -> Path {
    let root = Path::default();
    match doc.root().own(WRAPPER) {
        Some(node) if node.is_map() => root.key(WRAPPER),
        _ => root,
    }
}

/// Unwraps it, takes the tags along, and leaves out what can't be registered. What it does is noted.
///
/// # Errors
/// The text can't be changed as it would have to be.
pub(crate) fn make_registrable(doc: Doc, report: &mut Report) -> Result<Doc, Fault> {
    let mut doc = doc;
    if place(&doc) != Path::default() {
        let tags = doc.root().get("tags").filter(|tags| !tags.elements().is_empty()).and_then(Out::copy);
        doc = unwrap(&doc)?;
        if let Some(tags) = tags
            && doc.root().own("tags").is_none()
        {
            doc.insert(&Path::default(), "tags", &tags)?;
        }
        report.note(0, "unwrapped from what describe-task-definition prints (--keep-read-only leaves it)");
    }
    let found: Vec<&str> = READ_ONLY.into_iter().filter(|key| doc.root().own(key).is_some()).collect();
    for key in &found {
        doc.remove(&Path::default().key(key), "")?;
    }
    if !found.is_empty() {
        report.note(
            0,
            format!(
                "left out, because only AWS writes them: {} (--keep-read-only leaves them)",
                found.join(", ")
            ),
        );
    }
    Ok(doc)
}

/// The task definition alone, moved to the left margin.
fn unwrap(doc: &Doc) -> Result<Doc, Fault> {
    let node = doc.root().own(WRAPPER).ok_or_else(|| Fault { line: 1, message: format!("no {WRAPPER}") })?;
    if doc.syntax() == Syntax::Yaml {
        let line = doc.line(node.start());
        return Err(Fault {
            line,
            message: "a task definition in YAML can't be unwrapped: print it as JSON".to_owned(),
        });
    }
    let text = doc.slice(node);
    // Its closing bracket stands below the key.
    let last = text.lines().next_back().unwrap_or_default();
    let margin = &last[..last.len() - last.trim_start().len()];
    let mut lines: Vec<&str> = Vec::new();
    for line in text.split_inclusive('\n') {
        // No JSON text goes over a line's end, so that these are all outside of texts.
        lines.push(line.strip_prefix(margin).unwrap_or(line));
    }
    let end = match doc.text() {
        text if text.ends_with("\r\n") => "\r\n",
        text if text.ends_with('\n') => "\n",
        _ => "",
    };
    Doc::parse(format!("{}{end}", lines.concat()), Syntax::Json)
}
