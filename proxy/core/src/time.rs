//! Time as the core sees it: nanoseconds since the process's own origin.

use std::time::Duration;

/// A moment on the process's monotonic clock: nanoseconds since an origin that the process chose at its start.
///
/// 64 bits last for 584 years. Arithmetic saturates, because two threads that read the clock at about the same
/// time may compare their readings in either order, and a small negative age must count as none.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than any moment: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `delay` later; [`Tick::MAX`] when that is out of range.
    #[inline]
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(nanos(delay)))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// [`Tick::since`] in nanoseconds.
    #[inline]
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration in whole nanoseconds, at most `u64::MAX`.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let all = duration.as_nanos();
    if all > u64::MAX as u128 { u64::MAX } else { all as u64 }
}

#[cfg(test)]
mod tests;
