//! The process: everything is made and joined here.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::admin::{self, Access, Admin};
use crate::clock::Clock;
use crate::config::{Cli, Command, Health, Run};
use crate::descriptors;
use crate::discovery::{ControlConfig, Discovery, Refused, Target};
use crate::drain::{self, Drain, Phase};
use crate::ecs;
use crate::listen::Arrival;
use crate::listen::accept::{VipListeners, Workers, accept, bind};
use crate::register::{self, Task, Withdrawn};
use crate::report;
use crate::snapshot::{Published, Snapshot};
use crate::telemetry::control::ControlStatus;
use crate::telemetry::log;
use crate::telemetry::metrics::ProxyCounters;
use crate::worker::{self, Shared};

/// Wrong usage or an invalid mesh file.
const USAGE: u8 = 2;
/// How long no connection must have been open for the app to count as gone.
const QUIET: Duration = Duration::from_secs(2);
/// How often VIP listeners that could not be bound are tried again.
const REBIND_EVERY: Duration = Duration::from_secs(5);

/// The program: `args` begin with its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    // Admin, discovery and the acceptor share this thread; traffic has threads of its own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bowline-proxy: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match cli.command {
        Command::Run(config) => runtime.block_on(run(&config)),
        Command::Health(config) => runtime.block_on(health(&config)),
    }
}

async fn health(config: &Health) -> ExitCode {
    match admin::ask_ready(config.admin, Duration::from_secs(config.timeout_seconds)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bowline-proxy: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Run) -> ExitCode {
    let started = SystemTime::now();
    let log = log::init(config.log_format, config.log_level);
    let seed = fastrand::u64(..);
    let task = match task(config).await {
        Ok(task) => task,
        Err(why) => {
            eprintln!("bowline-proxy: {why}");
            eprintln!("bowline-proxy: nothing was started");
            return ExitCode::from(USAGE);
        }
    };
    let control = task.as_ref().map(|_| Arc::new(ControlStatus::new()));
    let (discovery, snapshot) = match open(config, task.as_ref(), control.as_ref(), seed).await {
        Ok(opened) => opened,
        Err(Refused(why)) => {
            eprintln!("{why}");
            let mesh = config.mesh.as_deref().unwrap_or_else(|| Path::new("the mesh"));
            eprintln!("bowline-proxy: {} can't be used; nothing was started", mesh.display());
            return ExitCode::from(USAGE);
        }
    };
    // Before anything can tell that the proxy is up: whoever has heard so may end it at once.
    let signals = match Signals::handle() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!("signals can't be handled: {error}");
            return ExitCode::FAILURE;
        }
    };
    let begin = Begin { log, started, discovery, snapshot, control, task, seed };
    match Running::start(config, begin).await {
        Ok(running) => running.until_drained(signals, Duration::from_secs(config.drain_seconds)).await,
        Err(error) => {
            tracing::error!("not started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What this task is to the control plane; `None` where there is none.
///
/// # Errors
/// Wrong flags, in words.
async fn task(config: &Run) -> Result<Option<Task>, String> {
    let Some(namespace) = config.namespace.clone().filter(|_| !config.control.is_empty()) else {
        return Ok(None);
    };
    let read = |file: &PathBuf| match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    };
    let mut tokens = config.control_token_file.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let targets = |tokens: &[String]| {
        let target = |url: &String| Target::new(url, tokens, config.control_ca.as_deref());
        config.control.iter().map(target).collect::<Result<Vec<_>, _>>()
    };
    let for_pushes = targets(&tokens)?;
    tokens.extend(config.register_token_file.as_ref().map(read).transpose()?);
    let registrars = targets(&tokens)?;
    let place = ecs::place().await;
    let node_id = config.node_id.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{host}-{}", std::process::id())
    });
    Ok(Some(Task {
        targets: for_pushes,
        registrars,
        namespace,
        address: config.register_address.or(place.address),
        zone: config.zone.clone().or(place.zone),
        weight: config.register_weight,
        node_id,
    }))
}

async fn open(
    config: &Run,
    task: Option<&Task>,
    control: Option<&Arc<ControlStatus>>,
    seed: u64,
) -> Result<(Discovery, Snapshot), Refused> {
    let state_dir = config.state_dir.as_deref();
    let (range, resolver) = (config.vip_range, config.resolver);
    let (Some(task), Some(control)) = (task, control) else {
        // The flags are so made that there is one where there is no control plane.
        let mesh = config.mesh.as_deref().unwrap_or_else(|| Path::new("mesh.yaml"));
        return Discovery::from_file(mesh, range, state_dir, resolver).await;
    };
    let asked = ControlConfig {
        targets: task.targets.clone(),
        namespace: task.namespace.clone(),
        services: config.services.iter().cloned().collect(),
        node_id: task.node_id.clone(),
        zone: task.zone.clone(),
        seed,
    };
    let file = config.mesh.as_deref().map(|mesh| (mesh, resolver));
    Discovery::from_control(asked, control.clone(), range, file, state_dir).await
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn handle() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// What a proxy begins with.
struct Begin {
    log: log::LogControl,
    started: SystemTime,
    discovery: Discovery,
    snapshot: Snapshot,
    control: Option<Arc<ControlStatus>>,
    task: Option<Task>,
    seed: u64,
}

/// A proxy at work.
struct Running {
    withdrawn: Option<Withdrawn>,
    workers: Workers,
    drain: Drain,
    begin_drain: Arc<Notify>,
}

impl Running {
    async fn start(config: &Run, begin: Begin) -> io::Result<Self> {
        let Begin { log, started, discovery, snapshot, control, task, seed } = begin;
        let admin_listener = bind(config.admin)?;
        let outbound = bind(config.outbound)?;
        let metrics_listener = config.metrics.map(bind).transpose()?;
        let budget = descriptors::init(config.max_connections.map(|most| most as usize));
        let (drain, signal) = drain::channel();
        let published = Arc::new(Published::new(snapshot));
        let listeners = [Some(&admin_listener), Some(&outbound), metrics_listener.as_ref()]
            .into_iter()
            .flatten()
            .map(|listener| listener.local_addr())
            .collect::<io::Result<_>>()?;
        let shared = Shared { published: published.clone(), drain: signal.clone(), listeners };
        let workers = (0..config.workers)
            .map(|id| worker::spawn(id, shared.clone(), seed.wrapping_add(id.into())))
            .collect::<io::Result<Vec<_>>>()?;
        let counters = Arc::new(ProxyCounters::default());
        let workers = Workers::new(workers, counters.clone());
        let begin_drain = Arc::new(Notify::new());
        let snapshot = published.current();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            namespace = snapshot.namespace,
            services = snapshot.services.len(),
            outbound = %outbound.local_addr()?,
            admin = %admin_listener.local_addr()?,
            metrics = metrics_listener.as_ref().map(|l| l.local_addr()).transpose()?.map(tracing::field::display),
            workers = config.workers,
            max_connections = budget.max_connections,
            file_descriptors = budget.descriptors,
            seed,
            "bowline-proxy is up"
        );
        if !admin_listener.local_addr()?.ip().is_loopback() {
            tracing::warn!(
                admin = %admin_listener.local_addr()?,
                "the admin listener can be reached from outside of this host: whoever does can drain the proxy; \
                 --metrics serves health and metrics alone"
            );
        }
        let (commands, asked) = mpsc::channel(16);
        let admin = Arc::new(Admin {
            commands,
            published: published.clone(),
            workers: workers.clone(),
            counters: counters.clone(),
            drain: signal.clone(),
            control,
            begin_drain: begin_drain.clone(),
            log,
            started,
            clock: Clock::new(),
        });
        let vips = (!config.no_vip_listeners).then(|| VipListeners::new(workers.clone()));
        let published_for_reports = published.clone();
        let (changed, changes) = mpsc::channel(1);
        if let Some(vips) = vips {
            let published = published.clone();
            tokio::spawn(keep_vips(vips, published, changes));
        }
        tokio::spawn(discovery.follow(published, counters, asked, move |_| {
            // Full means that a look is due already.
            let _ = changed.try_send(());
        }));
        tokio::spawn(accept(outbound, Arrival::ForwardProxy, workers.clone()));
        if let Some(listener) = metrics_listener {
            tokio::spawn(admin::serve(listener, admin.clone(), Access::ReadOnly));
        }
        tokio::spawn(admin::serve(admin_listener, admin, Access::Full));
        if let Some(task) = &task {
            let reports = report::run(task.targets.clone(), task.node(), published_for_reports, seed);
            tokio::spawn(reports);
        }
        let withdrawn = task
            .filter(|_| !config.register.is_empty())
            .map(|task| register::keep(config.register.clone(), &task, &signal, seed));
        Ok(Running { withdrawn, workers, drain, begin_drain })
    }

    /// Serves until somebody wants the proxy to end, then ends it in good order.
    async fn until_drained(self, signals: Signals, grace: Duration) -> ExitCode {
        let Signals { mut terminate, mut interrupt } = signals;
        let at_a_terminal = tokio::select! {
            _ = terminate.recv() => false,
            () = self.begin_drain.notified() => false,
            _ = interrupt.recv() => true,
        };
        tracing::info!(connections = self.connections(), "draining");
        self.drain.advance(Phase::Leaving);
        let ended = self.end(at_a_terminal, grace);
        tokio::select! {
            () = ended => {}
            _ = terminate.recv() => tracing::warn!("second signal: ending at once"),
            _ = interrupt.recv() => tracing::warn!("second signal: ending at once"),
        }
        tracing::info!("bye");
        ExitCode::SUCCESS
    }

    async fn end(&self, at_a_terminal: bool, grace: Duration) {
        let deadline = Instant::now() + grace;
        // First of all: nobody is to be sent here any more.
        if let Some(mut withdrawn) = self.withdrawn.clone() {
            withdrawn.wait().await;
        }
        if at_a_terminal {
            // Whoever pressed Ctrl-C waits for nothing but requests.
            if self.connections() > 0 {
                tokio::time::sleep(QUIET.min(grace)).await;
            }
        } else {
            self.app_has_gone(deadline).await;
        }
        self.drain.advance(Phase::Closing);
        while self.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if self.connections() > 0 {
            tracing::warn!(connections = self.connections(), "connections are cut: the drain time is over");
        }
        self.drain.advance(Phase::Ended);
    }

    /// Waits until no connection has been open for a while. An orchestrator may have stopped the app in the same moment,
    /// and while the app finishes its work it must reach others. A connection that it keeps, idle or not, tells that it
    /// is there: its kernel closes them when it has gone.
    async fn app_has_gone(&self, deadline: Instant) {
        let mut last_seen = Instant::now();
        while last_seen.elapsed() < QUIET && Instant::now() < deadline {
            if self.connections() > 0 {
                last_seen = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn connections(&self) -> i64 {
        self.workers.iter().map(|worker| worker.counters.connections.get()).sum()
    }
}

/// Keeps the VIP listeners in step with the mesh.
async fn keep_vips(mut vips: VipListeners, published: Arc<Published>, mut changes: mpsc::Receiver<()>) {
    loop {
        let missing = vips.update(&published.current());
        if missing == 0 {
            if changes.recv().await.is_none() {
                return;
            }
        } else {
            // Whoever has the port may let go of it.
            let _ = tokio::time::timeout(REBIND_EVERY, changes.recv()).await;
        }
    }
}
