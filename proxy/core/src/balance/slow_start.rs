//! Slow start: an endpoint that is new, or well again, gets its share bit by bit.
//!
//! Caches are cold and code isn't compiled yet, so a full share of traffic at once would be slow or fail. Envoy's rule:
//! the weight grows from a floor to its full size over a window, as (time in it ÷ window) to the power of 1 ÷
//! aggression.

use std::time::Duration;

use crate::Tick;

/// How the weight grows.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes; zero is off. Default: off.
    pub window: Duration,
    /// 1.0 grows evenly. More grows faster at first, less more slowly. Default 1.0.
    pub aggression: f64,
    /// The percentage of its weight that an endpoint has at the least. Default 10 (Envoy).
    pub floor_percent: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::ZERO, aggression: 1.0, floor_percent: 10 }
    }
}

/// Weights are computed anew so many times in a window.
const STEPS: u32 = 20;
/// What full weights are multiplied by while one is growing, so that a weight of 1 has steps too.
const SCALE: f64 = 100.0;
/// Larger weights have steps enough, and would not fit when multiplied.
const LARGEST: u32 = u32::MAX / 200;

impl SlowStart {
    /// The part of its weight that an endpoint has that began at `since`, above 0, up to 1.
    #[must_use]
    pub fn factor(&self, since: Tick, now: Tick) -> f64 {
        if !self.is_growing(since, now) {
            return 1.0;
        }
        let time = now.since(since).as_secs_f64() / self.window.as_secs_f64();
        let floor = f64::from(self.floor_percent.clamp(1, 100)) / 100.0;
        time.powf(1.0 / self.aggression.max(0.01)).clamp(floor, 1.0)
    }

    /// Writes the weights for now to `scaled`, by endpoint index, and returns when they should be computed again;
    /// `None` when all have their full weight, in which case they're the same as `weights`.
    ///
    /// `since` tells when an endpoint was added, or was found to be well again, the later one; `None` for those of the
    /// first snapshot, as there is nobody else to carry their share. When all are growing, nobody is held back against
    /// the others, only against those who began before.
    pub fn weights(
        &self,
        weights: &[u32],
        since: impl Fn(usize) -> Option<Tick>,
        now: Tick,
        scaled: &mut Vec<u32>,
    ) -> Option<Tick> {
        scaled.clear();
        let begun = |index: usize| since(index).filter(|since| self.is_growing(*since, now));
        let growing =
            (0..weights.len()).filter(|index| weights[*index] > 0 && begun(*index).is_some()).count();
        if growing == 0 {
            scaled.extend_from_slice(weights);
            return None;
        }
        scaled.extend(weights.iter().enumerate().map(|(index, weight)| {
            let factor = begun(index).map_or(1.0, |since| self.factor(since, now));
            let full = f64::from((*weight).min(LARGEST)) * SCALE;
            if *weight == 0 { 0 } else { (full * factor).round().max(1.0) as u32 }
        }));
        Some(now.after(self.window / STEPS))
    }

    fn is_growing(&self, since: Tick, now: Tick) -> bool {
        now.since(since) < self.window
    }
}

#[cfg(test)]
mod tests;
