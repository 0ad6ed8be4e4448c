//! A bucket for each of many keys, in bounded memory.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Rate, Taken, take};
use crate::Tick;

/// Places in a set.
const WAYS: usize = 8;

/// Turns keys into hashes that nobody outside can foresee, so that a client can't choose a value that shares another
/// one's bucket. SipHash behind a secret.
#[derive(Copy, Clone, Debug)]
pub struct Hasher(u64, u64);

impl Hasher {
    /// A hasher with a secret of its own.
    #[must_use]
    pub fn new(rng: &mut fastrand::Rng) -> Self {
        Self(rng.u64(..), rng.u64(..))
    }

    /// The hash of a header's value or any other bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self, key: &[u8]) -> u64 {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write_u64(self.1);
        hasher.write(key);
        hasher.finish()
    }

    /// The hash of a client's address. An IPv6 client counts by its /64, which is what one subscriber has; an IPv4
    /// address mapped into IPv6 counts as the IPv4 address.
    #[inline]
    #[must_use]
    pub fn address(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()[..8]),
        }
    }
}

/// One bucket a key, for a bounded number of keys, shared by all workers without a lock.
///
/// The table is made whole at the start, 16 bytes a key, and cut into sets of eight, like a processor's cache. A key
/// may be in one set only, so that looking it up reads two cache lines, and forgetting another one for it concerns
/// these eight alone. The one to go is the one whose bucket is the fullest or has been full for the longest: a full
/// bucket is the same as a new one, so an idle key loses nothing. Only where all eight are in use does one get a
/// fresh bucket too early, and that is the one which had the most left.
///
/// Keys are known by their 64-bit hash alone. Two keys share a bucket with a chance of one in 2⁶⁴ per pair.
///
/// When two threads bring in keys of one set at the same moment, a request or two may be counted for the wrong one or
/// not at all. For a key that stays, every request counts.
#[derive(Debug)]
pub struct Keyed {
    sets: Box<[Set]>,
}

#[derive(Debug, Default)]
struct Set {
    /// 0 where there is none.
    keys: [AtomicU64; WAYS],
    full_at: [AtomicU64; WAYS],
}

impl Keyed {
    /// A table for this many keys, rounded up to a power of two, and 8 at the least.
    ///
    /// Sets fill unevenly: give it twice as many keys as are in use at a time, so that few are forgotten early.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let sets = keys.div_ceil(WAYS).clamp(1, 1 << 32).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// How many keys it holds at the most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// How many keys have a bucket that isn't full. Reads the whole table: not for the request path.
    #[must_use]
    pub fn in_use(&self, now: Tick) -> usize {
        self.sets.iter().flat_map(|set| &set.full_at).filter(|at| at.load(Relaxed) > now.0).count()
    }

    /// Takes a token out of the bucket of the key with this hash; see [`Hasher`].
    #[inline]
    pub fn take(&self, hash: u64, rate: &Rate, now: Tick) -> Taken {
        let key = hash.max(1);
        // The number of sets is a power of two.
        let set = &self.sets[(hash >> 32) as usize & (self.sets.len() - 1)];
        let way = set.find(key).unwrap_or_else(|| set.bring_in(key, now));
        take(&set.full_at[way], rate, now)
    }
}

impl Set {
    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        self.keys.iter().position(|other| other.load(Relaxed) == key)
    }

    /// Finds a place for a new key.
    #[cold]
    fn bring_in(&self, key: u64, now: Tick) -> usize {
        loop {
            let mut fullest = (0, u64::MAX);
            for (way, at) in self.full_at.iter().enumerate() {
                let at = at.load(Relaxed);
                if at < fullest.1 {
                    fullest = (way, at);
                }
            }
            let (way, at) = fullest;
            let seen = self.keys[way].load(Relaxed);
            if self.keys[way].compare_exchange(seen, key, Relaxed, Relaxed).is_ok() {
                if at > now.0 {
                    self.full_at[way].store(now.0, Relaxed);
                }
                return way;
            }
            // Another thread was quicker here, perhaps with the same key. Each round means that one got its place.
            if let Some(way) = self.find(key) {
                return way;
            }
        }
    }
}
