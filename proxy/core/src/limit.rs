//! How much of a service may be in use at a time, and who comes next when it is all taken.
//!
//! [`Level`] is the count: how many are in, how many wait, in one atomic word, so that whoever leaves knows for certain
//! whether somebody waits, and leaving and queueing can't miss each other. [`Queue`] is the order of those who wait.
//! The caller keeps the queue under a lock, which nobody touches while there is room.
//!
//! The order is first come, first served, until callers are lost over it. Then the queue is as long as their patience:
//! by the time a request is served its caller has given up, or is about to, and all the work goes into answers that
//! nobody wants. From then on the newest is served first, which has a caller who has waited for next to nothing, and
//! whoever has waited long is sent away ("adaptive LIFO" and CoDel's
//! time limit, from Facebook's "Fail at Scale", ACM Queue 13(8), 2015).
//!
//! [`Adaptive`] learns how much that is where nobody knows it.

mod adaptive;
mod level;
mod queue;

pub use adaptive::{Adaptive, AdaptiveConfig, Priority};
pub use level::{Joined, Left, Level};
pub use queue::{Queue, STANDING, Ticket};

#[cfg(test)]
mod tests;
