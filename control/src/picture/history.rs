//! The last hour, in steps of ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::picture::Point;

use super::percentile::percentile;
use super::window::{Counts, SLOT, SLOTS};

/// The length of a step: that of the window, so that one is made of as many slots.
pub(super) const STEP: Duration = super::WINDOW;
/// Steps in an hour.
const STEPS: u32 = 360;
/// Services beyond these are in the total alone.
const MOST_SERVICES: usize = 500;

/// The slots of a step.
pub(super) fn slots(step: u32) -> Range<u32> {
    step * SLOTS..(step + 1) * SLOTS
}

/// What is kept of each service and of all of them together.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The step that is made next.
    next: u32,
    total: Series,
    services: BTreeMap<Arc<str>, Series>,
}

/// Steps with requests; there was none in the others.
#[derive(Debug, Default)]
struct Series(VecDeque<Step>);

#[derive(Clone, Copy, Debug)]
struct Step {
    step: u32,
    requests: f32,
    /// No number: none has ended.
    success_ratio: f32,
    p50: f32,
    p99: f32,
}

impl History {
    /// The steps that can be made when all before this moment is known.
    pub(super) fn ready(&self, known: Duration) -> Range<u32> {
        let end = u32::try_from(known.as_secs() / STEP.as_secs()).unwrap_or(u32::MAX);
        // What is older than the hour would go at once.
        self.next.max(end.saturating_sub(STEPS))..end
    }

    /// Makes a step out of what each service has counted in it.
    pub(super) fn add<'a>(&mut self, step: u32, services: impl Iterator<Item = (&'a Arc<str>, Counts)>) {
        let mut total = Counts::default();
        for (name, counts) in services {
            total.add(&counts);
            if self.services.contains_key(name) || self.services.len() < MOST_SERVICES {
                self.services.entry(name.clone()).or_default().push(step, &counts);
            }
        }
        if !total.is_nothing() {
            self.total.push(step, &total);
        }
        self.next = step + 1;
        let oldest = self.next.saturating_sub(STEPS);
        self.total.forget(oldest);
        self.services.retain(|_, series| series.forget(oldest));
    }

    /// Keeps these services alone.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.services.retain(|name, _| keep(name));
    }

    /// The steps of a service, or of all (`None`), without gaps. `unix`: the origin of all times, in seconds since 1970.
    pub(super) fn points(&self, service: Option<&str>, unix: f64) -> Vec<Point> {
        let series = match service {
            Some(service) => self.services.get(service).map(|series| &series.0),
            None => Some(&self.total.0),
        };
        let mut known = series.into_iter().flatten().peekable();
        let point = |step: u32| {
            let found = known.next_if(|known| known.step == step);
            let number = |value: f32| Some(f64::from(value)).filter(|value| !value.is_nan());
            Point {
                at: unix + (STEP * (step + 1)).as_secs_f64(),
                requests_per_second: found.map_or(0.0, |step| f64::from(step.requests) / STEP.as_secs_f64()),
                success_ratio: found.and_then(|step| number(step.success_ratio)),
                p50_milliseconds: found.and_then(|step| number(step.p50)),
                p99_milliseconds: found.and_then(|step| number(step.p99)),
            }
        };
        (self.next.saturating_sub(STEPS)..self.next).map(point).collect()
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let series = self.services.values().chain([&self.total]);
        series.map(|series| series.0.capacity() * size_of::<Step>()).sum()
    }
}

impl Series {
    fn push(&mut self, step: u32, counts: &Counts) {
        let milliseconds = |share| percentile(&counts.latency, share).map_or(f32::NAN, |ms| ms as f32);
        self.0.push_back(Step {
            step,
            requests: counts.requests() as f32,
            success_ratio: counts.success_ratio().map_or(f32::NAN, |ratio| ratio as f32),
            p50: milliseconds(0.5),
            p99: milliseconds(0.99),
        });
    }

    /// False: nothing is left.
    fn forget(&mut self, oldest: u32) -> bool {
        while self.0.front().is_some_and(|step| step.step < oldest) {
            self.0.pop_front();
        }
        !self.0.is_empty()
    }
}

// A step is made of whole slots.
const _: () = assert!(STEP.as_secs() == SLOT.as_secs() * SLOTS as u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> Arc<str> {
        format!("s{n:04}").into()
    }

    fn good(good: u64) -> Counts {
        Counts { good, ..Counts::default() }
    }

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        assert_eq!(history.ready(Duration::from_secs(9)), 0..0);
        assert_eq!(history.ready(Duration::from_secs(25)), 0..2);
        for step in 0..400 {
            let one = name(1);
            // Nothing happens in each second step.
            let counted = (step % 2 == 0).then(|| (&one, good(u64::from(step))));
            history.add(step, counted.into_iter());
        }
        let points = history.points(Some("s0001"), 1000.0);
        assert_eq!(points.len(), 360);
        assert_eq!((points[0].at, points[0].requests_per_second), (1410.0, 4.0));
        assert_eq!((points[1].requests_per_second, points[1].success_ratio), (0.0, None));
        assert_eq!(history.points(None, 1000.0), points);
        assert_eq!(history.points(Some("other"), 0.0)[359].requests_per_second, 0.0);
        // After a long silence only the last hour is made.
        assert_eq!(history.ready(Duration::from_secs(100_000)), 9_640..10_000);
    }

    #[test]
    fn services_beyond_five_hundred_are_in_the_total() {
        let mut history = History::default();
        let names: Vec<_> = (0..510).map(name).collect();
        history.add(0, names.iter().map(|name| (name, good(10))));
        assert_eq!(history.services.len(), MOST_SERVICES);
        assert_eq!(history.points(None, 0.0)[0].requests_per_second, 510.0);
        history.retain(|name| name < "s0003");
        assert_eq!(history.services.len(), 3);
    }
}
