//! A tap's filter as a query: what `/tap?…` takes.

use std::time::Duration;

use http::{HeaderName, Method};

use super::Filter;

/// What a query may have.
pub const KEYS: [(&str, &str); 11] = [
    ("service", "NAME: to this service, or inbound:PORT"),
    ("endpoint", "IP:PORT: with an attempt at this endpoint"),
    ("status", "503, 5xx, 400-499"),
    ("failed", "true: 5xx, broken off, or answered by the proxy itself"),
    ("retried", "true: with more than one attempt"),
    ("method", "GET"),
    ("path", "/prefix"),
    ("header", "NAME or NAME:PART-OF-VALUE"),
    ("slower-than-ms", "N: that took at least so long"),
    ("with-query", "true: lines have query strings"),
    ("limit", "N: end after so many"),
];

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Which requests.
    pub filter: Filter,
    /// With query strings.
    pub with_query: bool,
    /// How many; `None`: as many as come.
    pub limit: Option<u64>,
}

/// Reads a query, of pairs that are percent-decoded already.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn asked<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Asked, String> {
    let mut asked = Asked { filter: Filter::default(), with_query: false, limit: None };
    let filter = &mut asked.filter;
    for (key, value) in pairs {
        let wrong = || {
            let form = KEYS.iter().find(|(known, _)| *known == key).map_or("", |(_, form)| form);
            format!("{key}={value} is not understood: {key} is {form}")
        };
        match key {
            "service" => filter.service = Some(value.to_owned()),
            "endpoint" => filter.endpoint = Some(value.parse().map_err(|_| wrong())?),
            "status" => {
                let (from, to) = statuses(value).ok_or_else(wrong)?;
                (filter.from_status, filter.to_status) = (Some(from), Some(to));
            }
            "failed" => filter.failed = value.parse().map_err(|_| wrong())?,
            "retried" => filter.retried = value.parse().map_err(|_| wrong())?,
            "method" => filter.method = Some(Method::from_bytes(value.as_bytes()).map_err(|_| wrong())?),
            "path" => filter.path = Some(value.to_owned()),
            "header" => {
                let (name, part) = match value.split_once(':') {
                    Some((name, part)) => (name, Some(part.trim().to_owned())),
                    None => (value, None),
                };
                let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
                filter.header = Some((name, part));
            }
            "slower-than-ms" => {
                filter.slower_than = Some(Duration::from_millis(value.parse().map_err(|_| wrong())?));
            }
            "with-query" => asked.with_query = value.parse().map_err(|_| wrong())?,
            "limit" => asked.limit = Some(value.parse().map_err(|_| wrong())?),
            unknown => {
                let nearest = bowline_api::nearest(unknown, KEYS.iter().map(|(key, _)| *key));
                let hint = nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default();
                return Err(format!("{unknown} is nothing that a tap can be asked for{hint}"));
            }
        }
    }
    Ok(asked)
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some((from.parse().ok()?, to.parse().ok()?)).filter(|(from, to)| from <= to && *from > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_understood() {
        let pairs = [("status", "5xx"), ("header", "x-user: ann"), ("slower-than-ms", "5"), ("limit", "3")];
        let asked = asked(pairs.into_iter()).unwrap();
        assert_eq!((asked.filter.from_status, asked.filter.to_status), (Some(500), Some(599)));
        assert_eq!(asked.filter.header, Some((HeaderName::from_static("x-user"), Some("ann".to_owned()))));
        assert_eq!(asked.filter.slower_than, Some(Duration::from_millis(5)));
        assert_eq!(asked.limit, Some(3));
        assert_eq!(statuses("400-403"), Some((400, 403)));
        assert_eq!((statuses("6xx"), statuses("9-1"), statuses("x")), (None, None, None));
    }

    #[test]
    fn what_is_not_is_said() {
        let of = |key, value| asked([(key, value)].into_iter()).unwrap_err();
        assert_eq!(of("servce", "a"), "servce is nothing that a tap can be asked for; did you mean service?");
        assert!(of("status", "bad").starts_with("status=bad is not understood: status is 503, 5xx"));
        assert!(of("endpoint", "10.0.0.1").contains("IP:PORT"));
    }
}
