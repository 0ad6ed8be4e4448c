//! The show: setting up, one act after the other, the summary, and leaving nothing behind.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::endpoint::Service;
use crate::load::tally::Shared;
use crate::load::{Load, Target};
use crate::look::{Caption, Screen, Verdict, Watcher, summary, vips};
use crate::mesh::{self, SERVER, STREAM, authority};
use crate::options::Options;
use crate::script::{self, Fault, Words, short};
use crate::stage::Stage;

/// Endpoints at the start.
const SERVERS: usize = 5;
const STREAMS: usize = 2;
/// How often the board is looked at and drawn.
const FRAME: Duration = Duration::from_millis(250);
/// Ended by Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Runs the demo to its end.
pub(crate) async fn run(options: &Options) -> ExitCode {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let mut screen = Screen::new();
    let mut stage = match Stage::new(ejection_seconds(options), seed) {
        Ok(stage) => stage,
        Err(error) => return fail(&mut screen, &format!("no temporary folder: {error}")),
    };
    let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return fail(&mut screen, "signals can't be handled");
    };
    let mut stopped = std::pin::pin!(async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    });
    let ended = tokio::select! {
        ended = play(options, seed, &mut stage, &mut screen) => Some(ended),
        () = &mut stopped => None,
    };
    screen.settle();
    if let Some(Ok((_, to_try))) = &ended
        && options.hold
    {
        screen.say(to_try);
        stopped.await;
    }
    if ended.is_none() || options.hold {
        screen.say("\nStopping everything.");
    }
    // Whatever the proxy logged last helps with what went wrong.
    let log = stage.proxy.as_ref().map(|proxy| proxy.log().clone());
    let well = stage.end().await;
    match ended {
        Some(Ok((Verdict::Well, _))) if well => ExitCode::SUCCESS,
        Some(Ok((Verdict::Well, _))) => fail(&mut screen, "the proxy did not end in good order"),
        // The summary has said it.
        Some(Ok((Verdict::Badly(_), _))) => ExitCode::FAILURE,
        Some(Err(error)) => {
            for line in log.map(|log| log.last(10)).unwrap_or_default() {
                screen.say(&format!("proxy log  {line}"));
            }
            fail(&mut screen, &format!("the show can't go on: {error}"))
        }
        None => ExitCode::from(INTERRUPTED),
    }
}

fn fail(screen: &mut Screen, why: &str) -> ExitCode {
    screen.settle();
    eprintln!("bowline-examples: {why}");
    ExitCode::FAILURE
}

/// Half a fault's time, so that its end can be watched.
fn ejection_seconds(options: &Options) -> f64 {
    (options.seconds_per_fault / 2.0).clamp(0.1, 30.0)
}

/// The show from start to summary; the text says what a person can try while all is still up.
async fn play(
    options: &Options,
    seed: u64,
    stage: &mut Stage,
    screen: &mut Screen,
) -> io::Result<(Verdict, String)> {
    let began = Instant::now();
    let mut rng = fastrand::Rng::with_seed(seed);
    screen.say(&format!("Bowline demo, seed {seed}. Starting:"));
    let (server, stream) = set_up(options, stage, screen, &mut rng).await?;
    let script = script::write(stage, &mut rng).ok_or_else(|| io::Error::other("too few endpoints"))?;

    let admin = stage.proxy.as_ref().map(|proxy| proxy.admin).ok_or(io::ErrorKind::NotConnected)?;
    if screen.is_live() {
        screen.say("\n");
    }
    let tally = Shared::default();
    let load = Load::start(&server, &stream, options.rate, seed, &tally);
    let mut show = Show {
        watcher: Watcher::new(admin, tally),
        began: Instant::now(),
        length: Duration::ZERO,
        caption: Caption::default(),
        stage,
        screen,
    };
    show.run(&script, Duration::from_secs_f64(options.seconds_per_fault), options.rate).await?;
    load.finish().await;
    let Show { mut watcher, stage, screen, .. } = show;
    let board = watcher.look(stage).await?;
    let (text, verdict) = summary(board, began.elapsed(), seed, screen.width());
    screen.say(&format!("\n{text}"));
    Ok((verdict, things_to_try(stage, admin, &server)))
}

/// Starts the endpoints and the proxy, and finds the way in.
async fn set_up(
    options: &Options,
    stage: &mut Stage,
    screen: &mut Screen,
    rng: &mut fastrand::Rng,
) -> io::Result<(Target, Target)> {
    for _ in 0..SERVERS {
        stage.start_endpoint(Service::Http).await?;
    }
    for _ in 0..STREAMS {
        stage.start_endpoint(Service::Grpc).await?;
    }
    let list = |service| stage.addresses(service).into_iter().map(short).collect::<Vec<_>>().join(" ");
    screen.say(&format!("  five endpoints of the HTTP service \"server\"   {}", list(Service::Http)));
    screen.say(&format!("  two endpoints of the gRPC service \"stream\"    {}", list(Service::Grpc)));
    let range = if options.forward_proxy { None } else { mesh::free_vip_range(rng) };
    if options.page {
        let admin = stage.start_control(range).await?.admin;
        screen.say(&format!("  one bowline-control, with a live picture      http://{admin}/ui"));
    }
    let proxy = stage.start_proxy(range, options.otlp.as_deref()).await?;
    let (outbound, admin) = (proxy.outbound, proxy.admin);
    screen.say(&format!("  one bowline-proxy beside the app              admin http://{admin}/"));
    if let Some(url) = &options.otlp {
        screen.say(&format!("  traces go to                                  {url}"));
    }
    has_mesh(admin).await?;
    let forward = |alias| Target { dial: outbound, authority: authority(alias), absolute: true };
    if range.is_some() {
        if let Some((server, stream)) = ways_in(admin).await? {
            screen.say(&format!("  the app calls http://{}/, at {}", server.authority, server.dial));
            return Ok((server, stream));
        }
    } else if !options.forward_proxy {
        screen.say_wrapped(
            "  (no VIP can be bound on ports 5000 and 5001: a program listens there on every address, or this system \
             has no loopback addresses but 127.0.0.1)",
        );
    }
    screen.say(&format!("  the app calls through the HTTP forward proxy at {outbound}"));
    Ok((forward(SERVER), forward(STREAM)))
}

/// Waits for the names: where they come from the control plane, they come a moment after the start.
async fn has_mesh(admin: SocketAddr) -> io::Result<()> {
    for _ in 0..400 {
        if vips(admin).await?.contains_key(SERVER.0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(io::Error::other("the proxy got no mesh"))
}

/// The VIPs of both names, as soon as they take connections; `None`: they don't.
async fn ways_in(admin: SocketAddr) -> io::Result<Option<(Target, Target)>> {
    let vips = vips(admin).await?;
    let target = |alias: (&str, u16)| {
        let vip = *vips.get(alias.0)?;
        Some(Target { dial: (vip, alias.1).into(), authority: authority(alias), absolute: false })
    };
    let Some((server, stream)) = target(SERVER).zip(target(STREAM)) else { return Ok(None) };
    for _ in 0..40 {
        let (a, b) = tokio::join!(TcpStream::connect(server.dial), TcpStream::connect(stream.dial));
        if a.is_ok() && b.is_ok() {
            return Ok(Some((server, stream)));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(None)
}

/// The show under way.
struct Show<'a> {
    watcher: Watcher,
    began: Instant,
    length: Duration,
    caption: Caption,
    stage: &'a mut Stage,
    screen: &'a mut Screen,
}

impl Show<'_> {
    async fn run(&mut self, script: &[Fault], each: Duration, rate: u32) -> io::Result<()> {
        let before = each.min(Duration::from_millis(2500));
        let after = each.min(Duration::from_millis(1500));
        self.length = before + after + each * script.len() as u32;
        let watch = format!(
            "The app sends {rate} HTTP requests and 20 gRPC calls a second and keeps ten gRPC streams open. The \
             endpoints share them, each by how fast it is."
        );
        self.announce(Words { title: "All is well.".to_owned(), watch, repaired: String::new() });
        self.watch_for(before).await?;
        for (at, fault) in script.iter().enumerate() {
            let new = match fault {
                Fault::Add => Some(self.stage.start_endpoint(Service::Http).await?),
                _ => None,
            };
            let mut words = fault.words(new);
            words.title = format!("{} of {}: {}", at + 1, script.len(), words.title);
            let repaired = std::mem::take(&mut words.repaired);
            self.announce(words);
            fault.begin(self.stage).await?;
            let part = each.mul_f64(fault.repaired_after());
            self.watch_for(part).await?;
            fault.repair(self.stage).await?;
            self.repaired(repaired);
            self.watch_for(each.saturating_sub(part)).await?;
        }
        let title = "That was all.".to_owned();
        self.announce(Words {
            title,
            watch: "The last answers come in.".to_owned(),
            repaired: String::new(),
        });
        self.watch_for(after).await
    }

    fn announce(&mut self, words: Words) {
        if !self.screen.is_live() {
            self.screen.say(&format!("\n{}", words.title));
            self.screen.say_wrapped(&words.watch);
        }
        self.caption.title = words.title;
        self.caption.watch = words.watch;
        self.caption.repaired = words.repaired;
    }

    fn repaired(&mut self, text: String) {
        if !self.screen.is_live() && !text.is_empty() {
            self.screen.say_wrapped(&text);
        }
        self.caption.repaired = text;
    }

    /// Looks and draws until the time is over.
    async fn watch_for(&mut self, time: Duration) -> io::Result<()> {
        let end = tokio::time::Instant::now() + time;
        loop {
            if self.stage.proxy.as_mut().is_some_and(|proxy| proxy.has_ended()) {
                return Err(io::Error::other("the proxy has died"));
            }
            if self.screen.is_gone() {
                return Err(io::Error::other("nobody is looking any more"));
            }
            self.watcher.look(self.stage).await?;
            let (now, whole) = (self.began.elapsed().as_secs_f64(), self.length.as_secs_f64());
            self.caption.clock = format!("{now:.0} of {whole:.0} s");
            self.screen.show(&self.caption, self.watcher.board());
            let next = tokio::time::Instant::now() + FRAME;
            tokio::time::sleep_until(next.min(end)).await;
            if next >= end {
                return Ok(());
            }
        }
    }
}

/// What a person can do while all is up.
fn things_to_try(stage: &Stage, admin: SocketAddr, server: &Target) -> String {
    let outbound = stage.proxy.as_ref().map_or(admin, |proxy| proxy.outbound);
    let name = authority(SERVER);
    let mut text = String::from("\nEverything stays up until Ctrl-C. In another terminal:\n\n");
    let mut line = |what: &str, command: &str| text.push_str(&format!("  # {what}\n  {command}\n"));
    if !server.absolute {
        line(
            "call the service by the loopback address of its name",
            &format!("curl -H 'Host: {name}' http://{}/", server.dial),
        );
        let pin = format!("curl --resolve {name}:{} http://{name}/", server.dial.ip());
        line("the same, with the name resolved as the mesh's DNS would", &pin);
    }
    if let Some(control) = &stage.control {
        line("the live picture: open it in a browser", &format!("http://{}/ui", control.admin));
        line("the same as JSON", &format!("curl http://{}/picture", control.admin));
    }
    line("call it through the HTTP forward proxy", &format!("curl -x http://{outbound} http://{name}/"));
    line(
        "where would a request go, and why not elsewhere?",
        &format!("curl 'http://{admin}/explain?url=http://{name}/'"),
    );
    line("each endpoint's state, load and latency", &format!("curl http://{admin}/endpoints"));
    line("names and their addresses", &format!("curl http://{admin}/services"));
    line("metrics for Prometheus", &format!("curl http://{admin}/metrics"));
    line(
        "add or remove an endpoint: edit and save",
        &format!("${{EDITOR:-vi}} {}", stage.mesh_file().display()),
    );
    text
}
