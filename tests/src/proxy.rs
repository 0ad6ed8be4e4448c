//! The real proxy as a process: started on free ports and a mesh file of its own, its log kept, its end watched.

mod builder;

pub use builder::Builder;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::client::Raw;
use crate::mesh::{Mesh, authority, url};
use crate::metrics::Scrape;
use crate::range::Range;
use crate::wait::{eventually, within};
use crate::wire::Answer;

/// A proxy that runs. It is killed when this is dropped, and its log shown if the test has failed.
pub struct Proxy {
    /// Its forward proxy.
    pub outbound: SocketAddr,
    /// Its admin pages.
    pub admin: SocketAddr,
    /// Its read-only listener, if it has one.
    pub metrics_listener: Option<SocketAddr>,
    /// Where it accepts the app's callers.
    pub inbound: Vec<SocketAddr>,
    /// Where it accepts callers from outside of the mesh.
    pub ingress: Vec<SocketAddr>,
    /// Its DNS server, if it is one.
    pub dns: Option<SocketAddr>,
    /// Its mesh file or folder.
    pub mesh: PathBuf,
    child: Child,
    log: Log,
    /// What it writes to stdout.
    out: Log,
    range: Range,
    _dir: TempDir,
}

/// The lines a process has written to stderr.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

/// How a process ended that was not to run on.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

/// The program with nothing but its name, free of what the environment says.
#[must_use]
pub fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if ["BOWLINE_", "OTEL_", "ECS_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
///
/// # Panics
/// It doesn't end.
pub async fn run_to_end(command: &mut Command) -> Ended {
    let output = command.stdout(Stdio::piped()).output();
    let output = within("the program ends", output).await.expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Log {
    pub(crate) fn of(child: &mut Child) -> Self {
        Self::lines_of(child.stderr.take().expect("stderr is piped"))
    }

    pub(crate) fn of_stdout(child: &mut Child) -> Self {
        Self::lines_of(child.stdout.take().expect("stdout is piped"))
    }

    fn lines_of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let log = Log::default();
        let into = log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                into.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        log
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Proxy {
    /// Waits for a log line that contains this.
    pub async fn logged(&self, text: &str) -> String {
        let what = format!("the proxy logs {text:?}");
        eventually(&what, async || self.log.lines().into_iter().find(|line| line.contains(text))).await
    }

    /// All log lines so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// All lines that it has written to stdout.
    #[must_use]
    pub fn out_lines(&self) -> Vec<String> {
        self.out.lines()
    }

    /// Those of them that are JSON.
    #[must_use]
    pub fn out(&self) -> Vec<Value> {
        self.out.events()
    }

    /// Sends `GET` for a path of a service through the forward proxy, on a connection of its own.
    pub async fn get(&self, service: &str, path: &str) -> Answer {
        self.request("GET", service, path, "", "").await
    }

    /// Sends a request with these headers (each line ending in CRLF) and body.
    pub async fn request(
        &self,
        method: &str,
        service: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let length = match body.is_empty() && method != "POST" {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let (target, host) = (url(service, path), authority(service));
        let mut raw = Raw::connect(self.outbound).await;
        raw.call(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n{body}")).await
    }

    /// Asks the admin listener.
    pub async fn admin(&self, method: &str, path: &str) -> Answer {
        let mut raw = Raw::connect(self.admin).await;
        raw.call(format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).await
    }

    /// A page of the admin listener, as JSON.
    pub async fn page(&self, path: &str) -> Value {
        self.admin("GET", path).await.expect(200).json()
    }

    /// All metrics as of now.
    ///
    /// # Panics
    /// The page breaks a rule of its format.
    pub async fn metrics(&self) -> Scrape {
        let page = self.admin("GET", "/metrics").await.expect(200).text();
        Scrape::parse(&page).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One metric, summed over what has these labels.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().await.sum(name, labels)
    }

    /// Waits until a metric has a value.
    pub async fn metric_is(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let what = format!("{name} {labels:?} is {value}");
        eventually(&what, async || (self.metric(name, labels).await == value).then_some(())).await;
    }

    /// What `/endpoints` says of this one.
    pub async fn endpoint(&self, addr: SocketAddr) -> Option<Value> {
        let page = self.page("/endpoints").await;
        let endpoints = page["endpoints"].as_array()?;
        endpoints.iter().find(|endpoint| endpoint["address"] == addr.to_string()).cloned()
    }

    /// Waits until `/endpoints` gives this endpoint this state, and returns all it says.
    pub async fn endpoint_is(&self, addr: SocketAddr, state: &str) -> Value {
        let what = format!("{addr} is {state}");
        eventually(&what, async || self.endpoint(addr).await.filter(|endpoint| endpoint["state"] == state))
            .await
    }

    /// The address at which a service's first alias is served.
    ///
    /// # Panics
    /// There is no such service.
    pub async fn vip(&self, service: &str) -> SocketAddr {
        let page = self.page("/services").await;
        let services = page["services"].as_array().expect("a list");
        let found =
            services.iter().find(|s| s["service"] == service).unwrap_or_else(|| panic!("{service}: {page}"));
        let alias = &found["aliases"][0];
        let addr = format!("{}:{}", alias["vip"].as_str().expect("a VIP"), alias["port"]);
        addr.parse().expect("an address")
    }

    /// Its VIP range.
    #[must_use]
    pub fn vip_range(&self) -> String {
        self.range.cidr()
    }

    /// The nth address of its VIP range.
    #[must_use]
    pub fn vip_address(&self, n: u8) -> std::net::Ipv4Addr {
        self.range.address(n)
    }

    /// Writes a new mesh beside the file and renames it over it.
    ///
    /// # Panics
    /// It can't be written.
    pub fn replace_mesh(&self, mesh: impl Into<Mesh>) {
        let new = self.mesh.with_extension("new");
        std::fs::write(&new, mesh.into().text()).expect("a mesh file");
        std::fs::rename(new, &self.mesh).expect("a renamed mesh file");
    }

    /// Writes over the mesh file in place.
    ///
    /// # Panics
    /// It can't be written.
    pub fn overwrite_mesh(&self, text: &str) {
        std::fs::write(&self.mesh, text).expect("a mesh file");
    }

    /// The number of the mesh in force.
    pub async fn generation(&self) -> u64 {
        self.metric("bowline_mesh_generation", &[]).await as u64
    }

    /// Replaces the mesh and waits until it is in force.
    pub async fn apply(&self, mesh: impl Into<Mesh>) {
        let before = self.generation().await;
        self.replace_mesh(mesh);
        eventually("the new mesh is in force", async || (self.generation().await > before).then_some(()))
            .await;
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It has ended already.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        kill_process(Pid::from_raw(id).expect("a process"), signal).expect("it runs");
    }

    /// From now on it may have no more file descriptors than this.
    ///
    /// # Panics
    /// It has ended already, or the limit is out of reach.
    pub fn limit_descriptors(&self, most: u64) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Pid::from_raw(id), Resource::Nofile, limit).expect("a lower limit");
    }

    /// The CPU time that it has used.
    ///
    /// # Panics
    /// It has ended already.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let id = self.child.id().expect("it runs");
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("its statistics");
        // Fields are counted from behind the command's closing bracket; there are 100 ticks a second.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the proxy ends", self.child.wait()).await.expect("its status")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.log.lines();
            let from = lines.len().saturating_sub(200);
            eprintln!(
                "--- the proxy's log, its last {} lines:\n{}",
                lines.len() - from,
                lines[from..].join("\n")
            );
        }
        let _ = self.child.start_kill();
    }
}
