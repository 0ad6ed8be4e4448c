//! When to try again: seldom while the collector is away, and at once when it is back.

use std::time::{Duration, Instant};

/// The first pause. A collector that has restarted, or has no time for a moment, is soon asked again.
const FIRST: Duration = Duration::from_millis(100);
/// From the second on a collector that is away is asked at most once in this time, by all together.
const SECOND: Duration = Duration::from_secs(1);
/// Pauses double up to here.
const LONGEST: Duration = Duration::from_secs(5);
/// What a collector asks for is kept to up to here. More would be a mistake, or mischief.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// How the collector has been of late. Shared by all requests to it.
#[derive(Debug)]
pub(super) struct Patience {
    rng: fastrand::Rng,
    /// Since when nothing has been taken, the pause after the last try, and when the next one may be.
    trouble: Option<Trouble>,
    /// It has been said that the collector refuses.
    refusal_said: bool,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    pause: Duration,
    next: Instant,
}

impl Patience {
    /// The spread of the pauses comes from `rng`, so that a thousand proxies don't come back in one moment.
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Patience { rng, trouble: None, refusal_said: false }
    }

    /// Whether it may be tried now; if so, and there is trouble, nobody else may for a pause. `Err`: not before.
    pub(super) fn try_now(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(trouble) = &mut self.trouble else { return Ok(()) };
        if now < trouble.next {
            return Err(trouble.next);
        }
        trouble.next = now + trouble.pause;
        Ok(())
    }

    /// A try has failed. `asked`: how long the collector wants to be left alone. True if it is the first one.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>) -> bool {
        let first = self.trouble.is_none();
        let pause = match &self.trouble {
            None => FIRST,
            Some(trouble) => (trouble.pause * 2).clamp(SECOND, LONGEST),
        };
        let spread = pause.mul_f64(1.0 + self.rng.f64() / 4.0);
        let wait = spread.max(asked.unwrap_or_default().min(LONGEST_ASKED));
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        // One that was under way beside this must not cut short what the collector has asked for.
        let next = self.trouble.as_ref().map_or(now, |trouble| trouble.next).max(now + wait);
        self.trouble = Some(Trouble { since, pause, next });
        first
    }

    /// The collector has answered, and not that it has no time. Returns how long it was away, if it was.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.trouble.take().map(|trouble| now.saturating_duration_since(trouble.since))
    }

    /// The collector doesn't want what it got. True if this is to be said: once until it has taken something whole.
    pub(super) fn refused(&mut self) -> bool {
        !std::mem::replace(&mut self.refusal_said, true)
    }

    /// The collector has taken something whole. True if it had refused before.
    pub(super) fn taken(&mut self) -> bool {
        std::mem::take(&mut self.refusal_said)
    }

    /// The end is near: another try may be made at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(trouble) = &mut self.trouble {
            trouble.next = now;
        }
    }
}

#[cfg(test)]
mod tests;
