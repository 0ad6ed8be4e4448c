//! Which endpoints a request has tried already.

use super::Ticket;

/// The endpoints that one request has tried, so that its next attempt goes to another one. Lives on the stack.
///
/// It remembers the last eight: more attempts than that at one request are no retry policy any more. It stays right
/// when the endpoint set changes between two attempts.
#[derive(Copy, Clone, Debug, Default)]
pub struct Tried {
    slots: [u32; 8],
    count: u8,
}

impl Tried {
    /// Nothing tried yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [0; 8], count: 0 }
    }

    /// Remembers the endpoint of this attempt.
    pub fn insert(&mut self, ticket: &Ticket) {
        if !self.contains(ticket.slot) {
            self.slots[usize::from(self.count) % self.slots.len()] = ticket.slot;
            // Past eight the ring goes on over the oldest ones, and the count between 8 and 15.
            self.count = if self.count == 15 { 8 } else { self.count + 1 };
        }
    }

    /// Whether this is the first attempt.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.slots[..usize::from(self.count).min(self.slots.len())].contains(&slot)
    }
}
