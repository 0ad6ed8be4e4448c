//! How headers and query parameters are compared.

use http::HeaderValue;
use http::header::GetAll;
use regex_lite::Regex;

use super::RouteErrorKind;
use super::path::whole;

/// How a header or query parameter is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextRule {
    /// This value alone.
    Exact(String),
    /// Any value that begins so.
    Prefix(String),
    /// A regular expression that fits the whole value. Values that aren't UTF-8 don't fit, nor do those of a query that
    /// must be decoded and have over 1024 bytes.
    Regex(String),
    /// It is there.
    Present,
    /// It isn't there.
    Absent,
}

#[derive(Clone, Debug)]
pub(super) enum TextMatcher {
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Regex),
    Present,
    Absent,
}

/// The longest value of a query parameter that is decoded for a regular expression.
const LONGEST: usize = 1024;

impl TextMatcher {
    pub(super) fn new(rule: &TextRule) -> Result<Self, RouteErrorKind> {
        Ok(match rule {
            TextRule::Exact(text) => Self::Exact(text.as_str().into()),
            TextRule::Prefix(text) => Self::Prefix(text.as_str().into()),
            TextRule::Regex(text) => Self::Regex(whole(text)?),
            TextRule::Present => Self::Present,
            TextRule::Absent => Self::Absent,
        })
    }

    #[inline]
    pub(super) fn fits_header(&self, values: &GetAll<'_, HeaderValue>) -> bool {
        let mut values = values.iter().map(|value| value.as_bytes());
        match self {
            Self::Absent => values.next().is_none(),
            _ => values.any(|value| self.fits(value)),
        }
    }

    /// A header's value.
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value)),
            Self::Present => true,
            Self::Absent => false,
        }
    }

    #[inline]
    pub(super) fn fits_query(&self, query: &str, name: &str) -> bool {
        if query.is_empty() { matches!(self, Self::Absent) } else { self.fits_some_query(query, name) }
    }

    fn fits_some_query(&self, query: &str, name: &str) -> bool {
        let mut values = values(query, name);
        match self {
            Self::Absent => values.next().is_none(),
            _ => values.any(|value| self.fits_encoded(value)),
        }
    }

    /// A query parameter's value, as it was sent.
    fn fits_encoded(&self, value: &str) -> bool {
        if !value.contains(['%', '+']) {
            return self.fits(value.as_bytes());
        }
        match self {
            Self::Exact(text) => decoded(value).eq(text.bytes()),
            Self::Prefix(text) => {
                let mut value = decoded(value);
                text.bytes().all(|byte| value.next() == Some(byte))
            }
            Self::Regex(_) => {
                let mut buffer = [0; LONGEST];
                let mut len = 0;
                for byte in decoded(value) {
                    let Some(place) = buffer.get_mut(len) else { return false };
                    *place = byte;
                    len += 1;
                }
                self.fits(&buffer[..len])
            }
            Self::Present => true,
            Self::Absent => false,
        }
    }
}

/// The values of a query parameter, as they were sent; one without `=` is empty.
pub(super) fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && decoded(key).eq(name.bytes())).then_some(value)
    })
}

/// The bytes that a form-encoded text stands for. A `%` without two hexadecimal digits after it stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        at += 1;
        Some(match byte {
            b'+' => b' ',
            b'%' => match (hex(bytes.get(at)), hex(bytes.get(at + 1))) {
                (Some(high), Some(low)) => {
                    at += 2;
                    high << 4 | low
                }
                _ => byte,
            },
            _ => byte,
        })
    })
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).map(|digit| digit as u8)
}
