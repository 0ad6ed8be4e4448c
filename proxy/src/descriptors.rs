//! File descriptors: every connection takes one, the process has so many, and when they run out nothing works any more,
//! not even the admin page that would say so. So connections of the app are capped, and connections to endpoints leave
//! a reserve alone. What is counted is the whole process's, as the limit is: hence statics.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of the app and to endpoints, and VIP listeners.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// Connections of the app alone.
static DOWNSTREAM: AtomicUsize = AtomicUsize::new(0);
/// How many `OPEN` may be.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
/// How many `DOWNSTREAM` may be.
static MOST_DOWNSTREAM: AtomicUsize = AtomicUsize::new(usize::MAX);

/// What the process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// File descriptors: `RLIMIT_NOFILE`, raised to its hard limit.
    pub descriptors: usize,
    /// Connections of the app.
    pub max_connections: usize,
}

impl Budget {
    /// A quarter, but 32 to 512, is kept for listeners, admin, files and event loops; of the rest, two thirds are for the
    /// app's connections. Those that are in use may each need one to an endpoint, but most of many are idle.
    fn new(descriptors: usize, max_connections: Option<usize>) -> Self {
        let most = max_connections.unwrap_or((descriptors - reserve(descriptors)) / 3 * 2).max(1);
        Budget { descriptors, max_connections: most }
    }
}

fn reserve(descriptors: usize) -> usize {
    (descriptors / 4).clamp(32, 512).min(descriptors)
}

/// Raises the soft limit to the hard one and sets the caps by it.
pub fn init(max_connections: Option<usize>) -> Budget {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = if raised.is_ok() { limit.maximum } else { limit.current };
    let descriptors = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let budget = Budget::new(descriptors, max_connections);
    MOST.store(descriptors - reserve(descriptors), Relaxed);
    MOST_DOWNSTREAM.store(budget.max_connections, Relaxed);
    budget
}

/// Whether a connection to an endpoint may be opened.
pub fn has_room() -> bool {
    OPEN.load(Relaxed) <= MOST.load(Relaxed)
}

/// What to do about it, for people.
pub const ADVICE: &str = "the proxy is out of file descriptors: raise its limit (ulimit -n; ECS: ulimits, nofile), or \
                          lower --max-connections and the limits of its services";

/// Whether an error says that this host, not the peer, is out of something: file descriptors, local ports, memory.
pub fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Counts a listener, or a connection to an endpoint, while it lives.
#[derive(Debug)]
pub struct Descriptor(());

impl Descriptor {
    /// One more.
    pub fn count() -> Self {
        OPEN.fetch_add(1, Relaxed);
        Descriptor(())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// A descriptor kept for a bad day: when none is left, it is given up for as long as it takes to accept one connection
/// and close it. Otherwise those who dial would wait in the kernel's queue, without a word, and a listener with
/// somebody in its queue would wake the acceptor for ever.
#[derive(Debug)]
pub struct Spare(Option<File>);

impl Spare {
    /// Takes one.
    pub fn new() -> Self {
        Spare(File::open("/dev/null").ok())
    }

    /// Does something for which a descriptor is needed; it must be closed again by the end of it.
    pub fn lend<T>(&mut self, act: impl FnOnce() -> T) -> T {
        self.0 = None;
        let result = act();
        *self = Spare::new();
        result
    }
}

impl Default for Spare {
    fn default() -> Self {
        Spare::new()
    }
}

/// Why a connection of the app is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many as there may be.
    Connections,
    /// What is left of the file descriptors is kept for other things.
    Descriptors,
}

impl Full {
    /// All of them.
    pub const ALL: [Full; 2] = [Full::Connections, Full::Descriptors];

    /// The label's value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Full::Connections => "max_connections",
            Full::Descriptors => "file_descriptors",
        }
    }

    /// What to do about it, for people.
    pub fn advice(self) -> &'static str {
        match self {
            Full::Connections => {
                "there are as many connections of apps as there may be: see --max-connections"
            }
            Full::Descriptors => ADVICE,
        }
    }
}

/// Counts a connection of the app while it lives.
#[derive(Debug)]
pub struct Downstream(());

impl Downstream {
    /// One more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn try_count() -> Result<Self, Full> {
        // Only the acceptor adds to it.
        if DOWNSTREAM.load(Relaxed) >= MOST_DOWNSTREAM.load(Relaxed) {
            return Err(Full::Connections);
        }
        if OPEN.load(Relaxed) >= MOST.load(Relaxed) {
            return Err(Full::Descriptors);
        }
        DOWNSTREAM.fetch_add(1, Relaxed);
        OPEN.fetch_add(1, Relaxed);
        Ok(Downstream(()))
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        DOWNSTREAM.fetch_sub(1, Relaxed);
        OPEN.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn two_thirds_of_what_is_left_are_for_the_app() {
        let of = |descriptors| Budget::new(descriptors, None).max_connections;
        assert_eq!(of(65_536), 43_348);
        assert_eq!(of(1024), 512);
        assert_eq!(of(128), 64);
        assert_eq!(of(16), 1);
        assert_eq!(Budget::new(128, Some(1000)).max_connections, 1000);
    }
}
