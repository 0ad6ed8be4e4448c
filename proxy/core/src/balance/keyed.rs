//! Picking by a key: the endpoint that a hash table names, as far as it may be picked and has room.

use super::{Balancer, BoundedLoad, Maglev, Ring, Tried};

/// The table of a hash policy. Built once a snapshot from the same endpoints, in the same order, as the balancer's, and
/// shared by all workers.
#[derive(Clone, Debug)]
pub enum HashTable {
    /// Ring hash.
    Ring(Ring),
    /// Maglev.
    Maglev(Maglev),
}

impl HashTable {
    /// The index of the endpoint for the key with this hash: the first from its place onwards that fits. `None` when
    /// none does.
    #[inline]
    #[must_use]
    pub fn pick(&self, hash: u64, fits: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::Ring(ring) => ring.pick(hash, fits),
            Self::Maglev(maglev) => maglev.pick(hash, fits),
        }
    }
}

impl Balancer {
    /// The index of the endpoint for the next attempt of a request whose key has this hash
    /// ([`xxh64`](crate::hash::xxh64) of it): the one that the table names. If that isn't active, was tried, or has no
    /// room by `bound`, it's the next one on the key's way. Only when all active ones were tried one of them is tried
    /// again; `None` when no endpoint is active. Without a `bound` a key's endpoint may be crowded.
    ///
    /// Latency and failures decide nothing here but by ejection.
    #[inline]
    #[must_use]
    pub fn pick_for(
        &self,
        table: &HashTable,
        hash: u64,
        bound: Option<BoundedLoad>,
        tried: &Tried,
    ) -> Option<usize> {
        let is_active = |index: u32| {
            let slot = *self.slots.get(index as usize)?;
            let member = &self.members[slot as usize];
            member.is_active().then_some((slot, member))
        };
        let has_room = |index: u32| {
            is_active(index).is_some_and(|(slot, member)| {
                let fits = |bound: BoundedLoad| {
                    let in_flight = u64::from(member.in_flight);
                    bound.has_room(in_flight, member.weight, self.in_flight, self.active_weight)
                };
                !tried.contains(slot) && bound.is_none_or(fits)
            })
        };
        let untried = |index: u32| is_active(index).is_some_and(|(slot, _)| !tried.contains(slot));
        table
            .pick(hash, has_room)
            .or_else(|| table.pick(hash, untried))
            .or_else(|| table.pick(hash, |index| is_active(index).is_some()))
            .map(|index| index as usize)
    }
}

#[cfg(test)]
mod tests;
