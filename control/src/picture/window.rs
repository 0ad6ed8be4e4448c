//! Counts of the last half minute, in slots of two seconds.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bowline_xds::load_report::BOUNDS_MICROS;

use super::WINDOW;

/// The length of a slot.
pub(super) const SLOT: Duration = Duration::from_secs(2);
/// Slots in the window.
pub(super) const SLOTS: u32 = (WINDOW.as_secs() / SLOT.as_secs()) as u32;
/// Buckets of latency.
pub(super) const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// The slot of a moment.
pub(super) fn slot(at: Duration) -> u32 {
    u32::try_from(at.as_secs() / SLOT.as_secs()).unwrap_or(u32::MAX)
}

/// What is counted of requests, or of attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Those that went well.
    pub(super) good: u64,
    /// Those that failed.
    pub(super) failed: u64,
    /// Those that were called off.
    pub(super) cancelled: u64,
    /// Attempts after the first one.
    pub(super) retries: u64,
    /// By latency.
    pub(super) latency: [u64; BUCKETS],
}

impl Counts {
    const FIELDS: usize = 4 + BUCKETS;

    /// Whether there is none of anything.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Counts::default()
    }

    /// All requests.
    pub(super) fn requests(&self) -> u64 {
        self.good.saturating_add(self.failed).saturating_add(self.cancelled)
    }

    /// The share that went well; `None`: nothing has ended.
    pub(super) fn success_ratio(&self) -> Option<f64> {
        let ended = self.good.saturating_add(self.failed);
        (ended > 0).then(|| self.good as f64 / ended as f64)
    }

    fn fields(&self) -> [u64; Self::FIELDS] {
        let mut fields = [0; Self::FIELDS];
        let (first, latency) = fields.split_at_mut(4);
        first.copy_from_slice(&[self.good, self.failed, self.cancelled, self.retries]);
        latency.copy_from_slice(&self.latency);
        fields
    }

    /// More of them.
    pub(super) fn add(&mut self, more: &Counts) {
        self.add_fields(&more.fields());
    }

    fn add_fields(&mut self, more: &[u64; Self::FIELDS]) {
        let [good, failed, cancelled, retries, latency @ ..] = more;
        let add = |sum: &mut u64, more: &u64| *sum = sum.saturating_add(*more);
        add(&mut self.good, good);
        add(&mut self.failed, failed);
        add(&mut self.cancelled, cancelled);
        add(&mut self.retries, retries);
        self.latency.iter_mut().zip(latency).for_each(|(sum, more)| add(sum, more));
    }
}

/// The slots that a report covers, each with the share of the report up to its end, in parts of `whole`.
#[derive(Debug)]
pub(super) struct Slots {
    ends: Vec<(u32, u64)>,
    whole: u64,
}

impl Slots {
    /// Of a report that has come now and covers this time before.
    pub(super) fn new(now: Duration, period: Duration) -> Self {
        let from = now.saturating_sub(period);
        let whole = millis(now) - millis(from);
        let (first, last) = (slot(from), slot(now));
        if whole == 0 || first == last {
            return Slots { ends: vec![(last, 1)], whole: 1 };
        }
        let end = |slot: u32| millis(SLOT) * (u64::from(slot) + 1);
        let up_to = |slot: u32| (slot, end(slot).min(millis(now)) - millis(from));
        Slots { ends: (first..=last).map(up_to).filter(|(_, part)| *part > 0).collect(), whole }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Counts by slot; only slots with anything in them.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<Slot>);

/// Smaller numbers than in [`Counts`]: there are many of these.
#[derive(Debug)]
struct Slot {
    slot: u32,
    fields: [u32; Counts::FIELDS],
}

impl Window {
    /// Spreads what was reported over the time that it is from.
    pub(super) fn add(&mut self, slots: &Slots, counts: &Counts) {
        // Most fields are nothing: latencies differ by little.
        for (field, all) in counts.fields().into_iter().enumerate().filter(|(_, all)| *all > 0) {
            let mut given = 0;
            for (slot, part) in &slots.ends {
                let up_to_here = match all.checked_mul(*part) {
                    Some(parts) => parts / slots.whole,
                    // It is so large that nobody misses the rest of the division.
                    None => all / slots.whole * *part,
                };
                let share = u32::try_from(up_to_here - given).unwrap_or(u32::MAX);
                given = up_to_here;
                if share > 0
                    && let Some(sum) = self.slot(*slot).fields.get_mut(field)
                {
                    *sum = sum.saturating_add(share);
                }
            }
        }
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        // Most reports are about the last slots.
        let after = self.0.iter().rposition(|known| known.slot <= slot).map_or(0, |at| at + 1);
        if after == 0 || self.0[after - 1].slot != slot {
            self.0.insert(after, Slot { slot, fields: [0; Counts::FIELDS] });
            return &mut self.0[after];
        }
        &mut self.0[after - 1]
    }

    /// Adds what is in these slots to a sum.
    pub(super) fn add_to(&self, sum: &mut Counts, slots: Range<u32>) {
        for known in self.0.iter().filter(|known| slots.contains(&known.slot)) {
            sum.add_fields(&known.fields.map(u64::from));
        }
    }

    /// Forgets what is older than this slot. False: nothing is left.
    pub(super) fn forget(&mut self, oldest: u32) -> bool {
        while self.0.front().is_some_and(|known| known.slot < oldest) {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        !self.0.is_empty()
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn good(good: u64) -> Counts {
        Counts { good, ..Counts::default() }
    }

    fn by_slot(window: &Window) -> Vec<(u32, u32)> {
        window.0.iter().map(|slot| (slot.slot, slot.fields[0])).collect()
    }

    #[test]
    fn a_report_is_spread_over_the_time_that_it_is_from() {
        let mut window = Window::default();
        window.add(&Slots::new(at(11_000), at(10_000)), &good(100));
        assert_eq!(by_slot(&window), [(0, 10), (1, 20), (2, 20), (3, 20), (4, 20), (5, 10)]);
        // The next one goes on where it ended.
        window.add(&Slots::new(at(12_500), at(1_500)), &good(15));
        assert_eq!(by_slot(&window)[5..], [(5, 20), (6, 5)]);
        let mut sum = Counts::default();
        window.add_to(&mut sum, 1..6);
        assert_eq!(sum, good(100));
        assert!(window.forget(6));
        assert_eq!(by_slot(&window), [(6, 5)]);
        assert!(!window.forget(7));
    }

    #[test]
    fn nothing_is_lost_by_spreading() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let mut window = Window::default();
            let mut wanted = Counts::default();
            for _ in 0..rng.usize(1..20) {
                let mut counts = Counts { retries: rng.u64(0..5), ..good(rng.u64(0..1000)) };
                counts.latency[rng.usize(0..BUCKETS)] = counts.good;
                wanted.add(&counts);
                let now = at(rng.u64(0..60_000));
                window.add(&Slots::new(now, at(rng.u64(0..10_000))), &counts);
            }
            let mut sum = Counts::default();
            window.add_to(&mut sum, 0..u32::MAX);
            assert_eq!(sum, wanted);
            assert!(window.0.iter().is_sorted_by_key(|slot| slot.slot));
        }
    }

    #[test]
    fn no_count_is_too_large() {
        let mut window = Window::default();
        for _ in 0..2 {
            window.add(&Slots::new(at(1), at(0)), &good(u64::MAX));
        }
        assert_eq!(by_slot(&window), [(0, u32::MAX)]);
        let most = Counts { failed: 1, ..good(u64::MAX) };
        assert_eq!((most.requests(), most.success_ratio()), (u64::MAX, Some(1.0)));
    }
}
