//! Priorities and localities: what is for emergencies, and when it is one.
//!
//! Envoy's rules, with its published figures. A level is overprovisioned: with a factor of 1.4 it can lose 28 % of its
//! endpoints before the next one gets traffic. What then overflows is what the level lacks. If all levels together
//! don't have enough, what they have is shared out, and levels below the panic threshold ignore health.

/// How much more than its load a level or locality can carry, in percent. Default 140 (Envoy).
pub const OVERPROVISIONING_PERCENT: u32 = 140;

/// A level of priority, the first of them being the one to use.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Its endpoints with a weight.
    pub endpoints: u32,
    /// Those of them that are neither ejected nor unhealthy.
    pub available: u32,
}

/// What a level gets.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Its share of requests, 0 to 100.
    pub percent: u32,
    /// Whether its endpoints are used whatever their health.
    pub panic: bool,
}

impl Level {
    /// How much of all requests it could carry, 0 to 100.
    fn health(&self, overprovisioning: u32) -> u32 {
        let health = u64::from(self.available) * u64::from(overprovisioning);
        health.checked_div(u64::from(self.endpoints)).map_or(0, |health| health.min(100) as u32)
    }
}

/// Writes what each level gets to `loads`, in the order of `levels`, best first. The shares add up to 100, or to 0 where
/// no endpoint may be picked: the caller answers 503 then.
///
/// A level is in panic when all levels together can't carry the load, and fewer than `panic_percent` of its endpoints
/// are available. With 0 there is no panic. If nothing at all is available, the first level that has endpoints gets
/// everything, in panic.
pub fn loads(levels: &[Level], overprovisioning_percent: u32, panic_percent: u32, loads: &mut Vec<Load>) {
    let health = |level: &Level| level.health(overprovisioning_percent.max(100));
    let total = levels.iter().map(health).sum::<u32>().min(100);
    loads.clear();
    if total == 0 {
        loads.resize(levels.len(), Load::default());
        let first = levels.iter().position(|level| level.endpoints > 0).filter(|_| panic_percent > 0);
        if let Some(load) = first.and_then(|first| loads.get_mut(first)) {
            *load = Load { percent: 100, panic: true };
        }
        return;
    }
    let mut left = 100;
    loads.extend(levels.iter().map(|level| {
        let percent = (health(level) * 100 / total).min(left);
        left -= percent;
        let few = u64::from(level.available) * 100 < u64::from(level.endpoints) * u64::from(panic_percent);
        Load { percent, panic: total < 100 && few }
    }));
    // What was cut off goes to those from whom most was cut off, one each.
    while left > 0 {
        let exact = |index: usize| health(&levels[index]) * 100;
        let lacks = |(index, load): &(usize, &mut Load)| exact(*index).saturating_sub(load.percent * total);
        let enumerated = loads.iter_mut().enumerate().rev();
        let Some((_, load)) = enumerated.max_by_key(lacks) else { return };
        load.percent += 1;
        left -= 1;
    }
}

/// The level for one request; `None` when no level gets anything.
#[inline]
#[must_use]
pub fn draw(loads: &[Load], rng: &mut fastrand::Rng) -> Option<usize> {
    if loads.first().is_some_and(|load| load.percent >= 100) {
        return Some(0);
    }
    let mut random = rng.u32(0..100);
    loads.iter().position(|load| match random.checked_sub(load.percent) {
        Some(rest) => {
            random = rest;
            false
        }
        None => true,
    })
}

/// A locality with a weight that its operator has set.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Its share against the others while it is well.
    pub weight: u32,
    /// Its endpoints.
    pub level: Level,
}

/// Writes the share of requests of each locality to `shares`, in the order of `localities`; they add up to 1, or to 0
/// where none has an endpoint available.
pub fn locality_shares(localities: &[Locality], overprovisioning_percent: u32, shares: &mut Vec<f64>) {
    shares.clear();
    shares.extend(localities.iter().map(|Locality { weight, level }| {
        if level.endpoints == 0 {
            return 0.0;
        }
        let carried = f64::from(level.available) / f64::from(level.endpoints);
        f64::from(*weight) * (carried * f64::from(overprovisioning_percent) / 100.0).min(1.0)
    }));
    let sum: f64 = shares.iter().sum();
    if sum > 0.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    }
}

/// Weights for [`Balancer::rebuild`](super::Balancer::rebuild), by endpoint index, written to `scaled`: groups of
/// endpoints (zones, localities, levels) get these shares of traffic, and within a group each what its weight says.
///
/// `group` tells each endpoint's group, and `usable` whether it may be picked now: what it lacks, the others of its
/// group carry. An endpoint that gets nothing has weight 0. The scale is such that the lightest keep their proportions
/// to better than one in a thousand of the mean.
pub fn scale_weights(
    weights: &[u32],
    group: impl Fn(usize) -> usize,
    usable: impl Fn(usize) -> bool,
    shares: &[f64],
    scaled: &mut Vec<u32>,
) {
    let mut sums = vec![0.0; shares.len()];
    let counts = |index: usize| weights[index] > 0 && usable(index) && group(index) < shares.len();
    for index in (0..weights.len()).filter(|index| counts(*index)) {
        sums[group(index)] += f64::from(weights[index]);
    }
    let unit = 1_000.0 * weights.len() as f64;
    scaled.clear();
    scaled.extend((0..weights.len()).map(|index| {
        if !counts(index) || shares[group(index)] <= 0.0 {
            return 0;
        }
        let share = shares[group(index)] * f64::from(weights[index]) / sums[group(index)];
        ((share * unit).round() as u32).max(1)
    }));
}

#[cfg(test)]
mod tests;
