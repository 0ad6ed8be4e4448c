//! Maglev hashing: a table in which the endpoints take turns to choose places.
//!
//! From Eisenbud et al.: "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. Each
//! endpoint has its own order of preference over all places, a permutation made of its name. In turn each takes the
//! first place on its list that is still free, until the table is full. Shares are as good as exact, a look-up is one
//! read, and when an endpoint comes or goes few other places change hands. Weights are Envoy's addition: a light
//! endpoint sits out some rounds.

use super::bounded;
use crate::hash::xxh64;

/// Places for up to 655 endpoints (the paper's small table): a prime. 256 KiB.
const SMALL: usize = 65_537;
/// Places beyond that (the paper's large one): a prime. 2.5 MiB.
const LARGE: usize = 655_373;
/// Places for each endpoint, so that shares differ by 1 % at the most (the paper's rule).
const PER_ENDPOINT: usize = 100;

/// A Maglev table, built once a snapshot and shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    places: Box<[u32]>,
    endpoints: u32,
}

/// An endpoint while the table is built.
struct Chooser {
    index: u32,
    /// Its next preference, and the step to the one after that.
    place: usize,
    skip: usize,
    weight: u64,
    /// It takes a place when this reaches the largest weight.
    credit: u64,
}

impl Maglev {
    /// A table for these endpoints: name and weight, by endpoint index. Names must differ, e.g. addresses with ports.
    /// Those with weight 0 are not in it.
    #[must_use]
    pub fn new<N: AsRef<[u8]>>(endpoints: &[(N, u32)]) -> Self {
        let size = if endpoints.len() * PER_ENDPOINT <= SMALL { SMALL } else { LARGE };
        Self::with_size(endpoints, size)
    }

    /// The same with the next prime from `size` on for its size.
    #[must_use]
    pub fn with_size<N: AsRef<[u8]>>(endpoints: &[(N, u32)], size: usize) -> Self {
        let size = (size.max(2)..).find(|size| is_prime(*size)).unwrap_or(SMALL);
        let mut weighted: Vec<_> = endpoints.iter().enumerate().filter(|(_, (_, w))| *w > 0).collect();
        // The order of turns must be the same in all proxies.
        weighted.sort_by(|(_, (one, _)), (_, (two, _))| one.as_ref().cmp(two.as_ref()));
        let mut choosers: Vec<Chooser> = weighted
            .into_iter()
            .map(|(index, (name, weight))| Chooser {
                index: index as u32,
                place: (xxh64(name.as_ref(), 0) % size as u64) as usize,
                skip: (xxh64(name.as_ref(), 1) % (size as u64 - 1)) as usize + 1,
                weight: u64::from(*weight),
                credit: 0,
            })
            .collect();
        Self { places: fill(size, &mut choosers), endpoints: endpoints.len() as u32 }
    }

    /// The index of the endpoint for the key with this hash: the first from its place onwards that fits. `None` when
    /// none does. `fits` tells whether an endpoint may be picked: that it isn't ejected, and has room by
    /// [`BoundedLoad`](super::BoundedLoad).
    #[inline]
    #[must_use]
    pub fn pick(&self, hash: u64, fits: impl Fn(u32) -> bool) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let (before, after) = self.places.split_at((hash % self.places.len() as u64) as usize);
        bounded::first(after.iter().chain(before).copied(), hash, self.endpoints, fits)
    }

    /// The endpoint of each place; empty when there is none with a weight.
    #[must_use]
    pub fn places(&self) -> &[u32] {
        &self.places
    }
}

/// The rounds. Each takes in proportion to its weight, the heaviest in each round.
fn fill(size: usize, choosers: &mut [Chooser]) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    let Some(heaviest) = choosers.iter().map(|chooser| chooser.weight).max() else { return Box::default() };
    let mut places = vec![FREE; size].into_boxed_slice();
    // So that the lightest has a place even if its turn would not come: all have one in the first round.
    choosers.iter_mut().for_each(|chooser| chooser.credit = heaviest - chooser.weight);
    let mut free = size;
    loop {
        for chooser in choosers.iter_mut() {
            chooser.credit += chooser.weight;
            if chooser.credit < heaviest {
                continue;
            }
            chooser.credit -= heaviest;
            // The size is prime, so that any step leads through all places.
            while places[chooser.place] != FREE {
                chooser.place = (chooser.place + chooser.skip) % size;
            }
            places[chooser.place] = chooser.index;
            free -= 1;
            if free == 0 {
                return places;
            }
        }
    }
}

fn is_prime(number: usize) -> bool {
    number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

#[cfg(test)]
mod tests;
