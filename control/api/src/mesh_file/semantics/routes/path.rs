//! Paths as routes write them.

use std::collections::BTreeSet;

/// Why no request could have this path.
pub(super) fn wrong_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("the path {path:?} does not begin with /"));
    }
    let wrong = path.chars().find(|c| matches!(c, '?' | '#' | ' ') || c.is_control());
    wrong.map(|c| format!("no path has {c:?} in it"))
}

/// Why a request can't be sent to this path, which may have a query. `braces`: it may have names in them.
pub(super) fn wrong_target(path: &str, braces: bool) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("the path {path:?} does not begin with /"));
    }
    if path.len() > 8192 {
        return Some(format!("the path has {} characters; 8192 are the most", path.len()));
    }
    let fit = |c: char| {
        c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%?".contains(c) || (braces && "{}".contains(c))
    };
    let wrong = path.chars().find(|c| !fit(*c))?;
    match wrong {
        '{' | '}' => Some("names in braces need a match.path.template that has them".to_owned()),
        wrong => Some(format!("a path can't have {wrong:?} in it; write it as % and its code")),
    }
}

/// The names in the template of a path.
pub(super) fn template_names(template: &str) -> Result<BTreeSet<&str>, String> {
    let wrong = |why: &str| Err(format!("{template:?} is not a path template: {why}"));
    let mut names = BTreeSet::new();
    let mut rest = false;
    for part in template.strip_prefix('/').unwrap_or(template).split('/') {
        if rest {
            return wrong("{*name} must be the last segment");
        }
        let Some(inner) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            if part.contains(['{', '}']) {
                return wrong("braces must hold a whole segment");
            }
            continue;
        };
        rest = inner.starts_with('*');
        let name = inner.strip_prefix('*').unwrap_or(inner);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return wrong("a name is letters, digits and _");
        }
        if !names.insert(name) {
            return wrong("each name may be used once");
        }
    }
    Ok(names)
}
