//! Who gets how much of a service's requests at the moment: weights, with health, ejections, levels of priority, zones and
//! slow start in them.
//!
//! Worked out when something changes, not for each request: a pick then looks at weights alone.

use bowline_core::Tick;
use bowline_core::balance::priority::{self, Level, Load, Locality, OVERPROVISIONING_PERCENT};
use bowline_core::balance::zone::{self, Unzoned, Zone};
use bowline_core::balance::{SlowStart, active};
use bowline_core::health::Health;

use super::Service;

/// How the policy wants requests spread, beyond the choice of a single endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Endpoints of the own zone come first.
    pub zone_aware: bool,
    /// What each zone gets; empty: it is not said.
    pub zone_weights: Vec<(String, u32)>,
    /// How new endpoints grow into their share.
    pub slow_start: SlowStart,
    /// Endpoints are asked whether they are well.
    pub checked: bool,
    /// A key decides, the same way in all proxies: it can't depend on the caller's zone.
    pub by_key: bool,
}

/// The endpoints by level and zone, worked out once a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// The levels that there are, best first.
    levels: Vec<u32>,
    /// The zones that there are. Endpoints whose zone is not known are one of their own.
    zones: Vec<Option<String>>,
    /// Level and zone of each endpoint.
    of: Vec<(usize, usize)>,
}

/// Who gets how much at the moment.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// The weight of each endpoint by its index, as the balancer is to see it.
    pub weights: Vec<u32>,
    /// Who may be picked, by index.
    pub active: Vec<u32>,
    /// What each level gets, best first; one where priorities are not used.
    pub levels: Vec<LevelShare>,
    /// When slow start has moved on.
    pub next: Option<Tick>,
}

/// What a level of priority gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LevelShare {
    /// Its number.
    pub priority: u32,
    /// In percent of all requests, and whether health is ignored in it.
    pub load: Load,
    /// What each zone gets of the level, where zones have a say: name and share, 0 to 1.
    pub zones: Vec<(Option<String>, f64)>,
    /// Why zones have no say, though they were to.
    pub unzoned: Option<Unzoned>,
}

impl Shares {
    /// Whether health and ejections are ignored somewhere.
    pub fn panic(&self) -> bool {
        self.levels.iter().any(|level| level.load.panic)
    }
}

impl Groups {
    /// `None`: there is one level, and zones make no difference.
    pub(super) fn new(spread: &Spread, endpoints: &[super::Endpoint]) -> Option<Self> {
        let mut levels: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut zones: Vec<_> = endpoints.iter().map(|endpoint| endpoint.zone.clone()).collect();
        zones.sort_unstable();
        zones.dedup();
        let zoned =
            !spread.zone_weights.is_empty() || (spread.zone_aware && !spread.by_key && zones.len() > 1);
        if levels.len() < 2 && !zoned {
            return None;
        }
        let place = |endpoint: &super::Endpoint| {
            let level = levels.binary_search(&endpoint.priority).unwrap_or_default();
            (level, zones.binary_search(&endpoint.zone).unwrap_or_default())
        };
        let of = endpoints.iter().map(place).collect();
        Some(Groups { levels, zones, of })
    }
}

impl Service {
    /// Whether this endpoint may not be picked for now, unless in panic.
    pub fn is_out(&self, index: usize, now: Tick) -> bool {
        let own = match (self.policy.spread.checked, self.endpoints.get(index)) {
            (true, Some(endpoint)) => endpoint.shared.checked.health(),
            _ => Health::Unknown,
        };
        Health::is_out(own, Health::Unknown, self.outlier.is_ejected(index, now))
    }

    /// Who gets how much now, for a caller in this zone.
    pub fn shares(&self, zone: Option<&str>, now: Tick, shares: &mut Shares) {
        let spread = &self.policy.spread;
        let mut weights: Vec<u32> = self.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        shares.next = None;
        shares.levels.clear();
        let out = |index: usize| self.is_out(index, now);
        let Some(groups) = &self.groups else {
            let panic = active(&weights, out, self.policy.panic_percent, &mut shares.active);
            let percent = if shares.active.is_empty() { 0 } else { 100 };
            shares.levels.push(LevelShare { load: Load { percent, panic }, ..LevelShare::default() });
            self.slow_start(&weights, now, shares);
            return;
        };
        for (weight, (_, zone)) in weights.iter_mut().zip(&groups.of) {
            // A zone that gets nothing is no part of anything.
            if !spread.zone_weights.is_empty() && spread.zone_weight(groups.zones[*zone].as_deref()) == 0 {
                *weight = 0;
            }
        }
        let loads = self.loads(groups, &weights, now);
        self.slow_start(&weights, now, shares);
        let grown = std::mem::take(&mut shares.weights);
        let is_usable = |index: usize| weights[index] > 0 && (!out(index) || loads[groups.of[index].0].panic);
        let usable: Vec<bool> = (0..weights.len()).map(is_usable).collect();
        shares.active.clear();
        shares.active.extend((0..).zip(&usable).filter(|(_, usable)| **usable).map(|(index, _)| index));
        let mut of_groups = Vec::new();
        let mut plain = loads.len() == 1;
        for (level, load) in loads.iter().enumerate() {
            let in_level = InLevel { groups, level, grown: &grown, weights: &weights, usable: &usable };
            let (zones, said) = in_level.zones(spread, *load, zone);
            of_groups.extend(zones.iter().map(|share| share * f64::from(load.percent) / 100.0));
            let by_zone = said == Some(Ok(()));
            plain &= !by_zone;
            shares.levels.push(LevelShare {
                priority: groups.levels[level],
                load: *load,
                zones: if by_zone { groups.zones.iter().cloned().zip(zones).collect() } else { Vec::new() },
                unzoned: said.and_then(Result::err),
            });
        }
        if plain {
            shares.weights = grown;
            return;
        }
        let zones = groups.zones.len();
        let group = |index: usize| groups.of[index].0 * zones + groups.of[index].1;
        priority::scale_weights(&grown, group, |index| usable[index], &of_groups, &mut shares.weights);
        shares.active.retain(|index| shares.weights[*index as usize] > 0);
    }

    fn slow_start(&self, weights: &[u32], now: Tick, shares: &mut Shares) {
        let spread = &self.policy.spread;
        shares.weights.clear();
        if spread.slow_start.window.is_zero() || spread.by_key {
            shares.weights.extend_from_slice(weights);
            return;
        }
        let since = |index: usize| self.endpoints[index].shared.checked.since();
        shares.next = spread.slow_start.weights(weights, since, now, &mut shares.weights);
    }

    fn loads(&self, groups: &Groups, weights: &[u32], now: Tick) -> Vec<Load> {
        let panic_percent = self.policy.panic_percent;
        if groups.levels.len() == 1 {
            let mut list = Vec::new();
            let panic = active(weights, |index| self.is_out(index, now), panic_percent, &mut list);
            return vec![Load { percent: if list.is_empty() { 0 } else { 100 }, panic }];
        }
        let mut levels = vec![Level::default(); groups.levels.len()];
        for (index, (level, _)) in groups.of.iter().enumerate().filter(|(index, _)| weights[*index] > 0) {
            levels[*level].endpoints += 1;
            levels[*level].available += u32::from(!self.is_out(index, now));
        }
        let mut loads = Vec::new();
        priority::loads(&levels, OVERPROVISIONING_PERCENT, panic_percent, &mut loads);
        loads
    }
}

impl Spread {
    fn zone_weight(&self, zone: Option<&str>) -> u32 {
        self.zone_weights
            .iter()
            .find(|(name, _)| Some(name.as_str()) == zone)
            .map_or(0, |(_, weight)| *weight)
    }
}

/// One level, while its zones' shares are worked out.
struct InLevel<'a> {
    groups: &'a Groups,
    level: usize,
    /// With slow start.
    grown: &'a [u32],
    weights: &'a [u32],
    usable: &'a [bool],
}

impl InLevel<'_> {
    /// What each zone gets of the level, and what zones have to say in that: `None`: nothing, it is by weight alone; an
    /// error: nothing either, and why.
    fn zones(
        &self,
        spread: &Spread,
        load: Load,
        local: Option<&str>,
    ) -> (Vec<f64>, Option<Result<(), Unzoned>>) {
        let InLevel { groups, level, .. } = *self;
        let mut zones = vec![Zone::default(); groups.zones.len()];
        let mut localities = vec![Locality::default(); groups.zones.len()];
        let mut endpoints = 0;
        let here =
            groups.of.iter().enumerate().filter(|(index, (of, _))| *of == level && self.weights[*index] > 0);
        for (index, (_, zone)) in here {
            localities[*zone].level.endpoints += 1;
            if self.usable[index] {
                localities[*zone].level.available += 1;
                zones[*zone].capacity += f64::from(self.grown[index]);
                endpoints += 1;
            }
        }
        let mut shares = Vec::new();
        if !spread.zone_weights.is_empty() {
            for (locality, zone) in localities.iter_mut().zip(&groups.zones) {
                locality.weight = spread.zone_weight(zone.as_deref());
            }
            priority::locality_shares(&localities, OVERPROVISIONING_PERCENT, &mut shares);
            return (shares, Some(Ok(())));
        }
        let local = groups.zones.iter().position(|zone| local.is_some() && zone.as_deref() == local);
        let may = spread.zone_aware && !spread.by_key && !load.panic;
        let result = zone::shares(&zones, if may { local } else { None }, endpoints, &mut shares);
        (shares, may.then_some(result))
    }
}

#[cfg(test)]
mod tests;
