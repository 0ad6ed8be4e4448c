//! How a proxy is started.

use crate::mesh::Mesh;
use crate::range::Range;
use crate::wait::eventually;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Ended, Log, Proxy, bare, run_to_end};

/// A proxy that is to be started.
pub struct Builder {
    program: PathBuf,
    admin: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: TempDir,
    mesh: PathBuf,
    /// It runs on a control plane's pushes; the mesh file is a seed at most.
    without_mesh: bool,
    range: Range,
    descriptors: Option<u32>,
    user: Option<u32>,
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
            env: Vec::new(),
            dir,
            mesh,
            without_mesh: false,
            range: Range::claim(),
            descriptors: None,
            user: None,
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

    /// With this variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
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

    /// As this user, who may nevertheless read what the tests write. Needs root.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
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
        let mut command = match (self.descriptors, self.user) {
            (None, None) => bare(&self.program),
            (None, Some(uid)) => {
                // It becomes the program too.
                let mut command = bare(Path::new("setpriv"));
                let uid = uid.to_string();
                command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
                command.args(["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]);
                command.arg(&self.program);
                command
            }
            (Some(most), _) => {
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
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it is up.
    ///
    /// # Panics
    /// It ends instead.
    pub async fn start(self) -> Proxy {
        let mut child = self.command().stdout(Stdio::piped()).spawn().expect("the proxy's program");
        let log = Log::of(&mut child);
        let out = Log::of_stdout(&mut child);
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
            inbound: up["inbound"]
                .as_str()
                .into_iter()
                .flat_map(str::split_whitespace)
                .map(|text| text.parse().expect("an address"))
                .collect(),
            ingress: up["ingress"]
                .as_str()
                .into_iter()
                .flat_map(str::split_whitespace)
                .map(|text| text.parse().expect("an address"))
                .collect(),
            dns: addr("dns"),
            mesh: self.mesh,
            child,
            log,
            out,
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
