//! Which requests a route is for, in the words that Envoy and gRPC have in common.

use bowline_api::model::{HeaderEdits, PathMatch, RouteMatch as Rule, TextMatch};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

/// A regular expression, which must fit the whole text.
pub(crate) fn regex(regex: String) -> RegexMatcher {
    RegexMatcher { regex, ..RegexMatcher::default() }
}

/// A text as a regular expression that fits it alone.
pub(crate) fn escaped(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex
}

/// A template as a regular expression, with a group for each name.
pub(crate) fn template(template: &str) -> String {
    let segment = |segment: &str| match name_of(segment) {
        None => escaped(segment),
        Some(name) if name.starts_with('*') => "(.+)".to_owned(),
        Some(_) => "([^/]+)".to_owned(),
    };
    let segments: Vec<String> = template.split('/').map(segment).collect();
    segments.join("/")
}

/// What a segment of a template is called, with its star; `None` if it stands for itself.
pub(crate) fn name_of(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// A path, for a client that knows prefixes that end with a segment (Envoy), or doesn't (gRPC).
pub(crate) fn path(rule: Option<&PathMatch>, separated: bool) -> PathSpecifier {
    match rule {
        None => PathSpecifier::Prefix("/".to_owned()),
        Some(PathMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(PathMatch::Prefix(prefix)) if prefix.ends_with('/') => PathSpecifier::Prefix(prefix.clone()),
        Some(PathMatch::Prefix(prefix)) if separated => PathSpecifier::PathSeparatedPrefix(prefix.clone()),
        Some(PathMatch::Prefix(prefix)) => {
            PathSpecifier::SafeRegex(regex(format!("{}(?:/.*)?", escaped(prefix))))
        }
        Some(PathMatch::Template(path)) => PathSpecifier::SafeRegex(regex(template(path))),
        Some(PathMatch::Regex(text)) => PathSpecifier::SafeRegex(regex(text.clone())),
    }
}

fn string(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// A text to compare, or whether there is one at all.
fn text(rule: &TextMatch) -> Result<StringMatcher, bool> {
    Ok(string(match rule {
        TextMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        TextMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        TextMatch::Regex(text) => MatchPattern::SafeRegex(regex(text.clone())),
        TextMatch::Present(present) => return Err(*present),
    }))
}

/// A header whose value this regular expression fits.
pub(crate) fn header_regex(name: &str, value: String) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string(MatchPattern::SafeRegex(
            regex(value),
        )))),
        ..HeaderMatcher::default()
    }
}

/// A header that is there, whatever its value.
pub(crate) fn header_present(name: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..HeaderMatcher::default()
    }
}

/// The headers that a rule looks at.
pub(crate) fn headers(rule: &Rule) -> Vec<HeaderMatcher> {
    let matcher = |(name, rule): (&String, &TextMatch)| {
        let specifier = match text(rule) {
            Ok(text) => HeaderMatchSpecifier::StringMatch(text),
            Err(present) => HeaderMatchSpecifier::PresentMatch(present),
        };
        HeaderMatcher {
            name: name.clone(),
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        }
    };
    rule.headers.iter().map(matcher).collect()
}

/// The query parameters that a rule looks at.
pub(crate) fn query(rule: &Rule) -> Vec<QueryParameterMatcher> {
    let matcher = |(name, rule): (&String, &TextMatch)| {
        let specifier = match text(rule) {
            Ok(text) => QueryParameterMatchSpecifier::StringMatch(text),
            Err(present) => QueryParameterMatchSpecifier::PresentMatch(present),
        };
        QueryParameterMatcher { name: name.clone(), query_parameter_match_specifier: Some(specifier) }
    };
    rule.query.iter().map(matcher).collect()
}

/// Hosts as a regular expression for an authority, which may have a port.
pub(crate) fn hosts(hosts: &[String]) -> String {
    let host = |host: &String| match host.strip_prefix("*.") {
        Some(below) => format!(".+\\.{}", escaped(below)),
        None => escaped(host),
    };
    let hosts: Vec<String> = hosts.iter().map(host).collect();
    format!("(?i)(?:{})(?::[0-9]+)?", hosts.join("|"))
}

/// Whether one of the hosts is this one.
pub(crate) fn host_fits(hosts: &[String], host: &str) -> bool {
    let fits = |rule: &String| match rule.strip_prefix('*').filter(|below| below.starts_with('.')) {
        Some(below) => {
            let at = host.len().checked_sub(below.len()).filter(|at| *at > 0);
            at.and_then(|at| host.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(below))
        }
        None => rule.eq_ignore_ascii_case(host),
    };
    hosts.is_empty() || hosts.iter().any(fits)
}

/// What is removed, and what is set and added, in this order.
pub(crate) fn edits(edits: Option<&HeaderEdits>) -> (Vec<String>, Vec<HeaderValueOption>) {
    let Some(HeaderEdits { remove, set, add }) = edits else { return (Vec::new(), Vec::new()) };
    let set = set.iter().map(|(name, value)| header(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = add.iter().map(|(name, value)| header(name, value, HeaderAppendAction::AppendIfExistsOrAdd));
    (remove.clone(), set.chain(add).collect())
}

/// A header to set or to add.
pub(crate) fn header(name: &str, value: &str, append: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            // Else it would be a name of something that Envoy puts in its place.
            value: value.replace('%', "%%"),
            ..HeaderValue::default()
        }),
        append_action: append.into(),
        keep_empty_value: true,
        ..HeaderValueOption::default()
    }
}
