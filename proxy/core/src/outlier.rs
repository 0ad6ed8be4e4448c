//! Outlier detection: endpoints that fail several times in a row are ejected for a while.
//!
//! Envoy's consecutive-failure detector, without its sweep: everything is decided when a result is reported, and an
//! ejection ends by itself when its time has come.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use crate::Tick;
use crate::time::nanos;

/// When an endpoint is ejected, and for how long.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OutlierConfig {
    /// Failures in a row that lead to an ejection. Default 5 (Envoy). 0 turns the detection off.
    pub consecutive_failures: u32,
    /// Length of the first ejection; the n-th lasts n times as long. Default 30 s (Envoy).
    pub base_ejection: Duration,
    /// The longest an ejection lasts. Default 300 s (Envoy).
    pub max_ejection: Duration,
    /// The largest share of endpoints that may be ejected at a time, 0 to 100. Default 50. See [`Outlier::cap`].
    pub max_ejection_percent: u32,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

/// What is known about one endpoint. Keep it in an `Arc` per endpoint, and hand it on to the next [`Outlier`] when
/// the endpoint set changes.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    /// Failures since the last success.
    consecutive: AtomicU32,
    /// Ejected before this tick; stays as the time of return afterwards. 0: never ejected.
    ejected_until: AtomicU64,
    /// The multiplier of the last ejection.
    times: AtomicU32,
}

impl EndpointHealth {
    /// Whether the endpoint is ejected.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self, now: Tick) -> bool {
        self.ejected_until.load(Acquire) > now.0
    }

    /// When the endpoint returns, if it's ejected.
    #[must_use]
    pub fn ejected_until(&self, now: Tick) -> Option<Tick> {
        Some(Tick(self.ejected_until.load(Acquire))).filter(|until| *until > now)
    }

    /// Failures since the last success or ejection.
    #[must_use]
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive.load(Relaxed)
    }
}

/// An ejection that has just begun.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// How long it lasts.
    pub duration: Duration,
    /// Which one it is, 1 for the first; each base ejection time spent in service takes one off.
    pub times: u32,
}

/// What outlives a change of the endpoint set.
#[derive(Debug, Default)]
struct Shared {
    /// Grows with every ejection.
    epoch: AtomicU64,
    /// True while a thread is about to eject. Nobody waits for it: who finds it taken leaves the ejection to the next
    /// failure. It makes counting and ejecting one step, so that the cap holds.
    ejecting: AtomicBool,
}

/// Outlier detection for one endpoint set, shared by all workers: atomics alone, and nobody ever waits.
#[derive(Debug)]
pub struct Outlier {
    config: OutlierConfig,
    endpoints: Box<[Option<Arc<EndpointHealth>>]>,
    cap: usize,
    /// No use in looking for room under the cap before this tick.
    full_until: AtomicU64,
    shared: Arc<Shared>,
}

impl Outlier {
    /// Detection for a first endpoint set. `endpoints` gives weight and health by endpoint index. Those with weight 0
    /// get no traffic, so they neither count nor are ejected.
    #[must_use]
    pub fn new<'a>(
        config: OutlierConfig,
        now: Tick,
        endpoints: impl IntoIterator<Item = (u32, &'a Arc<EndpointHealth>)>,
    ) -> Self {
        Self::with(config, now, endpoints, Arc::default())
    }

    /// Detection for the endpoint set that comes after this one. Endpoints which stay ejected bring that along in
    /// their health. When they're more than the new set's cap allows, because others have left, those which would
    /// return first return now.
    #[must_use]
    pub fn next<'a>(
        &self,
        config: OutlierConfig,
        now: Tick,
        endpoints: impl IntoIterator<Item = (u32, &'a Arc<EndpointHealth>)>,
    ) -> Self {
        Self::with(config, now, endpoints, Arc::clone(&self.shared))
    }

    /// Detection for some of the endpoints of this one, at the same time: an ejection by either is one for both. The cap
    /// counts each by its own endpoints, and who is ejected now stays so.
    #[must_use]
    pub fn beside<'a>(
        &self,
        config: OutlierConfig,
        endpoints: impl IntoIterator<Item = (u32, &'a Arc<EndpointHealth>)>,
    ) -> Self {
        Self::bare(config, endpoints, Arc::clone(&self.shared))
    }

    fn bare<'a>(
        config: OutlierConfig,
        endpoints: impl IntoIterator<Item = (u32, &'a Arc<EndpointHealth>)>,
        shared: Arc<Shared>,
    ) -> Self {
        let endpoints: Box<[_]> =
            endpoints.into_iter().map(|(weight, health)| (weight > 0).then(|| Arc::clone(health))).collect();
        let cap = Self::cap(endpoints.iter().flatten().count(), config.max_ejection_percent);
        Self { config, endpoints, cap, full_until: AtomicU64::new(0), shared }
    }

    fn with<'a>(
        config: OutlierConfig,
        now: Tick,
        endpoints: impl IntoIterator<Item = (u32, &'a Arc<EndpointHealth>)>,
        shared: Arc<Shared>,
    ) -> Self {
        let new = Self::bare(config, endpoints, shared);
        let cap = new.cap;
        let mut ejected: Vec<_> =
            new.weighted().filter_map(|health| Some((health.ejected_until(now)?, health))).collect();
        ejected.sort_by_key(|(until, _)| *until);
        let surplus = ejected.len().saturating_sub(cap);
        for (_, health) in &ejected[..surplus] {
            health.ejected_until.store(now.0, Release);
        }
        if surplus > 0 {
            new.shared.epoch.fetch_add(1, Release);
        }
        new
    }

    /// How many of `endpoints` may be ejected at a time: the percentage rounded down, but one at the least (unless
    /// it's 0 %), and never all of them.
    ///
    /// Envoy's rule has changed over time. It used to compare the share *before* an ejection with the maximum, so it
    /// could overshoot by one (two of three at 50 %). Later versions keep below it, and eject none of three at 10 %
    /// unless `always_eject_one_host` is set. Ours never overshoots but for that first one: 1 of 2, 1 of 3, 2 of 4,
    /// 2 of 5 at 50 %.
    #[must_use]
    pub fn cap(endpoints: usize, max_percent: u32) -> usize {
        if max_percent == 0 {
            return 0;
        }
        let share = endpoints * max_percent.min(100) as usize / 100;
        share.max(1).min(endpoints.saturating_sub(1))
    }

    /// Takes in how a request to the endpoint with this index ended. Returns the ejection if this is what it led to.
    ///
    /// A success costs one load while the endpoint is well. Failures of an endpoint that's ejected (requests which
    /// were on their way, or a service in panic) don't count: it returns with a clean slate.
    #[inline]
    pub fn report(&self, index: usize, now: Tick, ok: bool) -> Option<Ejection> {
        let health = self.endpoints.get(index)?.as_ref()?;
        if ok {
            if health.consecutive.load(Relaxed) != 0 {
                health.consecutive.store(0, Relaxed);
            }
            return None;
        }
        self.failed(health, now)
    }

    #[cold]
    fn failed(&self, health: &EndpointHealth, now: Tick) -> Option<Ejection> {
        let threshold = self.config.consecutive_failures;
        if threshold == 0 || health.is_ejected(now) {
            return None;
        }
        let failures = health.consecutive.fetch_add(1, Relaxed).saturating_add(1);
        if failures < threshold || now.0 < self.full_until.load(Relaxed) {
            return None;
        }
        self.shared.ejecting.compare_exchange(false, true, Acquire, Relaxed).ok()?;
        let ejection = self.eject(health, now);
        self.shared.ejecting.store(false, Release);
        ejection
    }

    /// Ejects the endpoint if there's room. One thread at a time.
    fn eject(&self, health: &EndpointHealth, now: Tick) -> Option<Ejection> {
        let ejected = self.weighted().filter(|other| other.is_ejected(now)).count();
        if ejected >= self.cap {
            let room_at = if self.cap == 0 { Tick::MAX } else { self.next_return(now).unwrap_or(now) };
            self.full_until.store(room_at.0, Relaxed);
            return None;
        }
        if health.is_ejected(now) {
            return None;
        }
        let times = self.next_times(health, now);
        let duration = self.config.base_ejection.saturating_mul(times).min(self.config.max_ejection);
        health.consecutive.store(0, Relaxed);
        health.times.store(times, Relaxed);
        health.ejected_until.store(now.after(duration).0, Release);
        self.shared.epoch.fetch_add(1, AcqRel);
        Some(Ejection { duration, times })
    }

    /// The multiplier of the next ejection: one more than the last, less one for each base time since the return.
    /// It stops growing when the ejection is as long as it may be, as in Envoy: else it would take as long to fall.
    fn next_times(&self, health: &EndpointHealth, now: Tick) -> u32 {
        let base = nanos(self.config.base_ejection).max(1);
        let last = health.times.load(Relaxed);
        let well = now.0.saturating_sub(health.ejected_until.load(Relaxed)) / base;
        let most = nanos(self.config.max_ejection).div_ceil(base).clamp(1, u64::from(u32::MAX)) as u32;
        last.saturating_sub(u32::try_from(well).unwrap_or(u32::MAX)).saturating_add(1).min(most)
    }

    /// Whether the endpoint with this index is ejected.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self, index: usize, now: Tick) -> bool {
        self.endpoints.get(index).and_then(Option::as_ref).is_some_and(|health| health.is_ejected(now))
    }

    /// How many endpoints are ejected.
    #[must_use]
    pub fn ejected(&self, now: Tick) -> usize {
        self.weighted().filter(|health| health.is_ejected(now)).count()
    }

    /// Changes with every ejection, and with [`Outlier::touch`]. A worker keeps the value it read *before* it computed its active list, and
    /// computes it again when this differs, or when [`Outlier::next_return`] is reached.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Acquire)
    }

    /// Has all workers compute their active lists again, because something else about the endpoints has changed.
    pub fn touch(&self) {
        self.shared.epoch.fetch_add(1, AcqRel);
    }

    /// When the next ejected endpoint comes back; `None` when none is ejected.
    #[must_use]
    pub fn next_return(&self, now: Tick) -> Option<Tick> {
        self.weighted().filter_map(|health| health.ejected_until(now)).min()
    }

    fn weighted(&self) -> impl Iterator<Item = &EndpointHealth> {
        self.endpoints.iter().flatten().map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests;
