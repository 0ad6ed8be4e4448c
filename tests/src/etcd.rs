//! A real etcd as a process, on a folder of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::sockets::reserved;
use crate::wait::eventually;

/// An etcd; it is killed when this is dropped.
#[derive(Debug)]
pub struct Etcd {
    client: SocketAddr,
    child: Child,
    _data: TempDir,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|path| path.is_file())
}

impl Etcd {
    /// Starts one; `None`, aloud, where the program is missing and nobody insists on it.
    ///
    /// # Panics
    /// It is missing and `BOWLINE_REQUIRE_INTEROP` is set, or it does not come up.
    pub async fn or_skip() -> Option<Self> {
        let Some(program) = program() else {
            assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "etcd is missing");
            eprintln!("SKIPPED: etcd is missing; tests/run installs it");
            return None;
        };
        let (client, peer) = (reserved(), reserved());
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let data = tempfile::tempdir().expect("a folder");
        let child = Command::new(program)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}"), "--log-level", "error"])
            .arg("--data-dir")
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("etcd");
        eventually("etcd accepts connections", async || TcpStream::connect(client).await.ok()).await;
        Some(Etcd { client, child, _data: data })
    }

    /// As `--store` is told it.
    #[must_use]
    pub fn store(&self) -> String {
        format!("etcd://{}/bowline", self.client)
    }

    /// Sends a signal: SIGSTOP makes it stand still, SIGCONT ends that.
    ///
    /// # Panics
    /// It has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("it runs"), signal).expect("it runs");
    }
}
