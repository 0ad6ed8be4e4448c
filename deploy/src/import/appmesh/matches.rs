//! Which requests a route is for.

use super::super::draft::{Draft, Entry};
use super::super::listing::Listing;
use super::super::value::{Resource, Value};

/// A route's conditions in our words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Matches {
    /// The keys of `match`; empty: every request.
    pub(crate) keys: Vec<Entry>,
    /// The higher, the earlier it comes among routes of one priority: kind of path, its length, other conditions.
    pub(crate) weight: (u8, usize, usize),
    /// What to say above the route.
    pub(crate) comment: Option<String>,
}

/// A condition that our model can't say, and why.
type Refusal<'a> = (&'a Value, &'static str);

/// Reads the conditions of an HTTP or gRPC route. `None` where they can't be said: without one of its conditions a route
/// would take requests that are not for it, so it is left out whole, and listed.
pub(crate) fn read(written: &Value, resource: &Resource<'_>, listing: &mut Listing) -> Option<Matches> {
    match conditions(written, resource, listing) {
        Ok(matches) => Some(matches),
        Err((value, why)) => {
            let message = format!("{why}: the whole route is left out");
            listing.list(resource.place_of(value), message);
            resource.value.dealt_with();
            None
        }
    }
}

fn conditions<'a>(
    written: &'a Value,
    resource: &Resource<'_>,
    listing: &mut Listing,
) -> Result<Matches, Refusal<'a>> {
    let mut matches = Matches::default();
    if let Some(prefix) = written.get("prefix") {
        let text = prefix.text().ok_or((prefix, "the path can't be worked out"))?;
        let ours = text.trim_end_matches('/');
        if !ours.is_empty() {
            if !text.ends_with('/') {
                let more = format!(
                    "App Mesh's prefix {text} also took paths such as {text}0; ours takes whole steps"
                );
                listing.list(resource.place_of(prefix), more.as_str());
                matches.comment = Some(more);
            }
            matches.weight = (0, text.len(), 0);
            matches.keys.push(Entry::new("path", Draft::of([("prefix", ours.into())])));
        }
    }
    if let Some(path) = written.get("path") {
        let (kind, rank) = if path.has("exact") { ("exact", 2) } else { ("regex", 1) };
        let text = path.get(kind).and_then(Value::text).ok_or((path, "the path can't be worked out"))?;
        matches.weight = (rank, text.len(), 0);
        matches.keys.push(Entry::new("path", Draft::of([(kind, text.into())])));
    }
    if let Some(service) = written.get("serviceName") {
        let name = service.text().ok_or((service, "the gRPC service can't be worked out"))?;
        let method = match written.get("methodName") {
            None => None,
            Some(method) => Some(method.text().ok_or((method, "the gRPC method can't be worked out"))?),
        };
        let (kind, path) = match method {
            Some(method) => ("exact", format!("/{name}/{method}")),
            None => ("prefix", format!("/{name}")),
        };
        matches.weight = (u8::from(method.is_some()), path.len(), 0);
        matches.keys.push(Entry::new("path", Draft::of([(kind, path.into())])));
    } else if let Some(method) = written.get("methodName") {
        return Err((method, "a gRPC method without its service can't be matched"));
    }
    if let Some(method) = written.get("method") {
        let text = method.text().ok_or((method, "the method can't be worked out"))?;
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err((method, "this is no method"));
        }
        matches.keys.push(Entry::new("method", text.to_ascii_uppercase()));
    }
    if let Some(scheme) = written.get("scheme")
        && !scheme.text().is_some_and(|text| text.eq_ignore_ascii_case("http"))
    {
        return Err((scheme, "only plain http is routed"));
    }
    let headers = written.get("headers").or_else(|| written.get("metadata"));
    let headers = texts(headers)?;
    let query = texts(written.get("queryParameters"))?;
    matches.weight.2 = headers.len() + query.len() + usize::from(written.has("method"));
    for (key, texts) in [("headers", headers), ("query", query)] {
        if !texts.is_empty() {
            matches.keys.push(Entry::new(key, Draft::Map(texts)));
        }
    }
    Ok(matches)
}

/// Conditions on headers, gRPC's metadata or query parameters.
fn texts(written: Option<&Value>) -> Result<Vec<Entry>, Refusal<'_>> {
    let mut entries: Vec<Entry> = Vec::new();
    for one in written.into_iter().flat_map(Value::elements) {
        let name = one.get("name").and_then(Value::text).ok_or((one, "a name can't be worked out"))?;
        if entries.iter().any(|entry| entry.key == name) {
            return Err((one, "two conditions on one name can't be said"));
        }
        let inverted = one.get("invert").and_then(Value::truth) == Some(true);
        let condition = one.get("match").filter(|condition| condition.is_map());
        let draft = match condition {
            None => Draft::of([("present", (!inverted).into())]),
            Some(condition) if inverted => {
                return Err((condition, "a condition that is turned round (invert) can't be said"));
            }
            Some(condition) => text(condition)?,
        };
        entries.push(Entry::new(name, draft));
    }
    Ok(entries)
}

fn text(condition: &Value) -> Result<Draft, Refusal<'_>> {
    for kind in ["exact", "prefix", "regex"] {
        if let Some(value) = condition.get(kind) {
            let text = value.text().ok_or((value, "its text can't be worked out"))?;
            return Ok(Draft::of([(kind, text.into())]));
        }
    }
    if let Some(suffix) = condition.get("suffix") {
        let text = suffix.text().ok_or((suffix, "its text can't be worked out"))?;
        return Ok(Draft::of([("regex", format!(".*{}", escaped(text)).into())]));
    }
    Err((condition, "a range of numbers can't be said"))
}

/// A regular expression for this text alone.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
