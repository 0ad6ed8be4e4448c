//! App Mesh's spans of time.

use super::super::listing::Listing;
use super::super::timeouts::{Bounds, MAX_SECONDS};
use super::super::value::{Resource, Value};

/// `{ unit: s, value: 5 }` in milliseconds; what is none is listed.
pub(crate) fn milliseconds(written: &Value, resource: &Resource<'_>, listing: &mut Listing) -> Option<u64> {
    let value = written.get("value");
    let unit = written.get("unit").and_then(Value::text).unwrap_or("ms");
    let factor = if unit.eq_ignore_ascii_case("s") { 1000 } else { 1 };
    let span = value.and_then(Value::number).and_then(|number| number.checked_mul(factor));
    let span = span.filter(|span| *span <= MAX_SECONDS * 1000);
    if span.is_none() && value.is_none_or(|value| value.text().is_some()) {
        resource.list(written, listing, "is no span of time up to a year: left out");
    }
    span
}

/// `{ idle, perRequest }`.
pub(crate) fn bounds(written: Option<&Value>, resource: &Resource<'_>, listing: &mut Listing) -> Bounds {
    let mut bound = |key: &str| milliseconds(written?.get(key)?, resource, listing);
    Bounds { idle: bound("idle"), per_request: bound("perRequest") }
}

/// The one that ends first; 0 is off.
pub(crate) fn shorter(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(0), Some(other)) | (Some(other), Some(0)) => Some(other),
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The one that ends last, where nothing stands for `default`; 0 is off.
pub(crate) fn longer(a: Option<u64>, b: Option<u64>, default: u64) -> Option<u64> {
    if a == b {
        return a;
    }
    let (long, other) = (a.unwrap_or(default), b.unwrap_or(default));
    Some(if long == 0 || other == 0 { 0 } else { long.max(other) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_bound_holds_and_none_is_the_default() {
        for (a, b, holds) in [
            (Some(5), Some(7), Some(7)),
            (Some(5), None, Some(15)),
            (Some(20), None, Some(20)),
            (Some(0), Some(20), Some(0)),
            (Some(0), None, Some(0)),
            (None, None, None),
        ] {
            assert_eq!(longer(a, b, 15), holds);
            assert_eq!(longer(b, a, 15), holds);
        }
    }

    #[test]
    fn the_shorter_bound_holds_and_none_is_longest() {
        for (a, b, holds) in [
            (Some(5), Some(7), Some(5)),
            (Some(0), Some(7), Some(7)),
            (Some(0), Some(0), Some(0)),
            (None, Some(7), Some(7)),
            (None, Some(0), Some(0)),
            (None, None, None),
        ] {
            assert_eq!(shorter(a, b), holds);
            assert_eq!(shorter(b, a), holds);
        }
    }
}
