//! Drawing at random by weight, in constant time.

/// Draws positions `0..n` by weight: Walker's alias method in Vose's form. Equal weights need no table.
#[derive(Clone, Debug, Default)]
pub(super) struct Draw {
    len: u32,
    /// Empty when all weights are equal.
    table: Vec<Cell>,
}

/// A column of the alias table: `own` of 2³² shares are the position's own, the rest is `other`'s.
#[derive(Copy, Clone, Debug)]
struct Cell {
    own: u32,
    other: u32,
}

impl Draw {
    /// A table for these weights, all above 0.
    pub(super) fn new(weights: &[u32]) -> Self {
        let len = weights.len() as u32;
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self { len, table: Vec::new() };
        }
        // A column holds `sum` units, and each position brings weight × n of them: exact in 128 bits.
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let mut units: Vec<u128> = weights.iter().map(|w| u128::from(*w) * u128::from(len)).collect();
        let mut table = vec![Cell { own: u32::MAX, other: 0 }; weights.len()];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..units.len()).partition(|i| units[*i] < sum);
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            table[poor] = Cell { own: ((units[poor] << 32) / sum) as u32, other: rich as u32 };
            units[rich] -= sum - units[poor];
            if units[rich] < sum {
                large.pop();
                small.push(rich);
            }
        }
        // Whoever is left fills a column of its own.
        for position in small.into_iter().chain(large) {
            table[position] = Cell { own: u32::MAX, other: position as u32 };
        }
        Self { len, table }
    }

    /// Whether all weights are equal.
    pub(super) fn is_uniform(&self) -> bool {
        self.table.is_empty()
    }

    /// One position. The draw must not be empty.
    #[inline]
    pub(super) fn one(&self, rng: &mut fastrand::Rng) -> usize {
        let random = rng.u64(..);
        let position = scale(random >> 32, self.len);
        match self.table.get(position) {
            Some(cell) if random as u32 > cell.own => cell.other as usize,
            _ => position,
        }
    }

    /// Two positions, different if there are two: the first by weight, the second by weight among the others.
    #[inline]
    pub(super) fn two(&self, rng: &mut fastrand::Rng) -> (usize, usize) {
        if !self.is_uniform() {
            let first = self.one(rng);
            for _ in 0..4 {
                let second = self.one(rng);
                if second != first {
                    return (first, second);
                }
            }
            // One endpoint outweighs the others by far. Any other will do to compare it with.
            return (first, self.other(first, rng.u64(..) >> 32));
        }
        let random = rng.u64(..);
        let first = scale(random >> 32, self.len);
        (first, self.other(first, random & u64::from(u32::MAX)))
    }

    /// Any position but `first`, each as likely; `first` when it's the only one.
    #[inline]
    fn other(&self, first: usize, random: u64) -> usize {
        let second = scale(random, self.len.saturating_sub(1));
        if self.len > 1 && second >= first { second + 1 } else { second }
    }
}

/// A 32-bit random number scaled to `0..len` without a division.
#[inline]
fn scale(random: u64, len: u32) -> usize {
    ((random * u64::from(len)) >> 32) as usize
}

#[cfg(test)]
mod tests;
