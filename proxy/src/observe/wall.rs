//! Ticks as the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowline_core::Tick;

use crate::clock::Clock;

/// The time of day at one tick; of those before it too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    at: Tick,
    since_epoch: Duration,
}

impl Wall {
    /// As of now.
    pub(super) fn now(clock: Clock) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall { at: clock.now(), since_epoch }
    }

    /// Since the Unix epoch.
    pub(super) fn since_epoch(self, tick: Tick) -> Duration {
        match tick <= self.at {
            true => self.since_epoch.saturating_sub(self.at.since(tick)),
            false => self.since_epoch + tick.since(self.at),
        }
    }

    /// In nanoseconds since the Unix epoch.
    pub(super) fn nanos(self, tick: Tick) -> u64 {
        u64::try_from(self.since_epoch(tick).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A moment as RFC 3339 in UTC, to the microsecond.
pub(super) fn rfc3339(since_epoch: Duration, to: &mut String) {
    use std::fmt::Write as _;
    let seconds = since_epoch.as_secs();
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let micros = since_epoch.subsec_micros();
    let _ = write!(to, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is the first month: a leap day is the last of its year.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let of = |seconds, micros: u32| {
            let mut text = String::new();
            rfc3339(Duration::new(seconds, micros * 1000), &mut text);
            text
        };
        assert_eq!(of(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(of(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(of(951_782_400, 0), "2000-02-29T00:00:00.000000Z");
        assert_eq!(of(1_795_219_200, 1), "2026-11-21T00:00:00.000001Z");
        assert_eq!(of(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn moments_before_and_after_are_told() {
        let wall = Wall { at: Tick(1_000), since_epoch: Duration::from_nanos(5_000) };
        assert_eq!((wall.nanos(Tick(400)), wall.nanos(Tick(1_500))), (4_400, 5_500));
    }
}
