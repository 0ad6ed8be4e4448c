//! Percentiles of few values.

use std::time::Duration;

use serde_json::{Value, json};

/// `{"count", "p50", "p99", "max"}` in milliseconds, by nearest rank; null where there is no value.
#[must_use]
pub fn milliseconds(mut values: Vec<Duration>) -> Value {
    values.sort_unstable();
    let at = |share: f64| {
        // A rank is a small whole number.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.max(1) - 1).map(|value| value.as_secs_f64() * 1e3)
    };
    json!({ "count": values.len(), "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let page = milliseconds((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(page, json!({ "count": 200, "p50": 100.0, "p99": 198.0, "max": 200.0 }));
        let one = milliseconds(vec![Duration::from_millis(7)]);
        assert_eq!(one, json!({ "count": 1, "p50": 7.0, "p99": 7.0, "max": 7.0 }));
        assert_eq!(milliseconds(vec![])["max"], Value::Null);
    }
}
