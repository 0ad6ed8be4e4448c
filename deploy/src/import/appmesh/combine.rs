//! A gateway's route and, behind it, one of the virtual service's own: which requests take both, in one route.
//!
//! App Mesh asked twice: the gateway's Envoy its gateway routes, and then, with the path as that route had changed it, the
//! routes of the service's router. An edge proxy asks once.

use super::super::draft::{Draft, Entry};
use super::matches::escaped;

/// Which paths. Prefixes have no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// This one, and what is below it; empty: every path.
    Prefix(String),
    /// This one alone.
    Exact(String),
    /// Those that a regular expression fits as a whole.
    Regex(String),
}

/// What becomes of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It stays.
    Keep,
    /// This takes the place of the prefix; without a slash at the end.
    Prefix(String),
    /// This is the whole new path.
    Whole(String),
}

/// Why two routes don't make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    /// No request takes both.
    Never,
    /// Some do, and which can't be said.
    Unsayable(&'static str),
}

impl Path {
    /// That of a `match`.
    pub(crate) fn of(keys: &[Entry]) -> Self {
        let path = get(keys, "path").map(|entry| &entry.value);
        let found =
            [("exact", Path::Exact as fn(String) -> Self), ("regex", Path::Regex), ("prefix", Path::Prefix)]
                .into_iter()
                .find_map(|(kind, path_of)| Some(path_of(text(get(map(path?), kind)?)?)));
        found.unwrap_or(Path::Prefix(String::new()))
    }

    /// As a key of a `match`; `None`: every path.
    fn entry(&self) -> Option<Entry> {
        let (kind, text) = match self {
            Path::Prefix(prefix) if prefix.is_empty() => return None,
            Path::Prefix(text) => ("prefix", text),
            Path::Exact(text) => ("exact", text),
            Path::Regex(text) => ("regex", text),
        };
        Some(Entry::new("path", Draft::of([(kind, text.as_str().into())])))
    }
}

impl Change {
    /// As keys of a `rewrite`.
    pub(crate) fn entry(&self) -> Option<Entry> {
        match self {
            Change::Keep => None,
            Change::Prefix(prefix) if prefix.is_empty() => Some(Entry::new("prefix", "/")),
            Change::Prefix(prefix) => Some(Entry::new("prefix", prefix.as_str())),
            Change::Whole(path) => Some(Entry::new("path", path.as_str())),
        }
    }
}

/// The paths that a gateway's route takes and whose new path a route takes, and what becomes of them.
pub(crate) fn paths(outer: &Path, change: &Change, inner: &Path) -> Result<(Path, Change), Apart> {
    let everything = matches!(inner, Path::Prefix(prefix) if prefix.is_empty());
    if everything {
        return Ok((outer.clone(), change.clone()));
    }
    match (outer, change) {
        (Path::Prefix(prefix), Change::Keep) => below_prefix(prefix, prefix, inner),
        (Path::Prefix(prefix), Change::Prefix(new)) => below_prefix(prefix, new, inner),
        // The new path is the same for all of them.
        (_, Change::Whole(new)) => one_path(new, inner).map(|()| (outer.clone(), change.clone())),
        (Path::Exact(path), _) => {
            let new = if let Change::Prefix(new) = change { new } else { path };
            one_path(new, inner).map(|()| (outer.clone(), change.clone()))
        }
        (Path::Regex(_), _) => Err(Apart::Unsayable(
            "paths by a regular expression, with routes by path behind them, can't be said",
        )),
    }
}

/// Whether this one path takes a route.
fn one_path(path: &str, inner: &Path) -> Result<(), Apart> {
    let fits = match inner {
        Path::Prefix(prefix) => below(path, prefix).is_some(),
        Path::Exact(exact) => path == exact,
        Path::Regex(_) => return Err(Apart::Unsayable(REGEX_BEHIND)),
    };
    if fits { Ok(()) } else { Err(Apart::Never) }
}

const REGEX_BEHIND: &str = "a route by a regular expression behind a changed path can't be said";

fn below_prefix(prefix: &str, new: &str, inner: &Path) -> Result<(Path, Change), Apart> {
    let same = prefix == new;
    let or_keep = |change: Change| if same { Change::Keep } else { change };
    match inner {
        Path::Prefix(inner) => match below(inner, new) {
            Some(rest) => {
                Ok((Path::Prefix(format!("{prefix}{rest}")), or_keep(Change::Prefix(inner.clone()))))
            }
            None if below(new, inner).is_some() => {
                Ok((Path::Prefix(prefix.to_owned()), or_keep(Change::Prefix(new.to_owned()))))
            }
            None => Err(Apart::Never),
        },
        Path::Exact(inner) => {
            let rest = below(inner, new).ok_or(Apart::Never)?;
            let path = match (prefix, rest) {
                ("", "") => Path::Exact("/".to_owned()),
                // Both become the slash.
                (_, "/") if !same => Path::Regex(format!("{}/?", escaped(prefix))),
                _ => Path::Exact(format!("{prefix}{rest}")),
            };
            Ok((path, or_keep(Change::Whole(inner.clone()))))
        }
        Path::Regex(_) if same && prefix.is_empty() => Ok((inner.clone(), Change::Keep)),
        Path::Regex(_) => Err(Apart::Unsayable(REGEX_BEHIND)),
    }
}

/// What is left of a path behind a prefix of whole steps.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The keys of a `match` that both hold for, on this path.
pub(crate) fn matches(outer: &[Entry], inner: &[Entry], path: &Path) -> Result<Vec<Entry>, Apart> {
    let mut keys: Vec<Entry> = path.entry().into_iter().collect();
    for key in ["hosts", "method", "headers", "query"] {
        match (get(outer, key), get(inner, key)) {
            (Some(one), None) | (None, Some(one)) => keys.push(one.clone()),
            (Some(one), Some(other)) if one.value == other.value => keys.push(one.clone()),
            (Some(one), Some(other)) if key == "headers" || key == "query" => {
                let mut all = map(&one.value).to_vec();
                for entry in map(&other.value) {
                    match get(&all, &entry.key) {
                        None => all.push(entry.clone()),
                        Some(same) if same.value == entry.value => {}
                        Some(_) => return Err(Apart::Unsayable("two conditions on one name can't be said")),
                    }
                }
                keys.push(Entry::new(key, Draft::Map(all)));
            }
            (Some(_), Some(_)) => return Err(Apart::Never),
            (None, None) => {}
        }
    }
    Ok(keys)
}

/// The entry of this key.
pub(crate) fn get<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == key)
}

/// A mapping's entries; none of anything else.
pub(crate) fn map(draft: &Draft) -> &[Entry] {
    if let Draft::Map(entries) = draft { entries } else { &[] }
}

fn text(entry: &Entry) -> Option<String> {
    if let Draft::Scalar(value) = &entry.value { value.as_str().map(str::to_owned) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        match text.split_at(1) {
            ("=", path) => Path::Exact(path.to_owned()),
            ("~", regex) => Path::Regex(regex.to_owned()),
            _ => Path::Prefix(text.trim_end_matches('/').to_owned()),
        }
    }

    fn change(text: &str) -> Change {
        match text {
            "" => Change::Keep,
            _ => text.strip_prefix('=').map_or_else(
                || Change::Prefix(text.trim_end_matches('/').to_owned()),
                |path| Change::Whole(path.to_owned()),
            ),
        }
    }

    #[test]
    fn two_paths_are_one() {
        // The gateway's path, what becomes of it, the route's path; both, and what becomes of it. `=`: exact, `~`: regex.
        for (outer, new, inner, both, then) in [
            ("/", "", "/v2", "/v2", ""),
            ("/", "", "=/v2", "=/v2", ""),
            ("/", "", "~/v[0-9]", "~/v[0-9]", ""),
            ("/shop", "", "/", "/shop", ""),
            ("/shop", "", "/shop/v2", "/shop/v2", ""),
            ("/shop/v2", "", "/shop", "/shop/v2", ""),
            ("/shop", "", "=/shop/", "=/shop/", ""),
            ("/shop", "/", "/", "/shop", "/"),
            ("/shop", "/", "/v2", "/shop/v2", "/v2"),
            ("/shop", "/", "=/v2", "=/shop/v2", "=/v2"),
            ("/shop", "/", "=/", "~/shop/?", "=/"),
            ("/sh.p", "/", "=/", r"~/sh\.p/?", "=/"),
            ("/shop", "/api/v1/", "/api", "/shop", "/api/v1"),
            ("/shop", "/api/v1/", "/api/v1/a", "/shop/a", "/api/v1/a"),
            ("/", "/api", "=/api", "=/", "=/api"),
            ("=/a", "", "/", "=/a", ""),
            ("=/a/b", "", "/a", "=/a/b", ""),
            ("=/a", "=/b/c", "/b", "=/a", "=/b/c"),
            ("~/[a-z]+", "", "/", "~/[a-z]+", ""),
            ("~/[a-z]+", "=/b", "=/b", "~/[a-z]+", "=/b"),
        ] {
            assert_eq!(
                paths(&path(outer), &change(new), &path(inner)),
                Ok((path(both), change(then))),
                "{outer} to {new:?}, then {inner}"
            );
        }
    }

    #[test]
    fn some_paths_never_meet_and_some_can_not_be_said() {
        for (outer, new, inner) in [
            ("/shop", "", "/cart"),
            ("/shop", "", "=/"),
            ("/shop", "/api", "=/shop/a"),
            ("=/a", "", "=/b"),
            ("=/a", "=/b", "/a"),
            ("/shop", "/api", "/apis"),
        ] {
            assert_eq!(
                paths(&path(outer), &change(new), &path(inner)),
                Err(Apart::Never),
                "{outer} {new} {inner}"
            );
        }
        for (outer, new, inner) in
            [("/shop", "/", "~/v[0-9]"), ("=/a", "", "~/a"), ("~/a|b", "", "/a"), ("~/a", "=/b", "~/b")]
        {
            let both = paths(&path(outer), &change(new), &path(inner));
            assert!(matches!(both, Err(Apart::Unsayable(_))), "{outer} {new} {inner}: {both:?}");
        }
    }

    #[test]
    fn all_conditions_of_both_hold() {
        let header = |name: &str, value: &str| Entry::new(name, Draft::of([("exact", value.into())]));
        let headers = |entries: Vec<Entry>| Entry::new("headers", Draft::Map(entries));
        let any = Path::Prefix(String::new());
        let outer = vec![Entry::new("method", "GET"), headers(vec![header("a", "1")])];
        let inner = vec![headers(vec![header("a", "1"), header("b", "2")])];
        let both = matches(&outer, &inner, &any).unwrap();
        assert_eq!(both, [outer[0].clone(), headers(vec![header("a", "1"), header("b", "2")])]);
        assert_eq!(matches(&outer, &[Entry::new("method", "PUT")], &any), Err(Apart::Never));
        let other = [headers(vec![header("a", "2")])];
        assert!(matches!(matches(&outer, &other, &any), Err(Apart::Unsayable(_))));
    }
}
