//! The control plane's process.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bowline_api::vip::VipRange;
use rustix::process::Signal;

use super::log::Log;
use super::process::Process;
use crate::role::Role;

/// The control plane at work.
#[derive(Debug)]
pub(crate) struct Control {
    process: Process,
    /// Where proxies connect.
    pub(super) listen: SocketAddr,
    /// Where the admin pages are, the live picture among them.
    pub(crate) admin: SocketAddr,
}

impl Control {
    /// Starts it, and waits until it says that it is up.
    pub(super) async fn start(mesh: &Path, vips: Option<VipRange>) -> io::Result<Self> {
        let mut args: Vec<String> = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
            .into_iter()
            .chain(["--log-format", "json", "--mesh"])
            .map(str::to_owned)
            .collect();
        args.push(mesh.display().to_string());
        if let Some(range) = vips {
            args.extend(["--vip-range".to_owned(), range.to_string()]);
        }
        let (process, _, stderr) = Process::start(Role::Control, args, &[])?;
        let (listen, admin) = Log::default().until_up("the control plane", stderr, "listen").await?;
        Ok(Control { process, listen, admin })
    }

    /// Ends it as Ctrl-C does.
    pub(super) async fn end(mut self) {
        self.process.signal(Signal::INT);
        self.process.end_within(Duration::from_millis(2500)).await;
    }
}
