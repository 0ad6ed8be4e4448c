//! New paths for old ones, so that where a new prefix and the rest meet there is one slash, as with our own proxies.

use bowline_api::model::{PathMatch, Route as Rule};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::encode::matching::{escaped, name_of, regex, template};

/// What becomes of a path.
#[derive(Debug, PartialEq)]
pub(super) enum NewPath {
    /// It stays.
    Same,
    /// This takes the place of what has matched.
    Prefix(String),
    /// This takes the place of what the regular expression fits.
    Regex(RegexMatchAndSubstitute),
}

/// What becomes of the path of a route's requests.
pub(super) fn new_path(rule: &Rule) -> NewPath {
    let Some(rewrite) = &rule.rewrite else { return NewPath::Same };
    match (&rewrite.prefix, &rewrite.path, &rule.matches.path) {
        (Some(new), _, Some(PathMatch::Prefix(old))) => new_prefix(old, new),
        (Some(new), _, Some(PathMatch::Exact(_))) => {
            NewPath::Prefix(if new.is_empty() { "/".to_owned() } else { new.clone() })
        }
        (None, Some(new), Some(PathMatch::Template(old))) => of_template(old, new),
        (None, Some(new), _) => substitute("^/.*$".to_owned(), literal(new)),
        _ => NewPath::Same,
    }
}

fn new_prefix(old: &str, new: &str) -> NewPath {
    match (old.ends_with('/'), new.is_empty() || new.ends_with('/')) {
        (false, false) | (true, true) if !new.is_empty() => NewPath::Prefix(new.to_owned()),
        (true, _) => NewPath::Prefix(format!("{new}/")),
        (false, _) => {
            let new = if new.is_empty() { "/" } else { new };
            substitute(format!("^{}/?", escaped(old)), literal(new))
        }
    }
}

/// The new path with the groups of the old one in the places of their names.
fn of_template(old: &str, new: &str) -> NewPath {
    let names: Vec<&str> = old.split('/').filter_map(name_of).map(plain).collect();
    let segment = |segment: &str| {
        let index = name_of(segment).and_then(|name| names.iter().position(|one| *one == plain(name)));
        // There are nine groups in a substitution.
        match index.filter(|index| *index < 9) {
            Some(index) => format!("\\{}", index + 1),
            None => literal(segment),
        }
    };
    let segments: Vec<String> = new.split('/').map(segment).collect();
    substitute(format!("^{}$", template(old)), segments.join("/"))
}

fn plain(name: &str) -> &str {
    name.trim_start_matches('*')
}

fn literal(text: &str) -> String {
    text.replace('\\', "\\\\")
}

fn substitute(pattern: String, substitution: String) -> NewPath {
    NewPath::Regex(RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution })
}

#[cfg(test)]
mod tests {
    use bowline_api::model::{Rewrite, RouteMatch};

    use super::*;

    fn of(path: PathMatch, rewrite: Rewrite) -> NewPath {
        let matches = RouteMatch { path: Some(path), ..RouteMatch::default() };
        new_path(&Rule { matches, rewrite: Some(rewrite), ..Rule::default() })
    }

    #[test]
    fn one_slash_is_where_prefix_and_rest_meet() {
        let prefix = |old: &str, new: &str| {
            of(PathMatch::Prefix(old.into()), Rewrite { prefix: Some(new.into()), ..Rewrite::default() })
        };
        assert_eq!(prefix("/v1", "/v2"), NewPath::Prefix("/v2".into()));
        assert_eq!(prefix("/", "/v2"), NewPath::Prefix("/v2/".into()));
        assert_eq!(prefix("/v1/", ""), NewPath::Prefix("/".into()));
        assert_eq!(prefix("/v1/", "/v2/"), NewPath::Prefix("/v2/".into()));
        assert_eq!(prefix("/v1", "/"), substitute("^\\/v1/?".into(), "/".into()));
        assert_eq!(prefix("/v1", ""), substitute("^\\/v1/?".into(), "/".into()));
        assert_eq!(prefix("/v1", "/b/"), substitute("^\\/v1/?".into(), "/b/".into()));
    }

    #[test]
    fn names_of_a_template_are_groups() {
        let path = Rewrite { path: Some("/cart/{id}/{all}".into()), ..Rewrite::default() };
        let new = of(PathMatch::Template("/users/{id}/x.y/{*all}".into()), path);
        assert_eq!(new, substitute("^/users/([^/]+)/x\\.y/(.+)$".into(), "/cart/\\1/\\2".into()));
        let whole =
            of(PathMatch::Exact("/a".into()), Rewrite { path: Some("/b".into()), ..Rewrite::default() });
        assert_eq!(whole, substitute("^/.*$".into(), "/b".into()));
    }
}
