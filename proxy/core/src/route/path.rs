//! How paths are compared.

use regex_lite::Regex;

use super::RouteErrorKind;

/// How a path is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRule {
    /// Any path.
    #[default]
    Any,
    /// This path alone.
    Exact(String),
    /// This path, and what is below it: `/v1` fits `/v1` and `/v1/a`, not `/v10`. With a slash at the end only what is
    /// below it: `/v1/` fits `/v1/` and `/v1/a`.
    Prefix(String),
    /// Segments, of which `{name}` stands for any one that isn't empty, and `{*name}` at the end for all that follow,
    /// one at the least: `/users/{id}`.
    Template(String),
    /// A regular expression that fits the whole path.
    Regex(String),
}

#[derive(Clone, Debug)]
pub(super) enum PathMatcher {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Template(Box<[Segment]>),
    Regex(Regex),
}

/// A segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Just this.
    Literal(Box<str>),
    /// One segment, by this name.
    One(Box<str>),
    /// All that is left, by this name.
    Rest(Box<str>),
}

impl PathMatcher {
    pub(super) fn new(rule: &PathRule) -> Result<Self, RouteErrorKind> {
        Ok(match rule {
            PathRule::Any => Self::Any,
            PathRule::Exact(path) => Self::Exact(absolute(path)?.into()),
            PathRule::Prefix(path) => Self::Prefix(absolute(path)?.into()),
            PathRule::Template(path) => Self::Template(template(absolute(path)?)?),
            PathRule::Regex(text) => Self::Regex(whole(text)?),
        })
    }

    #[inline]
    pub(super) fn fits(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => after_prefix(prefix, path).is_some(),
            Self::Template(segments) => captures(segments, path, |_, _| {}),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// A path that begins with `/`.
pub(super) fn absolute(path: &str) -> Result<&str, RouteErrorKind> {
    match path.starts_with('/') {
        true => Ok(path),
        false => Err(RouteErrorKind::Path(path.to_owned())),
    }
}

/// What is left of a path below this prefix, with its slash if the prefix has none at its end.
#[inline]
pub(super) fn after_prefix<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/')).then_some(rest)
}

/// The segments of a template.
pub(super) fn template(text: &str) -> Result<Box<[Segment]>, RouteErrorKind> {
    let wrong = |why| Err(RouteErrorKind::Template(text.to_owned(), why));
    let mut segments: Vec<Segment> = Vec::new();
    for part in text.strip_prefix('/').unwrap_or(text).split('/') {
        if matches!(segments.last(), Some(Segment::Rest(_))) {
            return wrong("{*name} must be the last segment");
        }
        let inner = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let segment = match inner {
            None if part.contains(['{', '}']) => return wrong("braces must hold a whole segment"),
            None => Segment::Literal(part.into()),
            Some(inner) => match inner.strip_prefix('*') {
                Some(name) => Segment::Rest(name.into()),
                None => Segment::One(inner.into()),
            },
        };
        if let Some(name) = segment.name() {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return wrong("a name is letters, digits and _");
            }
            if segments.iter().any(|other| other.name() == Some(name)) {
                return wrong("each name may be used once");
            }
        }
        segments.push(segment);
    }
    Ok(segments.into())
}

impl Segment {
    /// What it is called, unless it stands for itself.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One(name) | Self::Rest(name) => Some(name),
        }
    }
}

/// Whether a template fits, telling what each name stands for on the way, even if it turns out not to fit.
#[inline]
pub(super) fn captures<'a>(
    segments: &'a [Segment],
    path: &'a str,
    mut found: impl FnMut(&'a str, &'a str),
) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut rest = Some(path);
    for segment in segments {
        let Some(left) = rest else { return false };
        if let Segment::Literal(literal) = segment {
            // Most templates that don't fit fail here, and nobody has looked for the segment's end.
            let Some(after) = left.strip_prefix(&**literal) else { return false };
            rest = after.strip_prefix('/');
            if rest.is_none() && !after.is_empty() {
                return false;
            }
            continue;
        }
        let (part, after) = match left.split_once('/') {
            Some((part, after)) => (part, Some(after)),
            None => (left, None),
        };
        match segment {
            Segment::Literal(_) => {}
            Segment::One(_) if part.is_empty() => return false,
            Segment::One(name) => found(name, part),
            Segment::Rest(_) if left.is_empty() => return false,
            Segment::Rest(name) => {
                found(name, left);
                return true;
            }
        }
        rest = after;
    }
    rest.is_none()
}

/// A regular expression that must fit the whole text.
pub(super) fn whole(text: &str) -> Result<Regex, RouteErrorKind> {
    let wrong = |why: regex_lite::Error| RouteErrorKind::Regex(text.to_owned(), why.to_string());
    // By itself first, or `a)|(b` would pass.
    Regex::new(text).map_err(wrong)?;
    Regex::new(&format!("^(?:{text})$")).map_err(wrong)
}
