//! A breaker's state in one word.

use crate::Tick;

/// 44 bits of time in units of 2²⁰ ns (about 1 ms, lasting for 584 years), 18 of generation, 2 of phase.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open,
    Probing,
}

const UNIT_BITS: u32 = 20;
const GENERATION_BITS: u32 = 18;
const PHASE_BITS: u32 = 2;

impl Word {
    /// The highest generation, which is followed by 0. A call would have to outlast a quarter of a million changes of
    /// state to be taken for a later one.
    pub(super) const GENERATIONS: u64 = (1 << GENERATION_BITS) - 1;

    const fn new(units: u64, generation: u64, phase: u64) -> Self {
        Self(units << (GENERATION_BITS + PHASE_BITS) | (generation & Self::GENERATIONS) << PHASE_BITS | phase)
    }

    /// Closed from now on.
    pub(super) const fn closed(generation: u64) -> Self {
        Self::new(0, generation, 0)
    }

    /// Open until then, rounded up to the next unit.
    pub(super) const fn open(generation: u64, until: Tick) -> Self {
        Self::new(until.0.div_ceil(1 << UNIT_BITS) & (u64::MAX >> UNIT_BITS), generation, 1)
    }

    /// Open, and the next call may pass.
    pub(super) const fn open_at_once(generation: u64, now: Tick) -> Self {
        Self::new(now.0 >> UNIT_BITS, generation, 1)
    }

    /// This open one with its probe out.
    pub(super) const fn probing(self) -> Self {
        Self::new(0, self.generation() + 1, 2)
    }

    pub(super) const fn phase(self) -> Phase {
        match self.0 & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Closed,
            1 => Phase::Open,
            _ => Phase::Probing,
        }
    }

    pub(super) const fn generation(self) -> u64 {
        (self.0 >> PHASE_BITS) & Self::GENERATIONS
    }

    /// Until when it is open.
    pub(super) const fn until(self) -> Tick {
        Tick((self.0 >> (GENERATION_BITS + PHASE_BITS)) << UNIT_BITS)
    }
}
