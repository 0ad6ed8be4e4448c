//! Smooth weighted round robin.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Whose turn it is. Equal weights: a cursor. Else: earliest deadline first, as in Envoy: a pick puts the position's
/// next deadline 1/weight later, so that over any stretch each has had its share, give or take one, and the turns of
/// a heavy one are spread between those of the light ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    cursor: u32,
    len: u32,
    /// Empty when all weights are equal.
    heap: BinaryHeap<Reverse<Turn>>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    deadline: u64,
    position: u32,
    period: u64,
}

/// The period of weight 1.
const PERIOD: u64 = 1 << 32;

/// Deadlines past this are moved back to the origin all together, some days apart at the most turns a worker takes.
const FAR: u64 = 1 << 62;

impl Turns {
    /// Turns for these weights, all above 0. Chance decides who begins: proxies and workers which see the same change
    /// at the same time must not all begin with the same endpoint.
    pub(super) fn new(weights: &[u32], rng: &mut fastrand::Rng) -> Self {
        let len = weights.len() as u32;
        let cursor = if len == 0 { 0 } else { rng.u32(0..len) };
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self { cursor, len, heap: BinaryHeap::new() };
        }
        let turn = |(position, weight): (usize, &u32)| {
            let period = PERIOD / u64::from(*weight).clamp(1, PERIOD);
            Reverse(Turn { deadline: rng.u64(0..period.max(1)), position: position as u32, period })
        };
        Self { cursor, len, heap: weights.iter().enumerate().map(turn).collect() }
    }

    /// The position whose turn it is. There must be one.
    #[inline]
    pub(super) fn next(&mut self) -> usize {
        let taken = self.heap.peek_mut().map(|mut top| {
            let Reverse(turn) = &mut *top;
            let taken = *turn;
            turn.deadline += turn.period;
            taken
        });
        if let Some(Turn { deadline, position, .. }) = taken {
            if deadline > FAR {
                self.move_back(deadline);
            }
            return position as usize;
        }
        let position = self.cursor;
        self.cursor = if position + 1 >= self.len { 0 } else { position + 1 };
        position as usize
    }

    #[cold]
    fn move_back(&mut self, by: u64) {
        let mut turns = std::mem::take(&mut self.heap).into_vec();
        for Reverse(turn) in &mut turns {
            turn.deadline -= by.min(turn.deadline);
        }
        self.heap = BinaryHeap::from(turns);
    }
}

#[cfg(test)]
mod tests;
