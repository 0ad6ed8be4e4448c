//! How many are in and how many wait.

use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

const ONE_WAITING: u64 = 1 << 32;

/// Places of which a limited number may be taken, shared by all workers: those taken in the low half of one word,
/// those who wait for one in the high half.
///
/// Methods named "under the lock" are for the one thread that holds the lock of the queue that goes with this.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

/// What came of queueing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A place was free after all, and is taken.
    Taken,
    /// There is none: to be put into the queue.
    Waiting,
}

/// What is to be done about a place that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it is free.
    Free,
    /// Somebody waits, and it is still taken: see [`Level::may_pass_on`].
    Wanted,
}

impl Level {
    /// Places taken.
    #[inline]
    pub fn taken(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// How many wait for one.
    #[inline]
    pub fn waiting(&self) -> u32 {
        (self.0.load(Acquire) >> 32) as u32
    }

    /// Takes a place if one is free and nobody waits for it.
    #[inline]
    pub fn try_take(&self, limit: u32) -> bool {
        let mut seen = self.0.load(Relaxed);
        loop {
            // Nobody waits, and there is room: the whole word is below the limit.
            if seen >= u64::from(limit) {
                return false;
            }
            match self.0.compare_exchange_weak(seen, seen + 1, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
    }

    /// Takes a place whatever the limit says.
    pub fn take(&self) {
        self.0.fetch_add(1, AcqRel);
    }

    /// Gives a place back.
    #[inline]
    pub fn leave(&self) -> Left {
        let mut seen = self.0.load(Relaxed);
        loop {
            if seen >= ONE_WAITING {
                return Left::Wanted;
            }
            match self.0.compare_exchange_weak(seen, seen - 1, AcqRel, Relaxed) {
                Ok(_) => return Left::Free,
                Err(other) => seen = other,
            }
        }
    }

    /// Under the lock: takes a place, or counts one more who waits.
    pub fn join(&self, limit: u32) -> Joined {
        let mut seen = self.0.load(Relaxed);
        loop {
            let free = seen < u64::from(limit);
            let next = if free { seen + 1 } else { seen + ONE_WAITING };
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) if free => return Joined::Taken,
                Ok(_) => return Joined::Waiting,
                Err(other) => seen = other,
            }
        }
    }

    /// Under the lock, when a place was given back that somebody wanted: true means that it is passed on to one of
    /// those who wait, false that it has gone, because nobody waits any more or the limit has been lowered.
    pub fn may_pass_on(&self, limit: u32) -> bool {
        let mut seen = self.0.load(Relaxed);
        loop {
            let pass = seen >= ONE_WAITING && seen as u32 <= limit;
            let next = if pass { seen - ONE_WAITING } else { seen - 1 };
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return pass,
                Err(other) => seen = other,
            }
        }
    }

    /// Under the lock: lets one of those who wait in, if there is room (the limit may have been raised).
    pub fn admit(&self, limit: u32) -> bool {
        let mut seen = self.0.load(Relaxed);
        loop {
            if seen < ONE_WAITING || seen as u32 >= limit {
                return false;
            }
            match self.0.compare_exchange_weak(seen, seen - ONE_WAITING + 1, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
    }

    /// Under the lock: one who waited has gone without a place.
    pub fn give_up(&self) {
        self.0.fetch_sub(ONE_WAITING, AcqRel);
    }
}
