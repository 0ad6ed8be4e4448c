//! New paths for old ones.

use super::RouteErrorKind;
use super::path::{PathRule, Segment, absolute, after_prefix, captures, template};

/// What becomes of the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// It stays.
    #[default]
    Keep,
    /// This takes the place of the prefix that matched, or of the exact path.
    Prefix(String),
    /// This is the new path. Where the rule is a template, `{name}` is what the name stood for.
    Path(String),
}

/// A compiled change of the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite(Change);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Change {
    #[default]
    Keep,
    Prefix {
        old: Box<str>,
        new: Box<str>,
    },
    Path(Box<str>),
    Template {
        old: Box<[Segment]>,
        new: Box<[Segment]>,
    },
}

impl Rewrite {
    /// Compiles a change for requests that this rule fits.
    ///
    /// # Errors
    /// A prefix for a rule that has none, a name that isn't in the rule's template, or a path that doesn't begin with
    /// `/`.
    pub fn new(rule: &PathRule, rewrite: &PathRewrite) -> Result<Self, RouteErrorKind> {
        let change = match (rewrite, rule) {
            (PathRewrite::Keep, _) => Change::Keep,
            (PathRewrite::Prefix(new), PathRule::Prefix(old) | PathRule::Exact(old)) => {
                // The empty prefix takes the old one away.
                if !new.is_empty() {
                    absolute(new)?;
                }
                Change::Prefix { old: old.as_str().into(), new: new.as_str().into() }
            }
            (PathRewrite::Prefix(_), _) => {
                return Err(RouteErrorKind::Rewrite(
                    "the route's match has no prefix that could be replaced",
                ));
            }
            (PathRewrite::Path(new), PathRule::Template(old)) => {
                absolute(new)?;
                let (old, new) = (template(old)?, template(new)?);
                let known = |segment: &Segment| {
                    segment.name().is_none() || old.iter().any(|other| other.name() == segment.name())
                };
                if !new.iter().all(known) {
                    return Err(RouteErrorKind::Rewrite("it uses a name that the route's template lacks"));
                }
                Change::Template { old, new }
            }
            (PathRewrite::Path(new), _) => {
                absolute(new)?;
                Change::Path(new.as_str().into())
            }
        };
        Ok(Self(change))
    }

    /// Whether the path stays as it is.
    #[inline]
    #[must_use]
    pub fn is_keep(&self) -> bool {
        self.0 == Change::Keep
    }

    /// The new path with the old query; `None` when it stays as it was. `query` is what comes after the `?`. A new path
    /// that has a query of its own keeps that one.
    ///
    /// Where the new prefix and the rest meet there's one slash, neither none nor two: `/v1` → `/` makes `/a` of
    /// `/v1/a`.
    #[must_use]
    pub fn apply(&self, old_path: &str, query: Option<&str>) -> Option<String> {
        let mut path = match &self.0 {
            Change::Keep => return None,
            Change::Prefix { old, new } => with_prefix(new, after_prefix(old, old_path)?),
            Change::Path(new) => new.to_string(),
            Change::Template { old, new } => with_names(old, new, old_path)?,
        };
        if let Some(query) = query.filter(|_| !path.contains('?')) {
            path.push('?');
            path.push_str(query);
        }
        Some(path)
    }
}

fn with_prefix(prefix: &str, rest: &str) -> String {
    let mut path = String::with_capacity(prefix.len() + rest.len() + 1);
    path.push_str(prefix);
    match (path.ends_with('/'), rest.starts_with('/')) {
        (true, true) => path.push_str(&rest[1..]),
        (false, false) if !rest.is_empty() || path.is_empty() => {
            path.push('/');
            path.push_str(rest);
        }
        _ => path.push_str(rest),
    }
    path
}

fn with_names(old: &[Segment], new: &[Segment], old_path: &str) -> Option<String> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    if !captures(old, old_path, |name, value| names.push((name, value))) {
        return None;
    }
    let mut path = String::new();
    for segment in new {
        path.push('/');
        match segment {
            Segment::Literal(literal) => path.push_str(literal),
            Segment::One(name) | Segment::Rest(name) => {
                let value = names.iter().find(|(other, _)| *other == &**name).map(|(_, value)| *value);
                path.push_str(value?);
            }
        }
    }
    Some(path)
}
