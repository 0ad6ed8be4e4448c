//! The real proxy as a process: started on free ports and a mesh file of its own, its log kept, its end watched.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Raw;
use crate::mesh::{Mesh, authority, url};
use crate::metrics::Scrape;
use crate::range::Range;
use crate::wait::{eventually, within};
use crate::wire::Answer;

/// A proxy that is to be started.
pub struct Builder {
    program: PathBuf,
    admin: String,
    args: Vec<String>,
    dir: TempDir,
    mesh: PathBuf,
    /// It runs on a control plane's pushes; the mesh file is a seed at most.
    without_mesh: bool,
    range: Range,
    descriptors: Option<u32>,
}

/// A proxy that runs. It is killed when this is dropped, and its log shown if the test has failed.
pub struct Proxy {
    /// Its forward proxy.
    pub outbound: SocketAddr,
    /// Its admin pages.
    pub admin: SocketAddr,
    /// Its read-only listener, if it has one.
    pub metrics_listener: Option<SocketAddr>,
    /// Its mesh file or folder.
    pub mesh: PathBuf,
    child: Child,
    log: Log,
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

impl Builder {
    /// Of this program, on a mesh without services until it gets another.
    ///
    /// # Panics
    /// No temporary folder can be made.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mesh = dir.path().join("mesh.yaml");
        let builder = Builder {
            program: program.into(),
            admin: "127.0.0.1:0".to_owned(),
            args: Vec::new(),
            dir,
            mesh,
            without_mesh: false,
            range: Range::claim(),
            descriptors: None,
        };
        builder.mesh(Mesh::default())
    }

    /// On this mesh.
    #[must_use]
    pub fn mesh(self, mesh: impl Into<Mesh>) -> Self {
        let text = mesh.into().text();
        self.mesh_text(&text)
    }

    /// On a mesh file with this text.
    ///
    /// # Panics
    /// It can't be written.
    #[must_use]
    pub fn mesh_text(self, text: &str) -> Self {
        std::fs::write(&self.mesh, text).expect("a mesh file");
        self
    }

    /// On a folder with these files.
    ///
    /// # Panics
    /// It can't be written.
    #[must_use]
    pub fn mesh_folder(mut self, files: &[(&str, String)]) -> Self {
        self.mesh = self.dir.path().join("mesh.d");
        std::fs::create_dir(&self.mesh).expect("a folder");
        for (name, text) in files {
            std::fs::write(self.mesh.join(name), text).expect("a mesh file");
        }
        self
    }

    /// One more argument of `run`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// On the pushes of these control planes, without a mesh file. It binds no VIPs: on one host, two proxies that get
    /// the same ones would be in each other's way.
    #[must_use]
    pub fn control(mut self, urls: &[String]) -> Self {
        self.without_mesh = true;
        self.args.extend(["--control".to_owned(), urls.join(","), "--namespace".to_owned()]);
        self.args.extend([crate::mesh::NAMESPACE.to_owned(), "--no-vip-listeners".to_owned()]);
        self
    }

    /// Of another namespace than the tests' own, on a control plane.
    ///
    /// # Panics
    /// It runs without one.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        let flag = self.args.iter().position(|arg| arg == "--namespace").expect("it runs on a control plane");
        namespace.clone_into(&mut self.args[flag + 1]);
        self
    }

    /// With this mesh as the seed, where it runs on a control plane.
    #[must_use]
    pub fn seed(mut self, mesh: impl Into<Mesh>) -> Self {
        self.without_mesh = false;
        self.mesh(mesh)
    }

    /// Registers this backend as an endpoint of a service.
    #[must_use]
    pub fn register(self, service: &str, at: SocketAddr) -> Self {
        let ip = at.ip().to_string();
        self.arg("--register").arg(format!("{service}={}", at.port())).arg("--register-address").arg(ip)
    }

    /// With so many file descriptors at most.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// With its admin listener here, and not at any free port of 127.0.0.1.
    #[must_use]
    pub fn admin(mut self, addr: &str) -> Self {
        addr.clone_into(&mut self.admin);
        self
    }

    /// The nth address of the proxy's own VIP range.
    #[must_use]
    pub fn vip(&self, n: u8) -> std::net::Ipv4Addr {
        self.range.address(n)
    }

    fn command(&self) -> Command {
        let mut command = match self.descriptors {
            None => bare(&self.program),
            Some(most) => {
                // The shell becomes the program, so that it is the program that is killed and waited for.
                let mut command = bare(Path::new("/bin/sh"));
                let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
                command.arg("-c").arg(script).arg(&self.program);
                command
            }
        };
        command.args(["run", "--outbound", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--admin").arg(&self.admin);
        command.args(["--log-level", "debug", "--vip-range", &self.range.cidr()]);
        if !self.without_mesh {
            command.arg("--mesh").arg(&self.mesh);
        }
        command.args(&self.args);
        command
    }

    /// Starts it and waits until it is up.
    ///
    /// # Panics
    /// It ends instead.
    pub async fn start(self) -> Proxy {
        let mut child = self.command().spawn().expect("the proxy's program");
        let log = Log::of(&mut child);
        let up = eventually("the proxy is up", async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the proxy ended with {status}:\n{}", log.lines().join("\n"));
            }
            log.events().into_iter().find(|event| event["message"] == "bowline-proxy is up")
        })
        .await;
        let addr = |key: &str| up[key].as_str().and_then(|text| text.parse().ok());
        Proxy {
            outbound: addr("outbound").expect("its outbound address"),
            admin: addr("admin").expect("its admin address"),
            metrics_listener: addr("metrics"),
            mesh: self.mesh,
            child,
            log,
            range: self.range,
            _dir: self.dir,
        }
    }

    /// Runs it to its end, which should be near.
    ///
    /// # Panics
    /// It doesn't end.
    pub async fn run_to_end(self) -> Ended {
        let mut command = self.command();
        run_to_end(&mut command).await
    }
}

/// The program with nothing but its name, free of what the environment says.
#[must_use]
pub fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BOWLINE_") {
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
        let log = Log::default();
        let into = log.clone();
        let stderr = child.stderr.take().expect("stderr is piped");
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
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
