//! Durations as people write them in Service Connect: a number of seconds, fractions allowed.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of seconds, 0 to one year, to the nanosecond. Where the key says so, 0 means off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(Duration);

impl Seconds {
    /// The most that can be written: one year. Longer is a typing error, and keeps deadline arithmetic from overflow.
    pub const MAX: u64 = 365 * 24 * 3600;

    /// Whole seconds.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Any duration.
    #[must_use]
    pub const fn from_duration(duration: Duration) -> Self {
        Self(duration)
    }

    /// The duration as it stands, 0 included.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The duration, or `None` for 0, which Service Connect reads as "off".
    #[must_use]
    pub const fn limit(self) -> Option<Duration> {
        if self.0.is_zero() { None } else { Some(self.0) }
    }

    /// From a number as it stands in a file; `None` if it is negative, no number, or more than a year.
    #[must_use]
    pub fn from_f64(seconds: f64) -> Option<Self> {
        // The comparison is false for NaN, which therefore never reaches the conversion.
        #[expect(clippy::cast_precision_loss, reason = "a year in seconds is exact in an f64")]
        let in_range = (0.0..=Self::MAX as f64).contains(&seconds);
        if !in_range {
            return None;
        }
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

impl fmt::Display for Seconds {
    /// As a person would say it: `15 s`, `0.25 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

impl Serialize for Seconds {
    /// Whole seconds as an integer (`15`, not `15.0`), so that what we print reads like what people write.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

/// Reads any number; shared with [`super::AttemptTimeout`], which also takes a word.
pub(super) struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds from 0 to a year")
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Seconds, E> {
        if v > Seconds::MAX {
            return Err(E::invalid_value(de::Unexpected::Unsigned(v), &self));
        }
        Ok(Seconds::new(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Seconds, E> {
        match u64::try_from(v) {
            Ok(v) => self.visit_u64(v),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(v), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Seconds, E> {
        Seconds::from_f64(v).ok_or_else(|| E::invalid_value(de::Unexpected::Float(v), &self))
    }
}

impl JsonSchema for Seconds {
    // Inlined, so that a field can narrow the range with `#[schemars(range(...))]`.
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": Self::MAX })
    }
}
