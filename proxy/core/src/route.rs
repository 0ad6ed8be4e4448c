//! Which route a request takes.
//!
//! A [`Table`] is compiled once a snapshot from ordered rules; the first that fits decides. Tables are short, so they're
//! gone through in order, and the conditions that cost least are looked at first. A look-up allocates nothing: queries
//! are decoded as they're compared. (A regular expression keeps its working memory from one use to the next.)
//!
//! Paths are compared as they were sent, byte by byte: nothing is decoded, and `..` means nothing. That is what Envoy
//! and nginx' exact forms do, and what the server gets.
//!
//! [`Split`] shares a route's requests out over several targets, [`Rewrite`] makes the new path.

use std::fmt;

use http::header::GetAll;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

mod path;
mod rewrite;
mod split;
mod text;

pub use path::PathRule;
pub use rewrite::{PathRewrite, Rewrite};
pub use split::Split;
pub use text::TextRule;

use path::PathMatcher;
use text::TextMatcher;

/// Which requests a route is for: all that is said must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The path.
    pub path: PathRule,
    /// The method, exactly; any when `None`.
    pub method: Option<String>,
    /// The host, without its port and whatever the case: a name, or `*.` and a name for all hosts below it. Any when
    /// empty, else one of them.
    pub hosts: Vec<String>,
    /// Headers by name. One that comes several times fits when one of its values does.
    pub headers: Vec<(String, TextRule)>,
    /// Query parameters by name, decoded. One that comes several times fits when one of its values does.
    pub query: Vec<(String, TextRule)>,
}

/// What is looked at of a request.
#[derive(Copy, Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The authority or `host` header; empty if there's none.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// What comes after the `?`; empty if there's none.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A rule that can't be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// Which rule, from 0.
    pub route: usize,
    /// What is wrong with it.
    pub kind: RouteErrorKind,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteErrorKind {
    /// Not a regular expression: the text, and why.
    Regex(String, String),
    /// Not a path template: the text, and why.
    Template(String, &'static str),
    /// A path that doesn't begin with `/`.
    Path(String),
    /// Not a method.
    Method(String),
    /// Not the name of a header.
    Header(String),
    /// Not a host: the only place for a `*` is in front, followed by a dot.
    Host(String),
    /// The new path can't be made from what the rule matches: why.
    Rewrite(&'static str),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}: {}", self.route, self.kind)
    }
}

impl std::error::Error for RouteError {}

impl fmt::Display for RouteErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regex(text, why) => write!(f, "`{text}` is not a regular expression: {why}"),
            Self::Template(text, why) => write!(f, "`{text}` is not a path template: {why}"),
            Self::Path(text) => write!(f, "the path `{text}` does not begin with /"),
            Self::Method(text) => write!(f, "`{text}` is not a method"),
            Self::Header(text) => write!(f, "`{text}` is not the name of a header"),
            Self::Host(text) => write!(f, "`{text}` is not a host or * and a host"),
            Self::Rewrite(why) => write!(f, "the path can't be rewritten: {why}"),
        }
    }
}

impl std::error::Error for RouteErrorKind {}

/// Why a rule doesn't fit a request: the first condition that fails.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// The method.
    Method,
    /// The path.
    Path,
    /// The host.
    Host,
    /// The header of this name.
    Header(&'a str),
    /// The query parameter of this name.
    Query(&'a str),
}

/// Compiled rules, in order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rules: Box<[Matcher]>,
    /// The headers that they look at, each once.
    headers: Box<[HeaderName]>,
}

#[derive(Clone, Debug)]
struct Matcher {
    method: Option<Method>,
    path: PathMatcher,
    hosts: Box<[Host]>,
    /// By the header's place in [`Table::headers`].
    headers: Box<[(usize, TextMatcher)]>,
    query: Box<[(Box<str>, TextMatcher)]>,
}

/// A request on its way through the rules.
struct Looked<'a> {
    request: &'a Request<'a>,
    /// The header that was looked up last, by its place: rules near each other often ask for the same one.
    header: Option<(usize, GetAll<'a, HeaderValue>)>,
}

#[derive(Clone, Debug)]
enum Host {
    Exact(Box<str>),
    /// With its leading dot.
    Below(Box<str>),
}

impl Table {
    /// Compiles rules.
    ///
    /// # Errors
    /// All rules that can't be compiled, with the first thing that is wrong with each.
    pub fn new(rules: &[Rule]) -> Result<Self, Vec<RouteError>> {
        let mut errors = Vec::new();
        let mut compiled = Vec::with_capacity(rules.len());
        let mut headers = Vec::new();
        for (route, rule) in rules.iter().enumerate() {
            match Matcher::new(rule, &mut headers) {
                Ok(matcher) => compiled.push(matcher),
                Err(kind) => errors.push(RouteError { route, kind }),
            }
        }
        match errors.is_empty() {
            true => Ok(Self { rules: compiled.into(), headers: headers.into() }),
            false => Err(errors),
        }
    }

    /// The first rule that fits, by its place; `None` when none does.
    #[inline]
    #[must_use]
    pub fn find(&self, request: &Request<'_>) -> Option<usize> {
        let mut looked = Looked { request, header: None };
        self.rules.iter().position(|rule| self.differs(rule, &mut looked).is_none())
    }

    /// Why the rule at this place doesn't fit; `None` when it does, or isn't there.
    #[must_use]
    pub fn mismatch(&self, route: usize, request: &Request<'_>) -> Option<Mismatch<'_>> {
        self.differs(self.rules.get(route)?, &mut Looked { request, header: None })
    }

    /// Whether any rule looks at the host.
    #[must_use]
    pub fn looks_at_hosts(&self) -> bool {
        self.rules.iter().any(|rule| !rule.hosts.is_empty())
    }

    /// Why this rule doesn't fit.
    #[inline]
    fn differs<'a>(&'a self, rule: &'a Matcher, looked: &mut Looked<'_>) -> Option<Mismatch<'a>> {
        let request = looked.request;
        if rule.method.as_ref().is_some_and(|method| method != request.method) {
            return Some(Mismatch::Method);
        }
        if !rule.path.fits(request.path) {
            return Some(Mismatch::Path);
        }
        if !rule.hosts.is_empty() {
            let host = without_port(request.host);
            if !rule.hosts.iter().any(|rule| rule.fits(host)) {
                return Some(Mismatch::Host);
            }
        }
        for (header, text) in &rule.headers {
            let name = &self.headers[*header];
            if !text.fits_header(looked.header(*header, name)) {
                return Some(Mismatch::Header(name.as_str()));
            }
        }
        for (name, text) in &rule.query {
            if !text.fits_query(request.query, name) {
                return Some(Mismatch::Query(name));
            }
        }
        None
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl<'a> Looked<'a> {
    /// The values of the header at this place, which has this name.
    #[inline]
    fn header(&mut self, place: usize, name: &HeaderName) -> &GetAll<'a, HeaderValue> {
        if self.header.as_ref().is_none_or(|(last, _)| *last != place) {
            self.header = None;
        }
        let request = self.request;
        &self.header.get_or_insert_with(|| (place, request.headers.get_all(name))).1
    }
}

impl Matcher {
    /// Compiles a rule; `headers` are those that rules look at so far.
    fn new(rule: &Rule, headers: &mut Vec<HeaderName>) -> Result<Self, RouteErrorKind> {
        let method = |text: &String| {
            Method::from_bytes(text.as_bytes()).map_err(|_| RouteErrorKind::Method(text.clone()))
        };
        let mut header = |(name, rule): &(String, TextRule)| {
            let name = name.parse::<HeaderName>().map_err(|_| RouteErrorKind::Header(name.clone()))?;
            let place = headers.iter().position(|known| *known == name).unwrap_or_else(|| {
                headers.push(name);
                headers.len() - 1
            });
            Ok((place, TextMatcher::new(rule)?))
        };
        let query = |(name, rule): &(String, TextRule)| Ok((name.as_str().into(), TextMatcher::new(rule)?));
        Ok(Self {
            method: rule.method.as_ref().map(method).transpose()?,
            path: PathMatcher::new(&rule.path)?,
            hosts: rule.hosts.iter().map(|host| Host::new(host)).collect::<Result<_, _>>()?,
            headers: rule.headers.iter().map(&mut header).collect::<Result<_, RouteErrorKind>>()?,
            query: rule.query.iter().map(query).collect::<Result<_, RouteErrorKind>>()?,
        })
    }
}

impl Host {
    fn new(text: &str) -> Result<Self, RouteErrorKind> {
        let (below, name) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let wrong =
            name.trim_start_matches('.').is_empty() || name.contains('*') || below != name.starts_with('.');
        match (wrong, below) {
            (true, _) => Err(RouteErrorKind::Host(text.to_owned())),
            (false, true) => Ok(Self::Below(name.into())),
            (false, false) => Ok(Self::Exact(name.into())),
        }
    }

    fn fits(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(end) => {
                let split = host.len().checked_sub(end.len()).filter(|at| *at > 0);
                split.and_then(|at| host.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
            }
        }
    }
}

/// The host of an authority: `server:5000` → `server`, `[::1]:80` → `[::1]`, and without the root's dot.
fn without_port(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests;
