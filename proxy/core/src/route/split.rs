//! Sharing requests out by weight.

use crate::hash::xxh64;

/// Targets with weights, e.g. 90 % to one version and 10 % to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Where each target's part ends, on a line as long as the sum of weights.
    ends: Box<[u64]>,
}

impl Split {
    /// A split by these weights.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let mut sum = 0;
        let end = |weight: &u32| {
            sum += u64::from(*weight);
            sum
        };
        Self { ends: weights.iter().map(end).collect() }
    }

    /// A target at random, by its place; `None` when no target has a weight.
    #[inline]
    #[must_use]
    pub fn pick(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        match self.ends.len() {
            1 => self.at(0),
            _ => self.at(rng.u64(..)),
        }
    }

    /// The target of the key with this hash ([`xxh64`] of it): always the same while the weights are the same. When one
    /// of two targets gets a larger share, all keys that it had stay with it.
    #[inline]
    #[must_use]
    pub fn pick_for(&self, hash: u64) -> Option<usize> {
        // Mixed once more, or the keys of one target would be neighbours on the ring of its endpoints.
        self.at(xxh64(&hash.to_le_bytes(), self.ends.len() as u64))
    }

    fn at(&self, random: u64) -> Option<usize> {
        let sum = *self.ends.last().filter(|sum| **sum > 0)?;
        let place = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
        Some(self.ends.partition_point(|end| *end <= place))
    }
}
