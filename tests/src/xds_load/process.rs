//! What a process has used, as the kernel says.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A process that is looked at.
#[derive(Clone, Debug)]
pub struct Process(PathBuf);

impl Process {
    /// By its id.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Process(PathBuf::from(format!("/proc/{pid}")))
    }

    /// This one.
    #[must_use]
    pub fn own() -> Self {
        Process(PathBuf::from("/proc/self"))
    }

    /// The CPU time of all its threads so far, to the nanosecond; a thread that has ended is not in it. Zero where the
    /// process has gone.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let Ok(threads) = fs::read_dir(self.0.join("task")) else { return Duration::ZERO };
        let of = |thread: &fs::DirEntry| -> Option<u64> {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(threads.flatten().filter_map(|thread| of(&thread)).sum())
    }

    /// Its resident memory in MiB.
    #[must_use]
    pub fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most resident memory that it has had so far, in MiB.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> f64 {
        let Ok(text) = fs::read_to_string(self.0.join("status")) else { return 0.0 };
        let kilobytes =
            text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok());
        kilobytes.unwrap_or(0.0) / 1024.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_knows_oneself() {
        let own = Process::own();
        assert!(own.resident() > 0.5 && own.peak() >= own.resident() * 0.9);
        assert!(own.cpu() > Duration::ZERO);
        // No process has this id: it is beyond the highest that the kernel can be told to give.
        assert_eq!(Process::of(u32::MAX).cpu(), Duration::ZERO);
    }
}
