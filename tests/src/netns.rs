//! Network namespaces: a network of a test's own, in which packets can be made to vanish.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with nothing in it but a loopback interface. It is gone when this is dropped.
///
/// It has no name, since `ip netns add` wants to mount things, which can't be done in every root: a process that does
/// nothing else keeps it alive.
#[derive(Debug)]
pub struct Netns {
    keeper: Child,
}

impl Netns {
    /// Makes one.
    ///
    /// # Errors
    /// This machine doesn't let us: no `unshare`, `nsenter`, `ip` or `nft`, or no right to.
    pub fn new() -> Result<Self, String> {
        // `cat` ends with us, however we end: its input is a pipe of ours.
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo up; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut up = [0; 3];
        let said = keeper.stdout.as_mut().map(|out| out.read_exact(&mut up));
        if !matches!(said, Some(Ok(()))) {
            let _ = keeper.wait();
            return Err("unshare --net: not permitted".to_owned());
        }
        let netns = Netns { keeper };
        netns.exec("ip", &["link", "set", "lo", "up"])?;
        netns.nft(&["add", "table", "inet", "test"])?;
        netns.nft(&["add", "chain", "inet", "test", "in", "{ type filter hook input priority 0; }"])?;
        Ok(netns)
    }

    /// Makes one, or says that the test is skipped because this machine doesn't let us.
    ///
    /// # Panics
    /// There is none, and `BOWLINE_REQUIRE_INTEROP` is set.
    #[must_use]
    pub fn or_skip() -> Option<Self> {
        match Netns::new() {
            Ok(netns) => Some(netns),
            Err(why) => {
                assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "{why}");
                eprintln!("SKIPPED: no network namespace: {why}");
                None
            }
        }
    }

    /// Sets a parameter of its kernel, such as `net.ipv4.ip_local_port_range`.
    ///
    /// # Panics
    /// There is no such parameter in a namespace, or the value is not taken.
    pub fn sysctl(&self, name: &str, value: &str) {
        // What is under net belongs to the namespace of whoever opens it.
        let script = format!("echo '{value}' > /proc/sys/{}", name.replace('.', "/"));
        self.exec("sh", &["-c", &script]).expect("the parameter");
    }

    /// From now on every packet to and from this address is dropped without a word: those of connections that are open,
    /// and those that would open one.
    ///
    /// # Panics
    /// The rule is not taken.
    pub fn blackhole(&self, addr: SocketAddr) {
        let port = addr.port().to_string();
        for side in ["dport", "sport"] {
            self.nft(&["add", "rule", "inet", "test", "in", "tcp", side, &port, "drop"]).expect("a rule");
        }
    }

    /// Lets all packets pass again.
    ///
    /// # Panics
    /// It can't be done.
    pub fn heal(&self) {
        self.nft(&["flush", "chain", "inet", "test", "in"]).expect("no rules");
    }

    fn nft(&self, args: &[&str]) -> Result<(), String> {
        self.exec("nft", args).map(drop)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.keeper.id())
    }

    /// Runs a program inside, to its end, and returns what it prints.
    ///
    /// # Errors
    /// There is no such program, or it fails; with what it says.
    pub fn exec(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let net = format!("--net={}", self.path());
        let mut all = vec![net.as_str(), program];
        all.extend(args);
        run("nsenter", &all)
    }

    /// The process that keeps it alive, by which `ip` knows it.
    #[must_use]
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// Does something inside, on a thread of its own, and keeps what comes of it going there until the test ends: servers.
    ///
    /// # Panics
    /// It does, or the namespace can't be entered.
    pub fn host<T: Send + 'static>(&self, begin: impl AsyncFnOnce() -> T + Send + 'static) -> T {
        let path = self.path();
        let (sender, begun) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            enter(&path);
            runtime().block_on(async {
                if sender.send(begin().await).is_ok() {
                    // The process ends with the tests, and all of its threads.
                    std::future::pending::<()>().await;
                }
            });
        });
        begun.recv().expect("it began")
    }

    /// Runs a test inside: all sockets that it opens and all processes that it starts are in this network.
    ///
    /// # Panics
    /// The test does, or the namespace can't be entered.
    pub fn run(&self, test: impl AsyncFnOnce() + Send) {
        let path = self.path();
        // A namespace is a thread's. One thread runs all of the test, and the threads and processes it makes inherit it.
        let outcome = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&path);
                runtime().block_on(test());
            });
            inside.join()
        });
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn enter(path: &str) {
    let file = File::open(path).expect("the namespace's file");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("the namespace can be entered");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
        }
    }
}
