//! Which endpoint an attempt goes to: the balancer's choice, or that of the request's key, or one that has been spared.

use bowline_core::Tick;
use bowline_core::balance::Tried;
use bowline_core::hash::xxh64;

use super::State;

impl State {
    /// Endpoints that are well and get no requests for now, of those that this one has not tried.
    pub(super) fn spares<'a>(&'a self, now: Tick, tried: &'a Tried) -> impl Iterator<Item = usize> + 'a {
        let service = &self.service;
        let idle =
            (0..service.endpoints.len()).filter(|index| !self.shares.active.contains(&(*index as u32)));
        idle.filter(move |index| {
            let admitted = service.endpoint_breakers.as_ref().is_none_or(|b| b.admits(*index, now));
            let well = service.endpoints[*index].weight > 0 && !service.is_out(*index, now);
            well && admitted && !self.balancer.was_tried(*index, tried)
        })
    }

    /// The endpoint for the next attempt, by its index.
    pub(super) fn index_for(
        &mut self,
        now: Tick,
        rng: &mut fastrand::Rng,
        tried: &Tried,
        key: Option<u64>,
    ) -> Option<usize> {
        // All that requests go to now have been tried: then those that get none for now, in other zones or on the next level.
        if !tried.is_empty() && !self.balancer.has_untried(tried) {
            let least = self.spares(now, tried).map(|index| self.service.endpoints[index].priority).min();
            let best = |index: &usize| Some(self.service.endpoints[*index].priority) == least;
            let spares = self.spares(now, tried).filter(best).count();
            if spares > 0 {
                return self.spares(now, tried).filter(best).nth(rng.usize(..spares));
            }
        }
        match key.and_then(|key| self.pick_for(key, tried)) {
            Some(index) => Some(index),
            None => self.balancer.pick(now, rng, tried),
        }
    }

    /// The endpoint that a key with this hash belongs to, of those that may be picked.
    fn pick_for(&self, key: u64, tried: &Tried) -> Option<usize> {
        let hashing = self.service.hashing.as_ref()?;
        let level = self.level(key);
        let mut tables = hashing.tables.iter().filter(|(known, _)| *known == level);
        let (_, table) = tables.next().or(hashing.tables.first())?;
        self.balancer.pick_for(table, key, hashing.bound, tried)
    }

    /// The level of priority that a key belongs to: each gets its share of all keys.
    fn level(&self, key: u64) -> u32 {
        let levels = &self.shares.levels;
        if levels.len() > 1 {
            // Hashed anew: the tables use up what is in the key's own.
            let mut random = (xxh64(&key.to_le_bytes(), 1) % 100) as u32;
            for level in levels {
                match random.checked_sub(level.load.percent) {
                    Some(rest) => random = rest,
                    None => return level.priority,
                }
            }
        }
        levels.first().map_or(0, |level| level.priority)
    }
}
