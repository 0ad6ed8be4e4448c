//! The process: everything is made and joined here.

mod ending;
mod listeners;
mod names;
mod seeing;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bowline_look::args::Look;
use bowline_sources::dns::Servers;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};

use self::ending::InFront;
use self::listeners::{
    accept_inbound, accept_ingress, beside, bind_inbound, bind_ingress, keep_vips, tell_of_ingress,
};
use self::names::Names;
use self::seeing::{Seeing, Seen};
use crate::access;
use crate::admin::{self, Access, Admin};
use crate::clock::Clock;
use crate::config::{self, Cli, Command, Health, Registration, Run};
use crate::descriptors;
use crate::discovery::{ControlConfig, Discovery, Refused, Target};
use crate::drain::{self, Drain};
use crate::ecs;
use crate::health;
use crate::listen::Arrival;
use crate::listen::accept::{VipListeners, Workers, accept, bind};
use crate::listen::inbound::Apps;
use crate::redirect;
use crate::register::{self, Announced, AppStates, Task};
use crate::report::Reporter;
use crate::snapshot::{Here, Published, Snapshot};
use crate::telemetry::control::ControlStatus;
use crate::telemetry::failures::Failures;
use crate::telemetry::log;
use crate::telemetry::metrics::ProxyCounters;
use crate::worker::{self, Shared};

/// Wrong usage or an invalid mesh file.
const USAGE: u8 = 2;

/// The program: `args` begin with its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match cli.command {
        Command::Run(config) => on_runtime(run(&config)),
        Command::Health(config) => on_runtime(health(&config)),
        Command::SetupRedirect(config) => redirect::run(&config),
        Command::Look(asked) => look(&asked),
    }
}

fn on_runtime(command: impl Future<Output = ExitCode>) -> ExitCode {
    // Admin, discovery and the acceptor share this thread; traffic has threads of its own.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("bowline-proxy: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

fn look(asked: &Look) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match bowline_look::run(asked, &mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(err, "bowline-proxy: can't write: {error}");
            ExitCode::FAILURE
        }
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
    let place = ecs::place().await;
    // It is read again whenever it is needed; one that is wrong from the start is told at the start.
    let trust = access::authorities(config.jwks_ca.as_deref());
    let task = match trust.and_then(|_| task(config, &place)) {
        Ok(task) => task,
        Err(why) => {
            eprintln!("bowline-proxy: {why}");
            eprintln!("bowline-proxy: nothing was started");
            return ExitCode::from(USAGE);
        }
    };
    let control = task.as_ref().map(|_| Arc::new(ControlStatus::new()));
    // Before anything else: the control plane's own name may have to be looked up through it.
    let names = match Names::start(config).await {
        Ok(names) => names,
        Err(error) => {
            tracing::error!("not started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let seeing = Seeing::prepare(config, task.as_ref(), &place);
    let servers = names.servers(config);
    let (discovery, snapshot) = match open(config, task.as_ref(), control.as_ref(), servers, seed).await {
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
    let zone = config.zone.clone().or_else(|| place.zone.clone());
    let here = Arc::new(Here::new(zone, config.register_address.or(place.address)));
    let begin = Begin { log, started, discovery, snapshot, control, task, names, seeing, here, seed };
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
fn task(config: &Run, place: &ecs::Place) -> Result<Option<Task>, String> {
    let Some(namespace) = config.namespace.clone().filter(|_| !config.control.is_empty()) else {
        return Ok(None);
    };
    let read = |file: &PathBuf| match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    };
    let mut tokens = config.control_token_file.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    tokens.extend(config.control_token.clone());
    let targets = |tokens: &[String]| {
        let target = |url: &String| Target::new(url, tokens, config.control_ca.as_deref());
        config.control.iter().map(target).collect::<Result<Vec<_>, _>>()
    };
    let for_pushes = targets(&tokens)?;
    tokens.extend(config.register_token_file.as_ref().map(read).transpose()?);
    tokens.extend(config.register_token.clone());
    let registrars = targets(&tokens)?;
    let node_id = config.node_id.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("{host}-{}", std::process::id())
    });
    Ok(Some(Task {
        targets: for_pushes,
        registrars,
        namespace,
        address: config.register_address.or(place.address),
        zone: config.zone.clone().or_else(|| place.zone.clone()),
        weight: config.register_weight,
        node_id,
        caller: caller(config, place.family()),
    }))
}

/// What runs beside this proxy: the name that it has in traces, else the first service that it registers as, else the
/// family of its ECS task.
fn caller(config: &Run, family: Option<&str>) -> String {
    let in_traces = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let registered = || config.register.first().map(|registration| registration.service.clone());
    in_traces.or_else(registered).or_else(|| family.map(str::to_owned)).unwrap_or_default()
}

async fn open(
    config: &Run,
    task: Option<&Task>,
    control: Option<&Arc<ControlStatus>>,
    resolver: Servers,
    seed: u64,
) -> Result<(Discovery, Snapshot), Refused> {
    let state_dir = config.state_dir.as_deref();
    let range = config.vip_range;
    let (Some(task), Some(control)) = (task, control) else {
        // The flags are so made that there is one where there is no control plane.
        let mesh = config.mesh.as_deref().unwrap_or_else(|| Path::new("mesh.yaml"));
        return Discovery::from_file(mesh, range, state_dir, resolver).await;
    };
    let asked = ControlConfig {
        targets: task.targets.clone(),
        node: task.node(),
        services: config.services.iter().cloned().collect(),
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

    /// Waits for the next one: whether somebody at a terminal has sent it.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => true,
        }
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
    names: Names,
    seeing: Seeing,
    here: Arc<Here>,
    seed: u64,
}

/// A proxy at work.
struct Running {
    workers: Workers,
    in_front: InFront,
    drain: Drain,
    begin_drain: Arc<Notify>,
    names: Names,
    seen: Seen,
}

impl Running {
    async fn start(config: &Run, begin: Begin) -> io::Result<Self> {
        let Begin { log, started, discovery, snapshot, control, task, names, seeing, here, seed } = begin;
        let admin_listener = bind(config.admin)?;
        let outbound = bind(config.outbound)?;
        let outbound6 = beside(outbound.local_addr()?);
        let inbound = bind_inbound(&config.inbound)?;
        let metrics_listener = config.metrics.map(bind).transpose()?;
        let budget = descriptors::init(config.max_connections.map(|most| most as usize));
        let (drain, signal) = drain::channel();
        // Callers are sent away first, and the app is served last.
        let (in_front, callers) = drain::channel();
        let ingress = bind_ingress(&config.ingress, &callers)?;
        let published = Arc::new(Published::new(snapshot));
        let listeners =
            [Some(&admin_listener), Some(&outbound), outbound6.as_ref(), metrics_listener.as_ref()]
                .into_iter()
                .flatten()
                .map(|listener| listener.local_addr())
                .chain(inbound.iter().map(|(listener, _)| listener.local_addr()))
                .chain(ingress.iter().map(|(_, ingress)| Ok(ingress.listen)))
                .chain(names.addr().map(Ok))
                .collect::<io::Result<_>>()?;
        let counters = Arc::new(ProxyCounters::default());
        let (tracing, propagators) = (seeing.tracing(), seeing.propagators);
        let (mut seen, observers) = seeing.start(config, &counters, seed)?;
        let failures = Arc::new(Failures::default());
        let shared = Shared {
            published: published.clone(),
            drain: signal,
            listeners,
            vip_range: config.vip_range,
            observers: observers.clone(),
            tracing,
            propagators,
            failures: failures.clone(),
            here: here.clone(),
        };
        let workers = (0..config.workers)
            .map(|id| worker::spawn(id, shared.clone(), seed.wrapping_add(id.into())))
            .collect::<io::Result<Vec<_>>>()?;
        let workers = Workers::new(workers, counters.clone());
        let begin_drain = Arc::new(Notify::new());
        let snapshot = published.current();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            namespace = snapshot.namespace,
            services = snapshot.services.len(),
            outbound = %outbound.local_addr()?,
            admin = %admin_listener.local_addr()?,
            inbound = addresses(&inbound)?.map(tracing::field::display),
            ingress = listed(ingress.iter().map(|(_, ingress)| ingress.listen)).map(tracing::field::display),
            dns = names.addr().map(tracing::field::display),
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
        let app_states = Arc::new(AppStates::new(&config.register));
        let ports = config.register.iter().map(|one| (one.port, one.service.clone())).collect();
        let apps = Arc::new(Apps::new(ports, published.clone()));
        let (commands, asked) = mpsc::channel(16);
        let admin = Arc::new(Admin {
            commands,
            published: published.clone(),
            here,
            workers: workers.clone(),
            counters: counters.clone(),
            drain: callers.clone(),
            apps: apps.clone(),
            app_states: app_states.clone(),
            control,
            begin_drain: begin_drain.clone(),
            ingress: ingress.iter().map(|(_, ingress)| ingress.clone()).collect(),
            log,
            started,
            clock: Clock::new(),
            taps: seen.taps.clone(),
            observers,
            spans: seen.spans(),
            points: seen.points(),
        });
        seen.tell(&admin);
        let vips = (!config.no_vip_listeners).then(|| VipListeners::new(workers.clone()));
        let published_for_reports = published.clone();
        let published_for_apps = published.clone();
        let (changed, changes) = watch::channel(());
        if let Some(vips) = vips {
            tokio::spawn(keep_vips(vips, published.clone(), changes.clone()));
        }
        tokio::spawn(access::keep(
            published.clone(),
            changes.clone(),
            config.jwks_ca.as_deref().map(Arc::from),
        ));
        tokio::spawn(health::keep(published.clone(), changes.clone(), seed));
        if !ingress.is_empty() {
            let entries = ingress.iter().map(|(_, ingress)| ingress.clone()).collect();
            tokio::spawn(tell_of_ingress(entries, published.clone(), changes.clone()));
        }
        names.mesh.are_in(published.clone());
        if let Some(hosts) = names.hosts.clone() {
            tokio::spawn(hosts.keep(published.clone(), changes));
        }
        tokio::spawn(discovery.follow(published, counters, asked, move |_| {
            let _ = changed.send(());
        }));
        for listener in [Some(outbound), outbound6].into_iter().flatten() {
            tokio::spawn(accept(listener, Arrival::ForwardProxy, workers.clone()));
        }
        if let Some(listener) = metrics_listener {
            tokio::spawn(admin::serve(listener, admin.clone(), Access::ReadOnly));
        }
        tokio::spawn(admin::serve(admin_listener, admin, Access::Full));
        if let Some(task) = &task {
            let reporter = Reporter::new(task.node(), published_for_reports, failures);
            tokio::spawn(reporter.run(task.targets.clone(), seed));
        }
        let announced = announced(config, &inbound)?;
        let withdrawn = task
            .filter(|_| !announced.is_empty())
            .map(|task| register::keep(announced, &task, &callers, &app_states, &published_for_apps, seed));
        let mut accepting = accept_inbound(inbound, &apps, &callers, &workers);
        accepting.extend(accept_ingress(ingress, &workers));
        let in_front = InFront { drain: in_front, accepting, apps, withdrawn };
        Ok(Running { workers, in_front, drain, begin_drain, names, seen })
    }
}

/// Where the app's callers are accepted, for the log.
fn addresses(inbound: &[(TcpListener, config::Inbound)]) -> io::Result<Option<String>> {
    let list: Vec<_> =
        inbound.iter().map(|(listener, _)| listener.local_addr()).collect::<io::Result<_>>()?;
    Ok(listed(list.into_iter()))
}

fn listed(addresses: impl Iterator<Item = SocketAddr>) -> Option<String> {
    let text = addresses.map(|addr| addr.to_string()).collect::<Vec<_>>().join(" ");
    Some(text).filter(|text| !text.is_empty())
}

/// What is registered: where callers are to come in front of the app, they are told that port.
fn announced(config: &Run, inbound: &[(TcpListener, config::Inbound)]) -> io::Result<Vec<Announced>> {
    let port = |app: u16| {
        let in_front = inbound.iter().find(|(_, one)| one.app.is_some_and(|addr| addr.port() == app));
        in_front.map_or(Ok(app), |(listener, _)| listener.local_addr().map(|addr| addr.port()))
    };
    let announced = |registration: &Registration| {
        Ok(Announced { port: port(registration.port)?, registration: registration.clone() })
    };
    config.register.iter().map(announced).collect()
}
