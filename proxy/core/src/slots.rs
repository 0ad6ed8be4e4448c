//! Counts over a rolling window of time, in atomics that nobody waits for.
//!
//! Time is cut into slots, ten to a window. A cell counts for one slot, and says for which: its high bits name the
//! slot, so that a cell of an earlier round is seen to be stale and is taken over by the first one who writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Slots in a window.
pub(crate) const SLOTS: u64 = 10;
/// One more than a window's slots, for the window doesn't begin with a slot.
pub(crate) const RING: usize = SLOTS as usize + 1;
/// The low bits of a cell count, the high 24 name the slot of time that it counts for.
const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// Counts one for this slot.
#[inline]
pub(crate) fn add(ring: &[AtomicU64; RING], slot: u64) {
    let place = &ring[place(slot)];
    let mut seen = place.load(Relaxed);
    while !is_of(seen, slot) {
        match place.compare_exchange_weak(seen, cell(slot, 1), Relaxed, Relaxed) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
    place.fetch_add(1, Relaxed);
}

/// The count of the last `slots` slots up to this one.
pub(crate) fn sum(ring: &[AtomicU64; RING], slot: u64, slots: u64) -> u64 {
    (0..slots)
        .filter_map(|back| slot.checked_sub(back))
        .map(|slot| (slot, ring[place(slot)].load(Relaxed)))
        .filter(|(slot, cell)| is_of(*cell, *slot))
        .map(|(_, cell)| cell & COUNT)
        .sum()
}

/// Where the cell of a slot is.
#[inline]
pub(crate) fn place(slot: u64) -> usize {
    (slot % RING as u64) as usize
}

/// A cell that has counted so many for this slot.
#[inline]
pub(crate) fn cell(slot: u64, count: u64) -> u64 {
    slot << COUNT_BITS | count
}

/// Whether a cell counts for this slot.
#[inline]
pub(crate) fn is_of(cell: u64, slot: u64) -> bool {
    cell >> COUNT_BITS == slot & (u64::MAX >> COUNT_BITS)
}
