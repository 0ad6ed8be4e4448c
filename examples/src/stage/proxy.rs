//! The proxy process.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bowline_api::vip::VipRange;
use rustix::process::Signal;

use super::log::Log;
use super::process::Process;
use crate::role::Role;

/// What runs beside the proxy, in traces and in the live picture.
const APP: &str = "app";

/// Where the proxy has its mesh from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// A mesh file.
    File(&'a Path),
    /// A control plane.
    Control(SocketAddr),
}

/// The proxy at work.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Process,
    log: Log,
    /// Where the HTTP forward proxy listens.
    pub(crate) outbound: SocketAddr,
    /// Where the admin pages are.
    pub(crate) admin: SocketAddr,
}

impl Proxy {
    /// Starts it, and waits until it says that it is up. `otlp`: where its traces go.
    pub(super) async fn start(
        source: Source<'_>,
        vips: Option<VipRange>,
        otlp: Option<&str>,
    ) -> io::Result<Self> {
        let mut args: Vec<String> = ["run", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
            .into_iter()
            .chain(["--log-format", "json", "--drain-seconds", "1"])
            .map(str::to_owned)
            .collect();
        let mut env = Vec::new();
        match source {
            Source::File(mesh) => args.extend(["--mesh".to_owned(), mesh.display().to_string()]),
            Source::Control(listen) => {
                args.extend(["--control".to_owned(), format!("http://{listen}")]);
                args.extend(["--namespace".to_owned(), "hello-world.com".to_owned()]);
                env.push(("OTEL_SERVICE_NAME", APP));
            }
        }
        if let Some(otlp) = otlp {
            env.extend([("OTEL_EXPORTER_OTLP_ENDPOINT", otlp), ("OTEL_SERVICE_NAME", APP)]);
        }
        match vips {
            Some(range) => args.extend(["--vip-range".to_owned(), range.to_string()]),
            None => args.push("--no-vip-listeners".to_owned()),
        }
        let (process, _, stderr) = Process::start(Role::Proxy, args, &env)?;
        let log = Log::default();
        let (outbound, admin) = log.until_up("the proxy", stderr, "outbound").await?;
        Ok(Proxy { process, log, outbound, admin })
    }

    /// What it logged.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether it has ended, which it must not.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Ends it as Ctrl-C does. True: it ended in good order.
    pub(super) async fn end(mut self) -> bool {
        self.process.signal(Signal::INT);
        self.process.end_within(Duration::from_millis(2500)).await
    }
}
