//! Load for a control plane, from its clients' side: `bowline-xds-load --help`. It prints JSON.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bowline_tests::xds_load::Plan;
use bowline_tests::xds_load::board::{Board, Kind, Mark, address};
use bowline_tests::xds_load::flaps::Flaps;
use bowline_tests::xds_load::percentiles::milliseconds;
use bowline_tests::xds_load::process::Process;
use bowline_tests::xds_load::subscriber::{self, Shared, Wants};
use bowline_tests::xds_load::tasks::{Task, Tasks};
use bowline_xds::node::NodeInfo;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Instant as Moment, sleep, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};

/// How long the first world and the last change may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A rest before what is measured, for what a start leaves behind.
const SETTLE: Duration = Duration::from_secs(2);

/// Load for a control plane.
#[derive(Debug, Parser)]
#[command(name = "bowline-xds-load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Subscribers, then changes: how long each takes until all have it.
    Subscribers(Subscribers),
    /// Endpoints that come and go, without subscribers.
    Flaps(FlapsArgs),
}

#[derive(Debug, Args)]
struct Common {
    /// The control plane.
    #[arg(long, value_name = "URL")]
    control: String,
    /// The mesh file that it serves; it has `registered` services.
    #[arg(long, value_name = "PATH")]
    mesh: PathBuf,
}

#[derive(Debug, Args)]
struct Subscribers {
    #[command(flatten)]
    common: Common,
    /// How many.
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Streams on one connection; a proxy has its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    streams_per_connection: u32,
    /// Each wants so many services, one of them `registered`; 0: the whole namespace.
    #[arg(long, default_value_t = 0)]
    services_each: usize,
    /// Endpoints of each `registered` service before any change; one of them is the first to be removed.
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// A phase: COUNT,MILLISECONDS, so many changes, one every so many milliseconds. Repeatable.
    #[arg(long = "phase", value_name = "COUNT,MILLISECONDS")]
    phases: Vec<Phase>,
    /// The control plane's process, whose CPU and memory are looked at.
    #[arg(long)]
    pid: u32,
}

#[derive(Debug, Args)]
struct FlapsArgs {
    #[command(flatten)]
    common: Common,
    /// How many endpoints flap.
    #[arg(long, default_value_t = 400)]
    endpoints: usize,
    /// How many times a second one comes or goes.
    #[arg(long, default_value_t = 1000)]
    per_second: u32,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which flaps.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the last state is held up.
    #[arg(long, default_value_t = 10)]
    hold_seconds: u64,
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    changes: u32,
    every: Duration,
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (changes, every) = text.split_once(',')?;
            let every: f64 = every.parse().ok().filter(|every| *every > 0.0)?;
            Some(Phase { changes: changes.parse().ok()?, every: Duration::from_secs_f64(every / 1e3) })
        };
        read().ok_or_else(|| "COUNT,MILLISECONDS, e.g. 100,200".to_owned())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: it is to be pinned to one core.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let ended = LocalSet::new().block_on(&runtime, async {
        match cli.command {
            Command::Subscribers(args) => subscribers(args).await,
            Command::Flaps(args) => flaps(args).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("bowline-xds-load: {why}");
    ExitCode::FAILURE
}

fn endpoint(common: &Common) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(common.control.clone()).map_err(|error| error.to_string())?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(PATIENCE))
}

/// The subscribers and the changes.
struct Load {
    plan: Plan,
    tasks: Rc<Tasks>,
    shared: Rc<Shared>,
    control: Process,
    failed: Rc<RefCell<Option<String>>>,
    /// The services in whose turn the next changes are, each with its marked endpoints, the oldest first.
    turns: VecDeque<(usize, VecDeque<(Mark, Task)>)>,
    next_mark: Mark,
}

async fn subscribers(args: Subscribers) -> Result<(), String> {
    let control = endpoint(&args.common)?;
    let plan = Plan::read(&args.common.mesh)?;
    let process = Process::of(args.pid);
    let idle = process.resident();
    let tasks = Tasks::new(control.clone(), &plan.namespace);
    let mut kept = Vec::new();
    let mut turns = VecDeque::new();
    let (mut number, mut next_mark) = (0_u32, 1);
    for service in &plan.registered {
        let name = &plan.services[*service];
        let oldest = (next_mark, tasks.announced(name, address(next_mark)).await?);
        turns.push_back((*service, VecDeque::from([oldest])));
        next_mark += 1;
        for _ in 1..args.endpoints {
            number += 1;
            // As the static ones: none of them is a marked address.
            let [_, a, b, c] = number.to_be_bytes();
            let at = std::net::SocketAddr::from(([10, 64 + a, b, c], 9001));
            kept.push(tasks.announced(name, at).await?);
        }
    }
    let shared = Rc::new(Shared {
        started: Instant::now(),
        board: RefCell::new(Board::new(plan.services.len())),
        watched: plan
            .registered
            .iter()
            .map(|at| (plan.services[*at].clone(), *at))
            .collect::<HashMap<_, _>>(),
        bytes: Cell::new(0),
        responses: Cell::new(0),
        ready: Cell::new(0),
        news: Notify::new(),
    });
    let failed = Rc::default();
    let mut load = Load { plan, tasks, shared, control: process, failed, turns, next_mark };
    sleep(SETTLE).await;
    let registered = load.control.resident();
    let began = Instant::now();
    let cpu = load.control.cpu();
    load.open(&control, &args);
    load.until("the first world", |shared| shared.ready.get() == args.streams).await?;
    let world = began.elapsed().as_secs_f64();
    let connect_cpu = load.control.cpu() - cpu;
    sleep(SETTLE).await;
    let connected = json!({
        "worldSeconds": world,
        "bytes": load.shared.bytes.get(),
        "responses": load.shared.responses.get(),
        "controlCpuSeconds": connect_cpu.as_secs_f64(),
        "controlRssMb": load.control.resident(),
        "controlPeakMb": load.control.peak(),
    });
    let mut phases = Vec::new();
    for phase in &args.phases {
        phases.push(load.phase(*phase).await?);
        sleep(SETTLE).await;
    }
    println!(
        "{}",
        json!({
            "services": load.plan.services.len(),
            "streams": args.streams,
            "streamsPerConnection": args.streams_per_connection,
            "servicesEach": args.services_each,
            "controlRssMbIdle": idle,
            "controlRssMbRegistered": registered,
            "connected": connected,
            "phases": phases,
            "controlRssMbEnd": load.control.resident(),
            "controlPeakMb": load.control.peak(),
            "refused": load.tasks.complaints(),
        })
    );
    drop(kept);
    Ok(())
}

impl Load {
    /// Opens all streams, each on its own connection or several together, all at once.
    fn open(&self, control: &Endpoint, args: &Subscribers) {
        let mut channel: Option<Channel> = None;
        let (all, registered) = (&self.plan.services, &self.plan.registered);
        for number in 0..args.streams {
            if number % args.streams_per_connection as usize == 0 {
                channel = Some(control.connect_lazy());
            }
            let Some(channel) = channel.clone() else { continue };
            let mut board = self.shared.board.borrow_mut();
            let wants = if args.services_each == 0 {
                registered.iter().for_each(|at| board.subscribe(*at));
                Wants::Namespace
            } else {
                // One whose endpoints change, and others from all over the mesh.
                let changes = registered[number % registered.len()];
                board.subscribe(changes);
                let others = (0..all.len()).map(|n| (number * 7 + n * 13) % all.len());
                let mut places = std::collections::BTreeSet::from([changes]);
                for other in others.filter(|at| !registered.contains(at)) {
                    if places.len() >= args.services_each {
                        break;
                    }
                    places.insert(other);
                }
                Wants::Services(places.into_iter().map(|at| all[at].clone()).collect())
            };
            let node = NodeInfo {
                id: format!("load-{number}"),
                namespace: self.plan.namespace.clone(),
                zone: None,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                caller: String::new(),
            };
            let (shared, failed) = (self.shared.clone(), self.failed.clone());
            tokio::task::spawn_local(async move {
                if let Err(why) = subscriber::run(channel, node, wants, shared.clone()).await {
                    failed.borrow_mut().get_or_insert(why);
                    shared.news.notify_one();
                }
            });
        }
    }

    /// Waits for something that subscribers tell.
    async fn until(&self, what: &str, there: impl Fn(&Shared) -> bool) -> Result<(), String> {
        let wait = async {
            while !there(&self.shared) {
                if let Some(why) = self.failed.borrow().clone() {
                    return Err(format!("a stream has ended: {why}"));
                }
                self.shared.news.notified().await;
            }
            Ok(())
        };
        let late = || {
            let (ready, unfinished) = (self.shared.ready.get(), self.shared.board.borrow().unfinished());
            format!(
                "{what}: not within {PATIENCE:?} ({ready} subscribers ready, {unfinished} changes not everywhere)"
            )
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_elapsed| Err(late()))
    }

    async fn phase(&mut self, phase: Phase) -> Result<Value, String> {
        let own = Process::own();
        let before = (self.shared.bytes.get(), self.shared.responses.get(), self.control.cpu(), own.cpu());
        let (began, from) = (Moment::now(), self.shared.started.elapsed());
        let mut highest = self.control.resident();
        for number in 0..phase.changes {
            sleep_until(began + phase.every * number).await;
            self.change(number % 2 == 0);
            if number % 64 == 0 {
                highest = highest.max(self.control.resident());
            }
        }
        let made = began.elapsed();
        self.until("the last change", |shared| shared.board.borrow().unfinished() == 0).await?;
        let took = began.elapsed().as_secs_f64();
        let cpu = (self.control.cpu() - before.2).as_secs_f64();
        let board = self.shared.board.borrow();
        let of = |kind: Option<Kind>| {
            let changes = board.since(from).filter(|change| kind.is_none_or(|kind| change.kind == kind));
            milliseconds(changes.filter_map(|change| Some(change.all? - change.made)).collect())
        };
        Ok(json!({
            "changes": phase.changes,
            "everyMilliseconds": phase.every.as_secs_f64() * 1e3,
            "madeInSeconds": made.as_secs_f64(),
            "seconds": took,
            "milliseconds": of(None),
            "addMilliseconds": of(Some(Kind::Add)),
            "removeMilliseconds": of(Some(Kind::Remove)),
            "bytes": self.shared.bytes.get() - before.0,
            "responses": self.shared.responses.get() - before.1,
            "controlCpuSeconds": cpu,
            "controlCpuShare": cpu / took,
            "loadCpuShare": (own.cpu() - before.3).as_secs_f64() / took,
            "controlRssMb": highest.max(self.control.resident()),
        }))
    }

    /// Adds a marked endpoint to the next service, or removes the oldest one of the last.
    fn change(&mut self, add: bool) {
        if add {
            self.turns.rotate_left(1);
        }
        let Some((service, there)) = self.turns.front_mut() else { return };
        let now = self.shared.started.elapsed();
        let mut board = self.shared.board.borrow_mut();
        if add {
            let mark = self.next_mark;
            self.next_mark += 1;
            board.made(*service, Kind::Add, mark, now);
            there.push_back((mark, self.tasks.announce(&self.plan.services[*service], address(mark))));
        } else if there.len() > 1
            && let Some((mark, task)) = there.pop_front()
        {
            board.made(*service, Kind::Remove, mark, now);
            task.withdraw();
        }
    }
}

async fn flaps(args: FlapsArgs) -> Result<(), String> {
    let control = endpoint(&args.common)?;
    let plan = Plan::read(&args.common.mesh)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    let tasks = Tasks::new(control, &plan.namespace);
    let mut flaps = Flaps::new(tasks.clone(), plan, args.endpoints, seed);
    let began = Instant::now();
    let done = flaps.run(args.per_second, Duration::from_secs(args.seconds)).await;
    let own = Process::own().cpu().as_secs_f64();
    println!(
        "{}",
        json!({
            "seed": seed,
            "flaps": done,
            "seconds": began.elapsed().as_secs_f64(),
            "cpuSeconds": own,
            "there": flaps.there(),
            "refused": tasks.complaints(),
        })
    );
    sleep(Duration::from_secs(args.hold_seconds)).await;
    Ok(())
}
