//! A program that somebody looks at: its stdout is a pipe or a terminal, and Ctrl-C ends it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};

use crate::wait::{eventually, within};

/// A program that goes on until somebody ends it.
pub struct Running {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Running {
    /// Its stdout is a pipe.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn piped(mut command: Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        Self::start(command.stdout(writer), reader)
    }

    /// Its stdout and stderr are a terminal of this size.
    ///
    /// # Panics
    /// There is no terminal, or it can't be started.
    #[must_use]
    pub fn on_terminal(mut command: Command, columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let open = || {
            let name = Path::new(name.to_str().expect("a name"));
            Stdio::from(File::options().read(true).write(true).open(name).expect("its other end"))
        };
        Self::start(command.stdout(open()).stderr(open()), File::from(master))
    }

    fn start(command: &mut Command, mut from: impl Read + Send + 'static) -> Self {
        let child = command.spawn().expect("the program");
        // Ours go, so that theirs are the only ones.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal that nobody has open any more is an error.
            while let Ok(n @ 1..) = from.read(&mut piece) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..n]);
            }
        });
        Running { child, seen, reader }
    }

    /// All that it has written.
    #[must_use]
    pub fn seen(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits until it has written this.
    pub async fn has_written(&self, words: &str) {
        let what = format!("it writes {words:?}");
        eventually(&what, async || self.seen().contains(words).then_some(())).await;
    }

    /// Waits for its end, and until all that it has written is read, and gives its exit code.
    ///
    /// # Panics
    /// It doesn't end.
    pub async fn ended(&mut self) -> Option<i32> {
        let status = within("it ends", self.child.wait()).await.expect("its status");
        eventually("all of it is read", async || self.reader.is_finished().then_some(())).await;
        status.code()
    }

    /// Ctrl-C: its exit code, and all that it has written.
    ///
    /// # Panics
    /// It has ended already, or doesn't end.
    pub async fn interrupted(mut self) -> (Option<i32>, String) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("it runs"), Signal::INT).expect("it runs");
        let code = self.ended().await;
        (code, self.seen())
    }
}
