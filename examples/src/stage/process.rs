//! Child processes, all of them this program in another role.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::role::Role;

/// A child that lives no longer than this process: it ends when its stdin does, and is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts this program again in a role, with these variables besides our own.
    pub(super) fn start<A: AsRef<OsStr>>(
        role: Role,
        args: impl IntoIterator<Item = A>,
        env: &[(&str, &str)],
    ) -> io::Result<(Self, Option<ChildStdout>, Option<ChildStderr>)> {
        let mut command = Command::new(own_program()?);
        command
            .arg(role.word())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if matches!(role, Role::Proxy | Role::Control) { Stdio::piped() } else { Stdio::null() })
            // Ctrl-C in the terminal goes to the demo alone, which then ends the others in good order.
            .process_group(0)
            .kill_on_drop(true);
        // The person's own settings for a proxy are not for this one.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BOWLINE_"))
        {
            command.env_remove(name);
        }
        command.envs(env.iter().copied());
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok((Process { child, stdin }, stdout, stderr))
    }

    /// Tells it something.
    pub(super) async fn tell(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await
    }

    /// SIGKILL: it has no chance to say goodbye.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal; nothing happens if it has ended already.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end, at most this long; then it is killed. True: it ended by itself, and well.
    pub(super) async fn end_within(&mut self, limit: Duration) -> bool {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(Ok(status)) => status.success(),
            _ => {
                let _ = self.child.kill().await;
                false
            }
        }
    }

    /// Closes its stdin, at which an endpoint ends.
    pub(super) fn let_go(&mut self) {
        self.stdin = None;
    }
}

fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}
