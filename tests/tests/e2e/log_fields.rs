//! The fields of log lines are documented: what the sources log stands in the table that the page is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rust files of a folder and those in it, tests left out.
fn sources(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            sources(&path, to);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !is_test {
            to.push(path);
        }
    }
}

/// What stands between the brackets of a macro's call, `text` beginning behind the first one, cut at its commas.
fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(c);
    }
    parts
}

/// The fields of one call, up to its message.
fn fields(call: &str) -> Vec<String> {
    let arguments = arguments(call);
    let before_message = arguments.iter().map(|part| part.trim()).take_while(|part| !part.starts_with('"'));
    let name = |part: &str| {
        let name = part.split('=').next().unwrap_or_default().trim();
        name.trim_start_matches(['%', '?']).rsplit('.').next().unwrap_or_default().to_owned()
    };
    before_message.filter(|part| !part.is_empty()).map(name).collect()
}

/// Each field that the sources of these crates log, with where.
fn logged(crates: &[&str]) -> BTreeMap<String, PathBuf> {
    let mut files = Vec::new();
    for one in crates {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(one).join("src"), &mut files);
    }
    let mut found = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        for level in ["trace", "debug", "info", "warn", "error"] {
            for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                found.extend(fields(call).into_iter().map(|field| (field, file.clone())));
            }
        }
    }
    found
}

#[track_caller]
fn compare(crates: &[&str], table: &[(&str, &str)]) {
    let logged = logged(crates);
    assert!(logged.len() > 20, "{logged:?}");
    let told: BTreeSet<&str> = table.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = logged.iter().filter(|(field, _)| !told.contains(field.as_str())).collect();
    assert!(missing.is_empty(), "log_fields.rs lacks {missing:?}");
    let unused: Vec<_> = told.iter().filter(|name| !logged.contains_key(**name)).collect();
    assert!(unused.is_empty(), "nobody logs {unused:?}");
}

#[test]
fn what_the_proxy_logs_is_documented() {
    let crates = ["proxy", "proxy/otlp", "control/sources"];
    compare(&crates, bowline_proxy::telemetry::log_fields::FIELDS);
}

#[test]
fn what_the_control_plane_logs_is_documented() {
    compare(&["control", "control/sources"], bowline_control::telemetry::log_fields::FIELDS);
}

#[test]
fn calls_are_read() {
    let call =
        r#"service = state.name(a, "b,c"), endpoint = %x, %error, shorthand, a.b = 1, "text {x}, y"); more"#;
    assert_eq!(fields(call), ["service", "endpoint", "error", "shorthand", "b"]);
}
