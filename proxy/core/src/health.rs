//! Active health checks: when an endpoint is asked, and what its answers mean.
//!
//! The rules of Envoy and of load balancers' target groups: an endpoint changes sides after so many like results in a
//! row. This is the state machine of one endpoint. The asking is somebody else's, on one thread, so nothing is shared.
//!
//! A new endpoint is asked at once, and its first good answer makes it healthy: a client must not wait for a second
//! interval. Its first bad one makes it unhealthy likewise, and until it has been healthy for the first time it's asked
//! more often, as it's probably starting.

use std::time::Duration;

use crate::Tick;
use crate::time::nanos;

/// When an endpoint is asked, and how many answers count.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// From the beginning of one check to the next. Default 30 s (ECS).
    pub interval: Duration,
    /// How much chance adds to the interval or takes from it, in percent, 0 to 50, so that proxies don't check together.
    /// Default 10.
    pub jitter_percent: u32,
    /// How long a check may take. Default 5 s (ECS).
    pub timeout: Duration,
    /// Good checks in a row that make it healthy. Default 2.
    pub healthy_threshold: u32,
    /// Bad checks in a row that make it unhealthy. Default 2.
    pub unhealthy_threshold: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            jitter_percent: 10,
            timeout: Duration::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        }
    }
}

/// What is known of an endpoint.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing yet. It may be picked: nobody should wait for a check.
    #[default]
    Unknown,
    /// It may be picked.
    Healthy,
    /// It may not be picked, unless in panic.
    Unhealthy,
}

impl Health {
    /// Whether an endpoint may not be picked for now, from all that is known: by our own checks, by what the control
    /// plane or its source says, and by outlier detection.
    ///
    /// Our own check knows best whether we can reach it, so it goes before what others say, once it has said something.
    /// An ejection counts in any case: a service can be well on its health page and fail its callers.
    #[must_use]
    pub fn is_out(own: Self, told: Self, ejected: bool) -> bool {
        let known = if own == Self::Unknown { told } else { own };
        ejected || known == Self::Unhealthy
    }
}

/// A check that has begun.
#[derive(Debug)]
#[must_use = "until it is finished or overdue the endpoint isn't asked again"]
pub struct Attempt {
    serial: u64,
    /// It is overdue from this moment on.
    pub deadline: Tick,
}

/// How often an endpoint was asked.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Checks that ended.
    pub checks: u64,
    /// Those of them that were bad, overdue ones included.
    pub failures: u64,
    /// Those of them that were overdue.
    pub timeouts: u64,
}

/// The checks of one endpoint.
#[derive(Clone, Debug)]
pub struct Check {
    config: HealthConfig,
    health: Health,
    was_healthy: bool,
    /// Results in a row that speak against `health`.
    against: u32,
    next: Tick,
    serial: u64,
    /// The deadline of the one that runs.
    running: Option<Tick>,
    counts: CheckCounts,
}

/// While an endpoint is new it's asked so many times as often, but not more than every second.
const NEW_PART: u32 = 10;
const NEW_LEAST: Duration = Duration::from_secs(1);

impl Check {
    /// Checks for a new endpoint, the first of them due now.
    #[must_use]
    pub fn new(config: HealthConfig, now: Tick) -> Self {
        Self {
            config,
            health: Health::Unknown,
            was_healthy: false,
            against: 0,
            next: now,
            serial: 0,
            running: None,
            counts: CheckCounts::default(),
        }
    }

    /// Takes over a new configuration. What is known stays; the next check comes as soon as the new interval says, if
    /// that is sooner.
    pub fn set_config(&mut self, config: HealthConfig, now: Tick) {
        self.config = config;
        self.next = self.next.min(now.after(config.interval));
    }

    /// What is known now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// How often it was asked.
    #[must_use]
    pub fn counts(&self) -> CheckCounts {
        self.counts
    }

    /// When there is something to do: [`Check::begin`], or [`Check::overdue`] while one runs.
    #[must_use]
    pub fn wake_at(&self) -> Tick {
        self.running.unwrap_or(self.next)
    }

    /// Begins a check if one is due and none runs.
    pub fn begin(&mut self, now: Tick, rng: &mut fastrand::Rng) -> Option<Attempt> {
        if self.running.is_some() || now < self.next {
            return None;
        }
        self.serial += 1;
        let deadline = now.after(self.config.timeout);
        self.running = Some(deadline);
        self.next = now.after(self.interval(rng));
        Some(Attempt { serial: self.serial, deadline })
    }

    /// A check has ended. Returns what the endpoint has become, if that is something else than before. The result of a
    /// check that was overdue comes too late to count.
    #[expect(clippy::needless_pass_by_value, reason = "a check ends once: the attempt is used up")]
    pub fn finish(&mut self, attempt: Attempt, good: bool) -> Option<Health> {
        if attempt.serial != self.serial || self.running.is_none() {
            return None;
        }
        self.ended(good)
    }

    /// Ends the check that runs if it has taken too long. Returns what [`Check::finish`] does.
    pub fn overdue(&mut self, now: Tick) -> Option<Health> {
        if self.running.is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.counts.timeouts += 1;
        self.ended(false)
    }

    fn ended(&mut self, good: bool) -> Option<Health> {
        self.running = None;
        self.counts.checks += 1;
        self.counts.failures += u64::from(!good);
        let (result, threshold) = match good {
            true => (Health::Healthy, self.config.healthy_threshold),
            false => (Health::Unhealthy, self.config.unhealthy_threshold),
        };
        if result == self.health {
            self.against = 0;
            return None;
        }
        self.against += 1;
        // The first word decides: nothing speaks against it yet.
        let first = self.health == Health::Unknown || (good && !self.was_healthy);
        if !first && self.against < threshold {
            return None;
        }
        self.health = result;
        self.against = 0;
        self.was_healthy |= good;
        Some(result)
    }

    fn interval(&self, rng: &mut fastrand::Rng) -> Duration {
        let HealthConfig { interval, jitter_percent, .. } = self.config;
        let interval = match self.was_healthy {
            true => interval,
            false => (interval / NEW_PART).max(NEW_LEAST).min(interval),
        };
        let jitter = nanos(interval) / 100 * u64::from(jitter_percent.min(50));
        let earliest = nanos(interval).saturating_sub(jitter);
        Duration::from_nanos(earliest.saturating_add(rng.u64(0..=jitter.saturating_mul(2))))
    }
}

#[cfg(test)]
mod tests;
