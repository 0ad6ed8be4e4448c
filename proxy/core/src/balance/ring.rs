//! Ring hash: each endpoint has many points on a ring, and a key goes to the next one.
//!
//! Consistent hashing (Karger et al., 1997) as in ketama: when an endpoint comes or goes only the keys of its own
//! stretches move. Points are XXH64 of the endpoint's name and the point's number, so that all proxies have the same
//! ring, in whatever order they know the endpoints.

use super::bounded;
use crate::hash::xxh64;

/// Points of the lightest endpoint (ketama's and nginx's 160). Shares differ from the weights by about 8 % (standard
/// deviation).
const POINTS: u64 = 160;
/// All points together, about: 3 MiB.
const MOST_POINTS: u64 = 1 << 18;

/// A ring, built once a snapshot and shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// In order.
    points: Box<[u64]>,
    /// The endpoint of each point.
    owners: Box<[u32]>,
    endpoints: u32,
}

impl Ring {
    /// A ring of these endpoints: name and weight, by endpoint index. Names must differ, e.g. addresses with ports.
    /// Those with weight 0 are not on it.
    ///
    /// The number of points follows the weight: 160 for the lightest endpoint. When that makes more than 262144, all
    /// have fewer, but at least one.
    #[must_use]
    pub fn new<N: AsRef<[u8]>>(endpoints: &[(N, u32)]) -> Self {
        let weighted = || endpoints.iter().enumerate().filter(|(_, (_, weight))| *weight > 0);
        let lightest = weighted().map(|(_, (_, weight))| u64::from(*weight)).min().unwrap_or(1);
        let sum: u64 = weighted().map(|(_, (_, weight))| u64::from(*weight)).sum();
        // Points = weight × numerator / denominator.
        let (numerator, denominator) = if sum.saturating_mul(POINTS) / lightest > MOST_POINTS {
            (MOST_POINTS, sum)
        } else {
            (POINTS, lightest)
        };
        let mut points = Vec::new();
        for (index, (name, weight)) in weighted() {
            let name = xxh64(name.as_ref(), 0);
            let count = (u64::from(*weight) * numerator / denominator).max(1);
            points.extend((0..count).map(|point| (xxh64(&point.to_le_bytes(), name), name, index as u32)));
        }
        // The name decides between points that fall together, not the index, which differs between proxies.
        points.sort_unstable();
        Self {
            points: points.iter().map(|(point, ..)| *point).collect(),
            owners: points.iter().map(|(.., owner)| *owner).collect(),
            endpoints: endpoints.len() as u32,
        }
    }

    /// The index of the endpoint for the key with this hash: the first from its place onwards that fits. `None` when
    /// none does. `fits` tells whether an endpoint may be picked: that it isn't ejected, and has room by
    /// [`BoundedLoad`](super::BoundedLoad).
    #[inline]
    #[must_use]
    pub fn pick(&self, hash: u64, fits: impl Fn(u32) -> bool) -> Option<u32> {
        if self.points.is_empty() {
            return None;
        }
        let from = self.points.partition_point(|point| *point < hash);
        let (before, after) = self.owners.split_at(from);
        bounded::first(after.iter().chain(before).copied(), hash, self.endpoints, fits)
    }

    /// Points on the ring.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no endpoint with a weight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

#[cfg(test)]
mod tests;
