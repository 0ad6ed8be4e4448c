//! A backend as a process, which can be killed and stopped as no task can.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::mesh::Endpoint;
use crate::sockets::reserved;

/// A backend process; it is killed when this is dropped. It answers every request with 200.
#[derive(Debug)]
pub struct BackendProcess {
    addr: SocketAddr,
    child: Child,
    posts: NamedTempFile,
}

impl BackendProcess {
    /// Starts one. Its address is nobody else's when it is dead.
    ///
    /// # Panics
    /// It does not come up.
    pub async fn start(program: impl AsRef<Path>) -> Self {
        let posts = NamedTempFile::new().expect("a temporary file");
        let mut command = Command::new(program.as_ref());
        let addr = reserved();
        let child =
            command.arg(posts.path()).arg(addr.to_string()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.expect("a process");
        let stdout = child.stdout.take().expect("its stdout");
        BufReader::new(stdout).lines().next_line().await.expect("a line").expect("it listens");
        BackendProcess { addr, child, posts }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it as a crash or an out-of-memory kill would.
    ///
    /// # Panics
    /// It has ended already.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// SIGSTOP: the kernel goes on accepting connections and bytes, and nobody answers. SIGCONT ends that.
    ///
    /// # Panics
    /// It has ended already.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("it runs"), signal).expect("it runs");
    }

    /// The targets of all POSTs that have come, dead or alive.
    ///
    /// # Panics
    /// The file can't be read.
    #[must_use]
    pub fn posts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.posts.path()).expect("the file of POSTs");
        text.lines().map(str::to_owned).collect()
    }
}

impl Endpoint for BackendProcess {
    fn address(&self) -> SocketAddr {
        self.addr
    }
}
