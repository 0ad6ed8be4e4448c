//! The real control plane as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::client::Raw;
use crate::mesh::Mesh;
use crate::metrics::Scrape;
use crate::proxy::{Ended, Log, bare, run_to_end};
use crate::range::Range;
use crate::sockets::reserved;
use crate::wait::eventually;
use crate::wire::Answer;

/// A control plane that is to be started.
pub struct Builder {
    program: PathBuf,
    args: Vec<String>,
    listen: String,
    dir: TempDir,
    range: Range,
    /// The VIP range is among the arguments.
    own_range: bool,
    env: Vec<(String, String)>,
}

/// A control plane. It is killed when this is dropped, and its log shown if the test has failed.
pub struct Control {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Its admin pages.
    pub admin: SocketAddr,
    builder: Builder,
    child: Child,
    log: Log,
}

impl Builder {
    /// Of this program, on a mesh without services until it gets another.
    ///
    /// # Panics
    /// No temporary folder can be made.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let builder = Builder {
            program: program.into(),
            args: Vec::new(),
            listen: reserved().to_string(),
            dir,
            range: Range::claim(),
            own_range: true,
            env: Vec::new(),
        };
        builder.mesh(Mesh::default())
    }

    fn mesh_file(&self) -> PathBuf {
        self.dir.path().join("mesh.yaml")
    }

    /// On this mesh.
    ///
    /// # Panics
    /// It can't be written.
    #[must_use]
    pub fn mesh(self, mesh: impl Into<Mesh>) -> Self {
        std::fs::write(self.mesh_file(), mesh.into().text()).expect("a mesh file");
        self
    }

    /// One more argument of `serve`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Listening here, and not at any free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, addr: &str) -> Self {
        addr.clone_into(&mut self.listen);
        self
    }

    /// The range of VIPs that it has.
    #[must_use]
    pub fn vip_range(&self) -> String {
        self.range.cidr()
    }

    /// Without a range of its own: one is among the arguments.
    #[must_use]
    pub fn without_range(mut self) -> Self {
        self.own_range = false;
        self
    }

    /// A file in its folder.
    ///
    /// # Panics
    /// It can't be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn command(&self, admin: &str) -> Command {
        let mut command = bare(&self.program);
        command.args(["serve", "--listen", &self.listen, "--admin", admin, "--log-format", "json"]);
        command.args(["--log-level", "debug"]);
        if self.own_range {
            command.args(["--vip-range", &self.range.cidr()]);
        }
        command.arg("--mesh").arg(self.mesh_file()).args(&self.args);
        // No test may find the credentials of whoever runs it, or look for some over the network.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it is up.
    ///
    /// # Panics
    /// It ends instead.
    pub async fn start(self) -> Control {
        let (child, log, listen, admin) = launch(&self, &reserved().to_string()).await;
        Control { listen, admin, builder: self, child, log }
    }

    /// Runs it to its end, which should be near.
    pub async fn run_to_end(self) -> Ended {
        run_to_end(&mut self.command("127.0.0.1:0")).await
    }
}

async fn launch(builder: &Builder, admin: &str) -> (Child, Log, SocketAddr, SocketAddr) {
    let mut child = builder.command(admin).spawn().expect("the control plane's program");
    let log = Log::of(&mut child);
    let up = eventually("the control plane is up", async || {
        if let Ok(Some(status)) = child.try_wait() {
            panic!("the control plane ended with {status}:\n{}", log.lines().join("\n"));
        }
        log.events().into_iter().find(|event| event["message"] == "bowline-control is up")
    })
    .await;
    let addr = |key: &str| up[key].as_str().and_then(|text| text.parse().ok()).expect("its address");
    (child, log, addr("listen"), addr("admin"))
}

impl Control {
    /// Its URL, as proxies are told it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Kills it: no word to anybody.
    ///
    /// # Panics
    /// It has ended already.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// Starts it again at the same addresses, with the same flags, folder and mesh.
    pub async fn restart(&mut self) {
        self.builder.listen = self.listen.to_string();
        let (child, log, listen, admin) = launch(&self.builder, &self.admin.to_string()).await;
        (self.child, self.log, self.listen, self.admin) = (child, log, listen, admin);
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It has ended already.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        kill_process(Pid::from_raw(id).expect("a process"), signal).expect("it runs");
    }

    /// Its process id.
    ///
    /// # Panics
    /// It has ended already.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        crate::wait::within("the control plane ends", self.child.wait()).await.expect("its status")
    }

    /// Its mesh file.
    #[must_use]
    pub fn mesh_file(&self) -> PathBuf {
        self.builder.mesh_file()
    }

    /// The range of VIPs that it was given.
    #[must_use]
    pub fn vip_range(&self) -> String {
        self.builder.vip_range()
    }

    /// The folder that it was given.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.builder.dir.path()
    }

    /// Writes a new mesh beside the file and renames it over it.
    ///
    /// # Panics
    /// It can't be written.
    pub fn replace_mesh(&self, mesh: impl Into<Mesh>) {
        let file = self.mesh_file();
        let new = file.with_extension("new");
        std::fs::write(&new, mesh.into().text()).expect("a mesh file");
        std::fs::rename(new, file).expect("a renamed mesh file");
    }

    /// Waits for a log line that contains this.
    pub async fn logged(&self, text: &str) -> String {
        let what = format!("the control plane logs {text:?}");
        eventually(&what, async || self.log.lines().into_iter().find(|line| line.contains(text))).await
    }

    /// All log lines so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Asks the admin listener.
    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut raw = Raw::connect(self.admin).await;
        let length = body.len();
        raw.call(format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// A page of the admin listener, as JSON.
    pub async fn page(&self, path: &str) -> Value {
        self.admin("GET", path, "").await.expect(200).json()
    }

    /// All metrics as of now.
    ///
    /// # Panics
    /// The page breaks a rule of its format.
    pub async fn metrics(&self) -> Scrape {
        let page = self.admin("GET", "/metrics", "").await.expect(200).text();
        Scrape::parse(&page).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What `/snapshot` says of a service.
    pub async fn service(&self, name: &str) -> Option<Value> {
        let page = self.page("/snapshot").await;
        page["services"].as_array()?.iter().find(|service| service["service"] == name).cloned()
    }

    /// Waits until a service has so many endpoints that are to be called.
    pub async fn has_endpoints(&self, service: &str, count: usize) -> Value {
        let what = format!("{service} has {count} endpoints");
        eventually(&what, async || {
            let page = self.service(service).await?;
            let called = page["endpoints"].as_array()?.iter().filter(|endpoint| endpoint["weight"] != 0);
            (called.count() == count).then_some(page)
        })
        .await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.log.lines();
            let from = lines.len().saturating_sub(100);
            eprintln!("--- the control plane's log, its last lines:\n{}", lines[from..].join("\n"));
        }
        let _ = self.child.start_kill();
    }
}
