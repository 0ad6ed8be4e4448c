//! Consistent hashing with bounded load.
//!
//! A key that is called for often would overrun the one endpoint that it hashes to. So no endpoint may have more than
//! a factor times its fair share in flight, and what is beyond goes to the next one on the key's way (Mirrokni,
//! Thorup, Zadimoghaddam: "Consistent Hashing with Bounded Loads", 2016). While nothing is crowded each key stays
//! where it belongs.

/// The most that an endpoint may have in flight, against its fair share.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BoundedLoad {
    percent: u32,
}

impl Default for BoundedLoad {
    /// 1.25 times the fair share.
    fn default() -> Self {
        Self { percent: 125 }
    }
}

impl BoundedLoad {
    /// A bound in percent of the fair share. Below 101 there would not be room for all: it counts as 101.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        Self { percent: percent.max(101) }
    }

    /// Whether an endpoint with this weight and so many in flight may take one more. `total_weight` and
    /// `total_in_flight` are those of all endpoints that may be picked; there is always one with room.
    #[inline]
    #[must_use]
    pub fn has_room(&self, in_flight: u64, weight: u32, total_in_flight: u64, total_weight: u64) -> bool {
        // in_flight < ceil(factor × (total + 1) × weight / total_weight)
        let bound = u128::from(self.percent) * u128::from(total_in_flight + 1) * u128::from(weight);
        u128::from(in_flight) * 100 * u128::from(total_weight) < bound
    }
}

/// The first endpoint on the key's way that fits.
///
/// A table has many places for each endpoint, so going through all of it to find the only one that fits could take
/// long. After a while each endpoint is asked once, beginning with one that depends on the key.
#[inline]
pub(super) fn first(
    way: impl Iterator<Item = u32>,
    hash: u64,
    endpoints: u32,
    fits: impl Fn(u32) -> bool,
) -> Option<u32> {
    let steps = 16 + 4 * endpoints as usize;
    way.take(steps).find(|index| fits(*index)).or_else(|| each_once(hash, endpoints, fits))
}

#[cold]
fn each_once(hash: u64, endpoints: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    let from = (hash % u64::from(endpoints.max(1))) as u32;
    (from..endpoints).chain(0..from).find(|index| fits(*index))
}

#[cfg(test)]
mod tests;
